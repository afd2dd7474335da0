// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// sourceOCI is the flags of "create source oci".
type sourceOCI struct {
	reconciledCreation
	url, tag, semver, digest                          string
	provider, secret, proxySecret, account, cert      string
	verifier, verifySecret, verifyIssuer, verifyIdent string
	ignore                                            []string
	insecure                                          bool
	layer                                             string
	fetchTimeout                                      time.Duration
}

func newCreateSourceOCICmd(a *app) *cobra.Command {
	var f sourceOCI
	cmd := &cobra.Command{
		Use:   "oci NAME",
		Short: "Create or update an OCIRepository and wait for its first fetch",
		Long: "Create or update an OCIRepository: the agent follows a tag (or a digest, or a semver range) of a\n" +
			"repository and fetches each new version. The command waits until the first fetch is done.",
		Example: "  # Follow what is tagged latest\n" +
			"  kustomizer create source oci demo-app --url=oci://ghcr.io/me/demo-app --tag=latest\n\n" +
			"  # From a private registry, every ten minutes\n" +
			"  kustomizer create source oci demo-app --url=oci://ghcr.io/me/demo-app --tag=stable --secret-ref=ghcr-auth --interval=10m\n\n" +
			"  # As YAML, to keep in Git\n" +
			"  kustomizer create source oci demo-app --url=oci://ghcr.io/me/demo-app --tag=latest --export",
		Args: positional("NAME"),
	}
	f.AddFlags(cmd.Flags())
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		if err := f.check(cmd, args[0]); err != nil {
			return err
		}
		ns, err := a.deliveryNamespace()
		if err != nil {
			return err
		}
		want, err := f.resource(ns, args[0])
		if err != nil {
			return err
		}
		u, err := toUnstructured(ociRepositories(), want)
		if err != nil {
			return err
		}
		if f.export {
			return a.export(u)
		}
		a.ui.Generate("generating OCIRepository")
		return a.createReconciled(ctx, ociRepositories(), u, func(r resource) {
			a.ui.Success("OCIRepository reconciliation completed")
			a.ui.Success("fetched revision: %s", r.revision)
		})
	})
	return cmd
}

// AddFlags adds the command's flags.
func (f *sourceOCI) AddFlags(fs *pflag.FlagSet) {
	f.reconciledCreation.AddFlags(fs)
	fs.StringVar(&f.url, "url", "", "repository, as oci://registry/repository (required)")
	fs.StringVar(&f.tag, "tag", "", "tag to follow")
	fs.StringVar(&f.semver, "tag-semver", "", "semver range whose newest tag to follow")
	fs.StringVar(&f.digest, "digest", "", "digest to stay at")
	fs.StringVar(&f.provider, "provider", sourcev1.GenericOCIProvider, "how to authenticate: generic, aws, azure, gcp")
	fs.StringVar(&f.secret, "secret-ref", "", "name of a Secret of type kubernetes.io/dockerconfigjson")
	fs.StringVar(&f.proxySecret, "proxy-secret-ref", "", "name of a Secret with the address of a proxy")
	fs.StringVar(&f.account, "service-account", "", "name of a ServiceAccount whose pull secrets or cloud identity to use")
	fs.StringVar(&f.cert, "cert-ref", "", "name of a Secret with a CA and a client certificate")
	fs.StringVar(&f.verifier, "verify-provider", "", "verify signatures with: cosign, notation")
	fs.StringVar(&f.verifySecret, "verify-secret-ref", "", "name of a Secret with the keys to verify with")
	fs.StringVar(&f.verifyIssuer, "verify-issuer", "", "regular expression of the OIDC issuer of keyless signatures")
	fs.StringVar(&f.verifyIdent, "verify-subject", "", "regular expression of the OIDC subject of keyless signatures")
	fs.StringSliceVar(&f.ignore, "ignore-paths", nil, "paths to leave out, as in .gitignore")
	fs.BoolVar(&f.insecure, "insecure", false, "speak plain HTTP with the registry")
	fs.StringVar(&f.layer, "layer-selector", "", "which layer to take, and how, as MEDIATYPE:extract or MEDIATYPE:copy")
	fs.DurationVar(&f.fetchTimeout, "fetch-timeout", 0, "limit for one fetch (default of the agent: 1m)")
}

