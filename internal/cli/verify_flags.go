// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/trust"
)

// verifyFlags is the group of flags that say what is demanded of an artifact.
type verifyFlags struct {
	optional bool // there is a --verify, which must be given
	verify   bool

	keys                       []string
	subject, subjectExpression string
	issuer, issuerExpression   string
	claims, identities         []string
	root                       string
	offline                    bool
	noLog, noSCT, requireLog   bool
	notation                   string
	certificates               []string
	layouts                    []string
}

// AddFlags adds the group to a command that verifies only if it is asked to.
func (f *verifyFlags) AddFlags(fs *pflag.FlagSet) {
	f.optional = true
	fs.BoolVar(&f.verify, "verify", false, "use the artifact only if it is signed as the flags below demand")
	f.addPolicy(fs)
}

// addPolicy adds the flags that say how.
func (f *verifyFlags) addPolicy(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.keys, "cosign-key", nil, "public keys, any of which will do: files in PEM form, or env://NAME")
	fs.StringVar(&f.subject, "certificate-identity", "", "whom the certificate must be issued to, such as the URI of a workflow")
	fs.StringVar(&f.subjectExpression, "certificate-identity-regexp", "", "the same as a regular expression, which must match all of it")
	fs.StringVar(&f.issuer, "certificate-oidc-issuer", "", "who must have told the authority that, such as https://token.actions.githubusercontent.com")
	fs.StringVar(&f.issuerExpression, "certificate-oidc-issuer-regexp", "", "the same as a regular expression, which must match all of it")
	fs.StringArrayVar(&f.claims, "certificate-claim", nil, "further claims of the certificate, as NAME=VALUE or NAME-regexp=EXPRESSION: "+strings.Join(trust.ClaimNames(), ", "))
	fs.StringArrayVar(&f.identities, "identity", nil, "identities, any of which will do, each as issuer=…,subject=…,CLAIM=…; names with -regexp take expressions")
	fs.StringVar(&f.root, "trusted-root", "", "file with the certificates and keys of a Sigstore of one's own (default: those of the public one)")
	fs.BoolVar(&f.offline, "offline", false, "do not ask the public Sigstore for its trusted root: take the one that was recorded in this program")
	fs.BoolVar(&f.requireLog, "require-tlog", false, "demand of signatures by keys, too, that they are in a log of the trusted root")
	fs.BoolVar(&f.noLog, "insecure-ignore-tlog", false, "demand no log of signatures by identities, only a time stamp")
	fs.BoolVar(&f.noSCT, "insecure-ignore-sct", false, "demand no proof that the certificate was made public")
	fs.StringVar(&f.notation, "notation-policy", "", "file with a trust policy of the Notary Project, trustpolicy.json, for signatures by notation")
	fs.StringSliceVar(&f.certificates, "notation-certificate", nil, "files with the certificates of its trust stores, in PEM form")
	fs.StringSliceVar(&f.layouts, "signature-layout", nil, "only signatures that are kept so: bundle, tag (default: both)")
}

// policy returns what is demanded, or nil if nothing is. It reads files, and asks the public Sigstore
// whom to trust, where identities are demanded.
func (f *verifyFlags) policy(ctx context.Context, a *app, cmd *cobra.Command) (*trust.Policy, error) {
	if f.optional && !f.verify {
		return nil, refuseWithout(cmd, "verify", (&verifyFlags{}).addPolicy)
	}
	policy := &trust.Policy{NoLog: f.noLog, NoSCT: f.noSCT, RequireLog: f.requireLog}
	for _, step := range []func(*app, *trust.Policy) error{f.addKeys, f.addIdentities, f.addNotation} {
		if err := step(a, policy); err != nil {
			return nil, err
		}
	}
	var err error
	if policy.Layouts, err = layoutsOf(f.layouts); err != nil {
		return nil, err
	}
	if err := f.checkPolicy(cmd, policy); err != nil {
		return nil, err
	}
	if len(policy.Identities) > 0 || f.requireLog {
		policy.Root, err = f.trustedRoot(ctx, a)
	}
	return policy, err
}

// refuseWithout refuses flags of a group that have no effect without the group's switch: whoever gives
// a key expects that it is used.
func refuseWithout(cmd *cobra.Command, group string, addFlags func(*pflag.FlagSet)) error {
	own := pflag.NewFlagSet(group, pflag.ContinueOnError)
	addFlags(own)
	var given string
	own.VisitAll(func(flag *pflag.Flag) {
		if cmd.Flags().Changed(flag.Name) && given == "" {
			given = flag.Name
		}
	})
	if given == "" {
		return nil
	}
	return badUsage("add --"+group, "--%s is for --%s", given, group)
}

func (f *verifyFlags) checkPolicy(cmd *cobra.Command, p *trust.Policy) error {
	ways := 0
	for _, given := range []bool{len(p.Keys) > 0, len(p.Identities) > 0, p.Notation != nil} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0:
		return usagef(cmd, "to verify, give one of --cosign-key, --certificate-identity, --identity, --notation-policy")
	case ways > 1:
		return usagef(cmd, "--cosign-key, identities and --notation-policy exclude each other")
	case f.offline && f.root != "":
		return usagef(cmd, "--offline is for the public trusted root, and --trusted-root names another one")
	}
	return nil
}

func (f *verifyFlags) addKeys(a *app, p *trust.Policy) error {
	for _, given := range f.keys {
		text, err := readKey(a, given)
		if err != nil {
			return err
		}
		keys, err := trust.ParsePublicKeys(text)
		if err != nil {
			return fmt.Errorf("reading the key %s: %w", given, err)
		}
		p.Keys = append(p.Keys, keys...)
	}
	return nil
}

