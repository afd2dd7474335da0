// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/trust"
)

// signFlags is the group of flags that say with what an artifact is signed.
type signFlags struct {
	optional bool // there is a --sign, which must be given
	sign     bool

	key                      string
	token                    string
	fulcio, rekor, timestamp string
	config, root             string
	layouts                  []string
}

// AddFlags adds the group to a command that signs only if it is asked to.
func (f *signFlags) AddFlags(fs *pflag.FlagSet) {
	f.optional = true
	fs.BoolVar(&f.sign, "sign", false, "sign the artifact, by digest, before the tag points to it")
	f.addSigner(fs)
}

// addSigner adds the flags that say how.
func (f *signFlags) addSigner(fs *pflag.FlagSet) {
	fs.StringVar(&f.key, "cosign-key", "", "private key: a file of cosign's, with its password in COSIGN_PASSWORD, or in PEM form; or env://NAME (default: the identity that the CI system proves)")
	fs.StringVar(&f.token, "identity-token", "", "identity token, or a file with it (default: SIGSTORE_ID_TOKEN, or the one that GitHub Actions gives)")
	fs.StringVar(&f.fulcio, "fulcio-url", "", "authority that issues certificates to identities (default: the public Sigstore's)")
	fs.StringVar(&f.rekor, "rekor-url", "", "log of signatures; signatures by keys are logged only if it is given (default: the public Sigstore's)")
	fs.StringVar(&f.timestamp, "timestamp-url", "", "authority that times signatures")
	fs.StringVar(&f.config, "signing-config", "", "file that names these services, signing_config.json")
	fs.StringVar(&f.root, "trusted-root", "", "file with the certificates and keys of these services: what they say is checked before it is published")
	fs.StringSliceVar(&f.layouts, "signature-layout", nil, "how the signature is kept: bundle, which refers to the artifact, or tag, as cosign 2 did; or both (default bundle)")
}

// signer returns with what is signed, and how signatures are kept; nil if nothing is to be signed.
func (f *signFlags) signer(ctx context.Context, a *app, cmd *cobra.Command) (*trust.Signer, []trust.Layout, error) {
	if f.optional && !f.sign {
		return nil, nil, refuseWithout(cmd, "sign", (&signFlags{}).addSigner)
	}
	layouts, err := layoutsOf(f.layouts)
	if err != nil {
		return nil, nil, err
	}
	if f.key != "" && f.token != "" {
		return nil, nil, usagef(cmd, "--cosign-key and --identity-token exclude each other")
	}
	if f.config != "" && cmp.Or(f.fulcio, f.rekor, f.timestamp) != "" {
		return nil, nil, usagef(cmd, "--signing-config names the services: it can't be given with their URLs")
	}
	out := &trust.Signer{}
	if f.key != "" {
		key, err := f.privateKey(a)
		if err != nil {
			return nil, nil, err
		}
		out.Key = &key
	} else if out.Keyless, err = f.keyless(ctx, a); err != nil {
		return nil, nil, err
	}
	out.Services, err = f.services(ctx, a, layouts)
	return out, layouts, err
}

func (f *signFlags) privateKey(a *app) (trust.PrivateKey, error) {
	text, err := readKey(a, f.key)
	if err != nil {
		return trust.PrivateKey{}, err
	}
	key, err := trust.ParsePrivateKey(text, func() ([]byte, error) { return []byte(a.getenv("COSIGN_PASSWORD")), nil })
	if err != nil {
		return trust.PrivateKey{}, fmt.Errorf("reading the key %s: %w", f.key, err)
	}
	return key, nil
}

func (f *signFlags) keyless(ctx context.Context, a *app) (*trust.Keyless, error) {
	out := &trust.Keyless{}
	var err error
	if f.root != "" {
		if out.Root, err = readRoot(f.root); err != nil {
			return nil, err
		}
	}
	out.Token, err = f.identityToken(ctx, a)
	return out, err
}

// identityToken returns the token of the flag, which may be a file's name, or the CI system's.
func (f *signFlags) identityToken(ctx context.Context, a *app) (string, error) {
	if f.token == "" {
		return trust.AmbientToken(ctx, a.getenv)
	}
	token := f.token
	if _, err := os.Stat(token); err == nil {
		text, err := readSmallFile(token)
		if err != nil {
			return "", err
		}
		token = strings.TrimSpace(string(text))
	} else {
		a.ui.Warn("a token on the command line is visible to others: prefer SIGSTORE_ID_TOKEN, or a file")
	}
	return token, trust.CheckToken(token)
}

func (f *signFlags) services(ctx context.Context, a *app, layouts []trust.Layout) (trust.Services, error) {
	switch {
	case f.config != "":
		text, err := readSmallFile(f.config)
		if err != nil {
			return trust.Services{}, err
		}
		out, err := trust.ParseServices(text, layouts)
		out.UserAgent = a.userAgent()
		return out, err
	case f.key == "" && f.fulcio == "" && f.rekor == "" && f.timestamp == "":
		return a.sigstore().Services(ctx, layouts)
	default:
		return trust.Services{Fulcio: f.fulcio, Rekor: f.rekor, Timestamp: f.timestamp, UserAgent: a.userAgent()}, nil
	}
}

// signedResult is what is printed of a signature with -o.
type signedResult struct {
	Digest    string `json:"digest"` // of the artifact
	Layout    string `json:"layout"`
	Signature string `json:"signature,omitempty"` // digest of its manifest; empty if nothing was written
	Sent      bool   `json:"sent"`                // false if it was signed with the key before
	Issuer    string `json:"issuer,omitempty"`
	Subject   string `json:"subject,omitempty"`
}

func signedResults(digest string, signed []trust.Signed) []signedResult {
	out := []signedResult{}
	for _, s := range signed {
		out = append(out, signedResult{
			Digest: digest, Layout: string(s.Layout), Signature: s.Digest.String(), Sent: s.Sent, Issuer: s.Issuer, Subject: s.Subject,
		})
	}
	return out
}

// saySigned says which signatures were written.
func (a *app) saySigned(digest string, signed []trust.Signed) {
	for _, s := range signed {
		switch {
		case !s.Sent:
			a.ui.Note("%s is signed with this key already (%s)", digest, s.Layout)
		case s.Subject != "":
			a.ui.Note("signed %s as %s (%s): %s", digest, s.Subject, s.Layout, s.Digest)
		default:
			a.ui.Note("signed %s (%s): %s", digest, s.Layout, s.Digest)
		}
	}
}
