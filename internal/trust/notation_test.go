// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"testing"

	"github.com/notaryproject/notation-core-go/testhelper"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/testkit"
	"github.com/kustomizer/kustomizer/internal/testkit/notation"
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

// signWithNotation signs the artifact as notation does, for a subject that may be another one.
func (p *place) signWithNotation(t *testing.T, leaf, ca testhelper.RSACertTuple, of artifact.Pinned) {
	t.Helper()
	if err := notation.Sign(t.Context(), p.client, notation.Signature{Leaf: leaf, Authority: ca, At: p.pinned, Of: of}); err != nil {
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
