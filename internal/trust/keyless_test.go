// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kustomizer/kustomizer/internal/testkit"
	"github.com/kustomizer/kustomizer/internal/testkit/sigstore"
	"github.com/kustomizer/kustomizer/internal/trust"
)

const issuer = "https://token.actions.githubusercontent.com"

// workflow is what GitHub says about a job.
func workflow() map[string]string {
	return map[string]string{
		"iss": issuer, "sub": "repo:me/app:ref:refs/heads/main", "job_workflow_ref": "me/app/.github/workflows/release.yaml@refs/heads/main",
		"workflow": "release", "ref": "refs/heads/main", "event_name": "push", "repository": "https://github.com/me/app",
	}
}

const workflowURI = "https://github.com/me/app/.github/workflows/release.yaml@refs/heads/main"

func rootOf(t *testing.T, s *sigstore.Sigstore) *trust.Root {
	t.Helper()
	text, err := s.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	root, err := trust.ParseRoot(text)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func identity(t *testing.T, text string) trust.Identity {
	t.Helper()
	id, err := trust.ParseIdentity(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// keylessSigner signs as the workflow.
func keylessSigner(t *testing.T, s *sigstore.Sigstore, root *trust.Root) trust.Signer {
	t.Helper()
	return trust.Signer{
		Keyless:  &trust.Keyless{Token: sigstore.Token(workflow()), Root: root},
		Services: trust.Services{Fulcio: s.URL, Rekor: s.URL},
	}
}

func TestWhatAnIdentitySignedIsVerifiedWithoutAskingAnybody(t *testing.T) {
	t.Parallel()
	s := sigstore.New(t)
	root := rootOf(t, s)
	for _, layout := range trust.Layouts() {
		p := newPlace(t, testkit.MemRegistry)
		checked := root
		if layout == trust.Tag {
			checked = nil
		}
		done := p.sign(t, keylessSigner(t, s, checked), layout)
		if len(done) != 1 || done[0].Subject != workflowURI || done[0].Issuer != issuer {
			t.Errorf("signed %+v", done)
		}
		before := len(s.Requests())
		got, err := p.verify(t, p.pinned, trust.Policy{Root: root, Identities: []trust.Identity{
			identity(t, "issuer=https://accounts.example.com,subject=jane@example.com"),
			identity(t, "issuer="+issuer+",subject="+workflowURI),
		}})
		if err != nil || got.Subject != workflowURI || got.Issuer != issuer || got.Layout != layout || got.Time.IsZero() || got.Key != "" {
			t.Errorf("%s: got %+v, %v", layout, got, err)
		}
		if asked := s.Requests()[before:]; len(asked) != 0 {
			t.Errorf("to verify, %v were asked", asked)
		}

		// The key that signed is not known to anybody, and the identity is no key.
		_, err = p.verify(t, p.pinned, keyPolicy(newSigner(t)))
		wantUntrusted(t, err, trust.NotTrusted, "it was made with a certificate, not with the key")
		p.sign(t, newSigner(t), layout)
		other := rootOf(t, sigstore.New(t))
		_, err = p.verify(t, p.pinned, trust.Policy{Root: other, Identities: []trust.Identity{identity(t, "issuer="+issuer+",subject="+workflowURI)}})
		wantUntrusted(t, err, trust.NotTrusted, "")
		public, err := trust.RecordedRoot()
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.verify(t, p.pinned, trust.Policy{Root: public, Identities: []trust.Identity{identity(t, "issuer="+issuer+",subject="+workflowURI)}})
		wantUntrusted(t, err, trust.NotTrusted, "")
	}
}

func TestIdentitiesAreComparedWhole(t *testing.T) {
	t.Parallel()
	s := sigstore.New(t)
	root := rootOf(t, s)
	p := newPlace(t, testkit.MemRegistryWithReferrers)
	p.sign(t, keylessSigner(t, s, root))
	for text, because := range map[string]string{
		"issuer=" + issuer + ",subject=" + workflowURI:                                                                  "",
		"issuer=" + issuer + ",subject-regexp=https://github\\.com/me/app/\\.github/.*":                                 "",
		"issuer-regexp=https://.*githubusercontent\\.com,subject=" + workflowURI:                                        "",
		"issuer=" + issuer + ",subject=" + workflowURI + ",source-repository-ref=refs/heads/main,workflow-name=release": "",
		"issuer=" + issuer + ",subject=" + workflowURI + ",source-repository-ref-regexp=refs/(heads|tags)/.*":           "",
		"issuer=" + issuer + ",subject-regexp=https://github\\.com/me/app":                                              "the subject is",
		"issuer=" + issuer + ",subject-regexp=github\\.com/me/app/.*":                                                   "the subject is",
		"issuer=" + issuer + ",subject-regexp=https://github\\.com/me/other|https://github\\.com/me":                    "the subject is",
		"issuer=" + issuer + ",subject=https://github.com/me/app":                                                       "the subject is",
		"issuer=https://token.actions.githubusercontent.com.evil.example,subject=" + workflowURI:                        "the issuer is",
		"issuer=" + issuer + ",subject=" + workflowURI + ",source-repository-ref=refs/tags/v1":                          "the claim source-repository-ref is \"refs/heads/main\"",
		"issuer=" + issuer + ",subject=" + workflowURI + ",build-signer-digest=abc":                                     "the claim build-signer-digest is \"\"",
		"issuer=" + issuer + ",subject=" + workflowURI + ",build-signer-digest-regexp=.*":                               "the claim build-signer-digest is \"\"",
	} {
		_, err := p.verify(t, p.pinned, trust.Policy{Root: root, Identities: []trust.Identity{identity(t, text)}})
		if because == "" && err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if because != "" {
			wantUntrusted(t, err, trust.NotTrusted, because)
		}
	}
}

func TestIdentitiesThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "issuer=a", "subject=b", "issuer=,subject=b", "issuer=a,subject=b,colour=red", "issuer=a,subject=b,subject=c", "issuer=a,issuer-regexp=b,subject=c",
		"issuer=a,subject-regexp=(", "issuer=a,subject-regexp=" + strings.Repeat("a", 513), "issuer=a,subject=b,workflow-name", `issuer=a,"subject=b`,
		"issuer=a,subject=b,workflow-ref=c,workflow-ref=d",
	} {
		var policy *trust.PolicyError
		if id, err := trust.ParseIdentity(text); !errors.As(err, &policy) {
			t.Errorf("%q: %+v, %v", text, id, err)
		}
	}
	if _, err := trust.ParseIdentity(`issuer=a,"subject=one, two",workflow-name=release`); err != nil {
		t.Error(err)
	}
}

// Without a log a time stamp has to say that the certificate was good when it was used.
func TestATimeStampStandsInForTheLog(t *testing.T) {
	t.Parallel()
	s := sigstore.New(t)
	root := rootOf(t, s)
	ids := []trust.Identity{identity(t, "issuer="+issuer+",subject="+workflowURI)}
	for _, layout := range trust.Layouts() {
		p := newPlace(t, testkit.MemRegistry)
		signer := keylessSigner(t, s, root)
		signer.Services = trust.Services{Fulcio: s.URL, Timestamp: s.Timestamp}
		p.sign(t, signer, layout)
		got, err := p.verify(t, p.pinned, trust.Policy{Root: root, Identities: ids, NoLog: true})
		if err != nil || got.Time.IsZero() {
			t.Errorf("%s: %+v, %v", layout, got, err)
		}
		_, err = p.verify(t, p.pinned, trust.Policy{Root: root, Identities: ids})
		wantUntrusted(t, err, trust.NotTrusted, "log")
	}
	p := newPlace(t, testkit.MemRegistry)
	signer := keylessSigner(t, s, root)
	signer.Services.Rekor = ""
	_, err := trust.Sign(t.Context(), trust.SignRequest{Client: p.client, Pinned: p.pinned, Signer: signer})
	var policy *trust.PolicyError
	if !errors.As(err, &policy) {
		t.Errorf("neither log nor time: %v", err)
	}
}

func TestSignaturesByKeysCanBeLogged(t *testing.T) {
	t.Parallel()
	s := sigstore.New(t)
	root := rootOf(t, s)
	for _, layout := range trust.Layouts() {
		p := newPlace(t, testkit.MemRegistry)
		signer := newSigner(t)
		p.sign(t, signer, layout)
		policy := keyPolicy(signer)
		policy.Root, policy.RequireLog = root, true
		_, err := p.verify(t, p.pinned, policy)
		wantUntrusted(t, err, trust.NotTrusted, "log")
		signer.Services.Rekor = s.URL
		p.sign(t, signer, layout)
		if _, err := p.verify(t, p.pinned, policy); err != nil {
			t.Errorf("%s: %v", layout, err)
		}
	}
}

// What a service says may repeat the token; no error does.
func TestFailingServicesLeaveTheArtifactUnsignedAndTheTokenUntold(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"/signingCert", "/log/entries"} {
		s := sigstore.New(t)
		s.Fail(part, http.StatusForbidden)
		p := newPlace(t, testkit.MemRegistry)
		signer := keylessSigner(t, s, rootOf(t, s))
		_, err := trust.Sign(t.Context(), trust.SignRequest{Client: p.client, Pinned: p.pinned, Signer: signer})
		var service *trust.ServiceError
		if !errors.As(err, &service) {
			t.Errorf("%s: %v", part, err)
		}
		for secret := range strings.SplitSeq(signer.Keyless.Token, ".") {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error holds the token: %v", part, err)
			}
		}
		for _, r := range p.reg.Requests() {
			if r.Method != http.MethodGet && r.Method != http.MethodHead && strings.Contains(r.Path, "sha256-") {
				t.Errorf("%s: something was written: %s", part, r)
			}
		}
	}
}

