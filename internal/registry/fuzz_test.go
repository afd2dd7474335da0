// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// answers is a network on which everybody answers the same, and which remembers who was shown the password.
type answers struct {
	challenge string
	token     string
	shownTo   []string
}

// RoundTrip implements http.RoundTripper.
func (a *answers) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, password, ok := req.BasicAuth(); ok && password == "canary" {
		a.shownTo = append(a.shownTo, req.URL.Scheme+"://"+req.URL.Host)
	}
	body, status := a.token, http.StatusOK
	if strings.HasPrefix(req.URL.Path, "/v2/") && req.URL.Host == "registry.example" {
		body, status = "", http.StatusUnauthorized
	}
	header := http.Header{"Www-Authenticate": {a.challenge}, "Content-Type": {"application/json"}}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// FuzzChallenge: whatever challenge a registry and whatever token its service answers with, the handshake ends,
// and the password is shown to nobody without TLS.
func FuzzChallenge(f *testing.F) {
	for _, challenge := range []string{
		`Bearer realm="https://auth.example/token",service="registry.example",scope="repository:org/app:pull"`, `Basic realm="x"`,
		`Bearer realm="http://auth.example/token"`, `Bearer realm="https://auth.example/token`, `Bearer`, `Bearer realm=`, `Negotiate, Basic realm="x"`,
		`Bearer realm="https://[::1/"`, `Bearer realm="//x"`, `Bearer realm="https://a/",realm="https://b/"`, "Bearer\x00realm=x", ``,
	} {
		f.Add(challenge, `{"token":"x"}`)
		f.Add(challenge, `{"access_token":"x","expires_in":-1}`)
		f.Add(challenge, `<html>`)
	}
	f.Fuzz(func(t *testing.T, challenge, token string) {
		network := &answers{challenge: challenge, token: token}
		registry, err := name.NewRegistry("registry.example")
		if err != nil {
			t.Fatal(err)
		}
		auth := authn.FromConfig(authn.AuthConfig{Username: "me", Password: "canary"})
		tr, err := transport.NewWithContext(t.Context(), registry, auth, network, []string{"repository:org/app:pull"})
		if err == nil {
			req, reqErr := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://registry.example/v2/org/app/manifests/1", nil)
			if reqErr != nil {
				t.Fatal(reqErr)
			}
			if resp, err := tr.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}
		for _, host := range network.shownTo {
			if strings.HasPrefix(host, "http://") {
				t.Errorf("by the challenge %q the password was shown to %s", challenge, host)
			}
		}
	})
}
