// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// notationArtifactType is that of the Notary Project's signatures, see its signature-specification.md.
const notationArtifactType = "application/vnd.cncf.notary.signature"

// The media types of the envelopes that they are in.
const (
	envelopeJWS  = "application/jose+json"
	envelopeCOSE = "application/cose"
)

// ParseCertificates reads certificates in PEM form, any number of them.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, badPolicy("it holds something else than certificates in PEM form")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, badPolicy("a certificate can't be read")
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, badPolicy("there is no certificate in it")
	}
	return out, nil
}

// certificates are the trust stores of a policy: all of them hold the same, as with Flux.
type certificates []*x509.Certificate

// GetCertificates implements truststore.X509TrustStore.
func (c certificates) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return c, nil
}

func (n *Notation) verifier() (notation.Verifier, *trustpolicy.Document, error) {
	var document trustpolicy.Document
	decoder := json.NewDecoder(bytes.NewReader(n.Document))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&document); err != nil {
		return nil, nil, badPolicy("the Notation trust policy can't be read: %s", artifact.OneLine(err.Error()))
	}
	if err := document.Validate(); err != nil {
		return nil, nil, badPolicy("the Notation trust policy is not valid: %s", artifact.OneLine(err.Error()))
	}
	if len(n.Certificates) == 0 {
		return nil, nil, badPolicy("a Notation trust policy needs the certificates of its trust stores")
	}
	v, err := verifier.New(&document, certificates(n.Certificates), nil)
	return v, &document, err
}

// notation looks for a signature of the Notary Project that is as the trust policy demands.
func (v *verification) notation(ctx context.Context) (*Verified, error) {
	check, document, err := v.policy.Notation.verifier()
	if err != nil {
		return nil, err
	}
	if err := v.enforced(document); err != nil {
		return nil, err
	}
	raw, mediaType, err := v.at.Manifest(ctx, v.pinned.Digest())
	if err != nil {
		return nil, err
	}
	manifest, err := artifact.ParseManifest(raw, mediaType)
	if err != nil {
		return nil, err
	}
	subject := ocispec.Descriptor{
		MediaType: manifest.MediaType, Digest: digest.Digest(v.pinned.Digest().String()), Size: int64(len(raw)),
	}
	found, err := v.at.Referrers(ctx, v.pinned.Digest())
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		if d.ArtifactType != notationArtifactType {
			continue
		}
		if !v.next() {
			break
		}
		if got := v.notationIn(ctx, d, subject, check); got != nil {
			return got, nil
		}
	}
	return nil, nil
}

// reference is the name under which a trust policy speaks of the artifact. What is in a folder has none:
// only a policy for all registries fits.
func (v *verification) reference() string {
	if v.pinned.Repository().IsZero() {
		return "localhost/oci-layout@" + v.pinned.Digest().String()
	}
	return v.pinned.String()
}

// enforced refuses a policy with which anything passes.
func (v *verification) enforced(document *trustpolicy.Document) error {
	statement, err := document.GetApplicableTrustPolicy(v.reference())
	if err != nil {
		return badPolicy("the Notation trust policy does not speak of %s", v.reference())
	}
	level, err := statement.SignatureVerification.GetVerificationLevel()
	if err != nil {
		return badPolicy("the Notation trust policy is not valid: %s", artifact.OneLine(err.Error()))
	}
	if level.Enforcement[trustpolicy.TypeAuthenticity] != trustpolicy.ActionEnforce ||
		level.Enforcement[trustpolicy.TypeIntegrity] != trustpolicy.ActionEnforce {
		return &UntrustedError{
			Digest: v.pinned.Digest(), Reason: NotEnforcing,
			Tried: []string{fmt.Sprintf("the level %q of the Notation trust policy lets anything pass", level.Name)},
		}
	}
	return nil
}

// notationIn looks at one signature.
func (v *verification) notationIn(ctx context.Context, d artifact.Descriptor, subject ocispec.Descriptor, check notation.Verifier) *Verified {
	what := "signature " + d.Digest.Short()
	manifest, err := manifestAt(ctx, v.at, d.Digest)
	if err != nil {
		v.unreadable(what, err)
		return nil
	}
	if manifest.Subject == nil || manifest.Subject.Digest != v.pinned.Digest() || len(manifest.Layers) != 1 {
		v.reject(what, "it is no signature of the artifact")
		return nil
	}
	envelope := manifest.Layers[0]
	if envelope.MediaType != envelopeJWS && envelope.MediaType != envelopeCOSE {
		v.reject(what, "its envelope has the type %q", envelope.MediaType)
		return nil
	}
	content, err := v.at.Blob(ctx, envelope)
	if err != nil {
		v.unreadable(what, err)
		return nil
	}
	outcome, err := check.Verify(ctx, subject, content, notation.VerifierVerifyOptions{
		ArtifactReference: v.reference(), SignatureMediaType: envelope.MediaType,
	})
	if err == nil {
		err = enforcedOutcome(outcome)
	}
	if err != nil {
		v.reject(what, "%s", err)
		return nil
	}
	signer := outcome.EnvelopeContent.SignerInfo
	leaf := signer.CertificateChain[0]
	return &Verified{Method: Notary, Issuer: leaf.Issuer.String(), Subject: leaf.Subject.String(), Time: signer.SignedAttributes.SigningTime.UTC()}
}

// enforcedOutcome sees that the signature itself was verified, whatever the policy only logs.
func enforcedOutcome(outcome *notation.VerificationOutcome) error {
	seen := map[trustpolicy.ValidationType]bool{}
	for _, result := range outcome.VerificationResults {
		if result.Error == nil {
			seen[result.Type] = true
			continue
		}
		if result.Type == trustpolicy.TypeIntegrity || result.Type == trustpolicy.TypeAuthenticity {
			return fmt.Errorf("its %s is not proven: %w", strings.ToLower(string(result.Type)), result.Error)
		}
	}
	switch {
	case !seen[trustpolicy.TypeIntegrity], !seen[trustpolicy.TypeAuthenticity]:
		return errors.New("it was not verified")
	case outcome.EnvelopeContent == nil || len(outcome.EnvelopeContent.SignerInfo.CertificateChain) == 0:
		return errors.New("it has no certificate")
	}
	return nil
}