func (f *verifyFlags) addIdentities(_ *app, p *trust.Policy) error {
	for _, given := range f.identities {
		id, err := trust.ParseIdentity(given)
		if err != nil {
			return fmt.Errorf("--identity: %w", err)
		}
		p.Identities = append(p.Identities, id)
	}
	fields := [][2]string{
		{"issuer", f.issuer}, {"issuer-regexp", f.issuerExpression}, {"subject", f.subject}, {"subject-regexp", f.subjectExpression},
	}
	fields = slices.DeleteFunc(fields, func(field [2]string) bool { return field[1] == "" })
	if len(fields) == 0 && len(f.claims) == 0 {
		return nil
	}
	for _, claim := range f.claims {
		name, value, found := strings.Cut(claim, "=")
		if !found {
			return badUsage("", "--certificate-claim: %q is not NAME=VALUE", claim)
		}
		fields = append(fields, [2]string{name, value})
	}
	id, err := trust.NewIdentity(fields)
	if err != nil {
		return fmt.Errorf("--certificate-identity and --certificate-oidc-issuer: %w", err)
	}
	p.Identities = append(p.Identities, id)
	return nil
}

func (f *verifyFlags) addNotation(_ *app, p *trust.Policy) error {
	if f.notation == "" {
		if len(f.certificates) > 0 {
			return badUsage("", "--notation-certificate is for --notation-policy")
		}
		return nil
	}
	p.Notation = &trust.Notation{}
	var err error
	if p.Notation.Document, err = readSmallFile(f.notation); err != nil {
		return err
	}
	for _, name := range f.certificates {
		text, err := readSmallFile(name)
		if err != nil {
			return err
		}
		certificates, err := trust.ParseCertificates(text)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		p.Notation.Certificates = append(p.Notation.Certificates, certificates...)
	}
	if len(p.Notation.Certificates) == 0 {
		return badUsage("", "--notation-policy needs --notation-certificate")
	}
	return nil
}

func (f *verifyFlags) trustedRoot(ctx context.Context, a *app) (*trust.Root, error) {
	switch {
	case f.root != "":
		return readRoot(f.root)
	case f.offline:
		return trust.RecordedRoot()
	default:
		return a.sigstore().Root(ctx)
	}
}

func readRoot(name string) (*trust.Root, error) {
	text, err := readSmallFile(name)
	if err != nil {
		return nil, err
	}
	root, err := trust.ParseRoot(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return root, nil
}

// sigstore is the public one. What it says is kept where programs keep such things; where there is no
// such place it is asked each time.
func (a *app) sigstore() trust.Public {
	out := trust.Public{UserAgent: a.userAgent()}
	if dir, err := os.UserCacheDir(); err == nil {
		out.Cache = filepath.Join(dir, "kustomizer")
	}
	return out
}

func layoutsOf(names []string) ([]trust.Layout, error) {
	var out []trust.Layout
	for _, name := range names {
		if !slices.Contains(trust.Layouts(), trust.Layout(name)) {
			return nil, badUsage("", "--signature-layout: %q is none: want bundle or tag", name)
		}
		out = append(out, trust.Layout(name))
	}
	return out, nil
}

// readKey reads a key from a file, or from a variable of the environment.
func readKey(a *app, given string) ([]byte, error) {
	if name, found := strings.CutPrefix(given, "env://"); found {
		text := a.getenv(name)
		if text == "" {
			return nil, badUsage("", "the variable %s, which is to hold the key, is not set", name)
		}
		return []byte(text), nil
	}
	if scheme, _, found := strings.Cut(given, "://"); found {
		return nil, badUsage("give a file, or env://NAME", "keys of %s are not supported", scheme)
	}
	return readSmallFile(given)
}

// readSmallFile reads a file that a flag names and that is expected to be small, such as a key.
func readSmallFile(name string) ([]byte, error) {
	const most = 1 << 20
	f, err := os.Open(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, unreadable(name, err)
	case len(text) > most:
		return nil, badUsage("check the path "+name, "reading %s: it has more than 1 MiB, too much for what it is to hold", name)
	}
	return text, nil
}

// unreadable says that a file which a flag names can't be read.
func unreadable(name string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return badUsage("check the path "+name, "reading %s: %s", name, err)
}

// verifiedResult is what is printed with -o of what proves an artifact.
type verifiedResult struct {
	Digest  string `json:"digest"`
	By      string `json:"by"`               // cosign or notation
	Layout  string `json:"layout,omitempty"` // of a signature by cosign
	Key     string `json:"key,omitempty"`    // fingerprint
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	Time    string `json:"time,omitempty"` // at which it was signed, if that is proven
}

func verifiedResultOf(v trust.Verified) verifiedResult {
	out := verifiedResult{
		Digest: v.Digest.String(), By: string(v.Method), Layout: string(v.Layout), Key: v.Key, Issuer: v.Issuer, Subject: v.Subject,
	}
	if !v.Time.IsZero() {
		out.Time = v.Time.Format("2006-01-02T15:04:05Z07:00")
	}
	return out
}

// signer says in words whom a signature is by.
func (r verifiedResult) signer() string {
	if r.Key != "" {
		return "the key " + r.Key
	}
	return r.Subject + " (" + r.Issuer + ")"
}

// sayVerified says by what an artifact is trusted, where that was demanded.
func (a *app) sayVerified(v *trust.Verified) {
	if v != nil {
		a.ui.Note("verified %s: signed with %s by %s", v.Digest, v.Method, verifiedResultOf(*v).signer())
	}
}
