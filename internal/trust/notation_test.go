// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/notaryproject/notation-core-go/testhelper"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/testkit"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// notationPolicy is a trust policy for all registries.
func notationPolicy(level string, certificates ...*x509.Certificate) trust.Policy {
	stores := `,"trustStores":["ca:all"],"trustedIdentities":["*"]`
	if level == "skip" {
		stores = ""
	}
	return trust.Policy{Notation: &trust.Notation{Certificates: certificates, Document: fmt.Appendf(nil,
		`{"version":"1.0","trustPolicies":[{"name":"all","registryScopes":["*"],"signatureVerification":{"level":%q}%s}]}`, level, stores)}}
}

// signWithNotation signs an artifact as notation does, for a subject that may be another one.
func (p *place) signWithNotation(t *testing.T, leaf, ca testhelper.RSACertTuple, of artifact.Pinned) {
	t.Helper()
	describe := func(pinned artifact.Pinned) artifact.Descriptor {
		raw, mediaType, err := p.client.Manifest(t.Context(), pinned)
		if err != nil {
			t.Fatal(err)
		}
		return artifact.Descriptor{MediaType: mediaType, Digest: pinned.Digest(), Size: int64(len(raw))}
	}
	s, err := signer.NewGenericSigner(leaf.PrivateKey, []*x509.Certificate{leaf.Cert, ca.Cert})
	if err != nil {
		t.Fatal(err)
	}
	signed := describe(of)
	envelope, _, err := s.Sign(t.Context(), ocispec.Descriptor{
		MediaType: signed.MediaType, Digest: digest.Digest(signed.Digest.String()), Size: signed.Size,
	}, notation.SignerSignOptions{SignatureMediaType: "application/jose+json"})
	if err != nil {
		t.Fatal(err)
	}
	blob := func(mediaType string, content []byte) artifact.Blob {
		return artifact.Blob{
			Descriptor: artifact.Descriptor{MediaType: mediaType, Digest: artifact.DigestOf(content), Size: int64(len(content))},
			Open:       artifact.BytesOpener(content),
		}
	}
	const kind = "application/vnd.cncf.notary.signature"
	config, layer, subject := blob(kind, []byte("{}")), blob("application/jose+json", envelope), describe(p.pinned)
	raw, err := json.Marshal(artifact.Manifest{
		SchemaVersion: 2, MediaType: artifact.MediaTypeManifest, ArtifactType: kind,
		Config: &config.Descriptor, Layers: []artifact.Descriptor{layer.Descriptor}, Subject: &subject,
	})
	if err != nil {
		t.Fatal(err)
	}
	packed := &artifact.Packed{
		Digest: artifact.DigestOf(raw), MediaType: artifact.MediaTypeManifest, Manifest: raw, Config: config, Layers: []artifact.Blob{layer},
	}
	if _, err := p.client.Upload(t.Context(), p.tag.Repository(), packed); err != nil {
		t.Fatal(err)
	}
	referrer := artifact.Descriptor{MediaType: packed.MediaType, Digest: packed.Digest, Size: int64(len(raw)), ArtifactType: kind}
	if err := p.client.Refer(t.Context(), p.pinned, referrer); err != nil {
		t.Fatal(err)
	}
}

func TestSignaturesOfTheNotaryProjectAreVerified(t *testing.T) {
	t.Parallel()
	ca := testhelper.GetRSARootCertificate()
	leaf := testhelper.GetRSALeafCertificate()
	p := newPlace(t, testkit.MemRegistry)
	_, err := p.verify(t, p.pinned, notationPolicy("strict", ca.Cert))
	wantUntrusted(t, err, trust.NoSignature, "")
	p.signWithNotation(t, leaf, ca, p.pinned)
	for _, level := range []string{"strict", "permissive"} {
		got, err := p.verify(t, p.pinned, notationPolicy(level, ca.Cert))
		if err != nil || got.Method != trust.Notary || got.Subject == "" || got.Digest != p.pinned.Digest() {
			t.Errorf("%s: %+v, %v", level, got, err)
		}
	}
	_, err = p.verify(t, p.pinned, notationPolicy("strict", testhelper.GetRSASelfSignedSigningCertificate().Cert))
	wantUntrusted(t, err, trust.NotTrusted, "")
	for _, level := range []string{"skip", "audit"} {
		_, err = p.verify(t, p.pinned, notationPolicy(level, ca.Cert))
		wantUntrusted(t, err, trust.NotEnforcing, level)
	}
	_, err = p.verify(t, p.pinned, keyPolicy(newSigner(t)))
	wantUntrusted(t, err, trust.NoSignature, "")

	// The signature of another artifact, put beside this one.
	other := p.pinned
	p.pinned = p.push(t, "two")
	p.signWithNotation(t, leaf, ca, other)
	_, err = p.verify(t, p.pinned, notationPolicy("strict", ca.Cert))
	wantUntrusted(t, err, trust.NotTrusted, "")
}

func TestTrustPoliciesThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	ca := testhelper.GetRSARootCertificate()
	p := newPlace(t, testkit.MemRegistry)
	for name, document := range map[string]string{
		"no JSON": "{", "unknown field": `{"version":"1.0","trustPolicys":[]}`, "empty": `{}`,
		"of another registry": `{"version":"1.0","trustPolicies":[{"name":"a","registryScopes":["registry.example.com/app"],` +
			`"signatureVerification":{"level":"strict"},"trustStores":["ca:a"],"trustedIdentities":["*"]}]}`,
	} {
		_, err := p.verify(t, p.pinned, trust.Policy{Notation: &trust.Notation{Document: []byte(document), Certificates: []*x509.Certificate{ca.Cert}}})
		var policy *trust.PolicyError
		if !errors.As(err, &policy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