func TestTokensOfCIAreFound(t *testing.T) {
	t.Parallel()
	want := sigstore.Token(workflow())
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer canary-of-the-request-token":
			http.Error(w, r.Header.Get("Authorization"), http.StatusForbidden)
		case r.URL.Query().Get("audience") != "sigstore" || r.URL.Query().Get("api-version") != "2.0":
			http.Error(w, r.URL.RawQuery, http.StatusBadRequest)
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "https://evil.example/", http.StatusTemporaryRedirect)
		default:
			_ = json.NewEncoder(w).Encode(map[string]string{"value": want})
		}
	}))
	t.Cleanup(github.Close)
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	at, secret := "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
	for name, getenv := range map[string]func(string) string{
		"github": env(at, github.URL+"/?api-version=2.0", secret, "canary-of-the-request-token"),
		"gitlab": env("SIGSTORE_ID_TOKEN", want+"\n"),
	} {
		if got, err := trust.AmbientToken(t.Context(), getenv); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, getenv := range map[string]func(string) string{
		"nothing":       env(),
		"no token":      env("SIGSTORE_ID_TOKEN", "canary"),
		"not allowed":   env(at, github.URL+"/?api-version=2.0", secret, "canary"),
		"redirect":      env(at, github.URL+"/moved?api-version=2.0", secret, "canary-of-the-request-token"),
		"without TLS":   env(at, "http://github.example/", secret, "canary"),
		"no permission": env(at, github.URL),
	} {
		var none *trust.TokenError
		if got, err := trust.AmbientToken(t.Context(), getenv); !errors.As(err, &none) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestServicesWithoutTLSGetNoToken(t *testing.T) {
	t.Parallel()
	p := newPlace(t, testkit.MemRegistry)
	for _, at := range []string{"http://fulcio.example", "fulcio.example", "ftp://fulcio.example"} {
		signer := trust.Signer{Keyless: &trust.Keyless{Token: sigstore.Token(workflow())}, Services: trust.Services{Fulcio: at, Rekor: "https://rekor.example"}}
		_, err := trust.Sign(t.Context(), trust.SignRequest{Client: p.client, Pinned: p.pinned, Signer: signer})
		var policy *trust.PolicyError
		if !errors.As(err, &policy) {
			t.Errorf("%s: %v", at, err)
		}
	}
}