func (f *sourceOCI) check(cmd *cobra.Command, name string) error {
	if err := requireFlags(cmd, "url"); err != nil {
		return err
	}
	if err := requireOneFlag(cmd, "tag", "tag-semver", "digest"); err != nil {
		return err
	}
	if err := f.reconciledCreation.check(ociRepositories(), name); err != nil {
		return err
	}
	if err := f.checkReference(); err != nil {
		return err
	}
	if !slices.Contains([]string{"generic", "aws", "azure", "gcp"}, f.provider) {
		return badUsage("", "--provider %q is not one of generic, aws, azure, gcp", f.provider)
	}
	return f.checkVerification()
}

func (f *sourceOCI) checkReference() error {
	if !strings.HasPrefix(f.url, artifact.Scheme) {
		return badUsage("write --url="+artifact.Scheme+strings.TrimPrefix(f.url, "https://"), "--url must begin with %s", artifact.Scheme)
	}
	if _, err := artifact.ParseRepository(f.url); err != nil {
		return err
	}
	if f.tag != "" {
		if err := artifact.CheckTagName(f.tag); err != nil {
			return badUsage("", "--tag: %s", err)
		}
	}
	if f.digest != "" {
		if _, err := artifact.ParseDigest(f.digest); err != nil {
			return badUsage("", "--digest: %s", err)
		}
	}
	return nil
}

func (f *sourceOCI) checkVerification() error {
	wanted := f.verifySecret != "" || f.verifyIssuer != "" || f.verifyIdent != ""
	switch f.verifier {
	case "":
		if wanted {
			return badUsage("add --verify-provider=cosign", "--verify-secret-ref, --verify-issuer and --verify-subject need --verify-provider")
		}
	case "cosign", "notation":
	default:
		return badUsage("", "--verify-provider %q is not one of cosign, notation", f.verifier)
	}
	return nil
}

func (f *sourceOCI) resource(namespace, name string) (*sourcev1.OCIRepository, error) {
	labels, err := f.labelMap()
	if err != nil {
		return nil, err
	}
	layer, err := f.layerSelector()
	if err != nil {
		return nil, err
	}
	spec := sourcev1.OCIRepositorySpec{
		URL:                f.url,
		Interval:           metav1.Duration{Duration: f.interval},
		Reference:          &sourcev1.OCIRepositoryRef{Tag: f.tag, SemVer: f.semver, Digest: f.digest},
		Provider:           f.provider,
		Insecure:           f.insecure,
		ServiceAccountName: f.account,
		SecretRef:          local(f.secret),
		CertSecretRef:      local(f.cert),
		ProxySecretRef:     local(f.proxySecret),
		LayerSelector:      layer,
		Verify:             f.verification(),
	}
	if f.fetchTimeout > 0 {
		spec.Timeout = &metav1.Duration{Duration: f.fetchTimeout}
	}
	if len(f.ignore) > 0 {
		lines := strings.Join(f.ignore, "\n")
		spec.Ignore = &lines
	}
	return &sourcev1.OCIRepository{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels}, Spec: spec}, nil
}

func (f *sourceOCI) layerSelector() (*sourcev1.OCILayerSelector, error) {
	if f.layer == "" {
		return nil, nil
	}
	mediaType, operation, found := strings.Cut(f.layer, ":")
	if !found || mediaType == "" || operation != sourcev1.OCILayerExtract && operation != sourcev1.OCILayerCopy {
		return nil, badUsage("", "--layer-selector %q is not MEDIATYPE:extract or MEDIATYPE:copy", f.layer)
	}
	return &sourcev1.OCILayerSelector{MediaType: mediaType, Operation: operation}, nil
}

func (f *sourceOCI) verification() *sourcev1.OCIRepositoryVerification {
	if f.verifier == "" {
		return nil
	}
	v := &sourcev1.OCIRepositoryVerification{Provider: f.verifier, SecretRef: local(f.verifySecret)}
	if f.verifyIssuer != "" || f.verifyIdent != "" {
		v.MatchOIDCIdentity = []sourcev1.OIDCIdentityMatch{{Issuer: f.verifyIssuer, Subject: f.verifyIdent}}
	}
	return v
}

// local refers to a Secret in the resource's own namespace, or to none.
func local(name string) *fluxmeta.LocalObjectReference {
	if name == "" {
		return nil
	}
	return &fluxmeta.LocalObjectReference{Name: name}
}
