// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// registryHtpasswd is the user "flux" with the bcrypt hash of registryPassword.
const registryHtpasswd = "flux:$2a$04$zrCTFzpZLwUMdnEgfblCeuYXcreldksCC1f/OGU.BrE1fygyaOsLa"

// TestScriptsOfArtifactsOnARealRegistry runs the scripts about artifacts once more, with CNCF Distribution
// in place of the registry in this process: open and with a password; and behind a token service, which
// grants what a token was asked for and nothing else.
func TestScriptsOfArtifactsOnARealRegistry(t *testing.T) {
	t.Parallel()
	for _, script := range []string{
		"copy_artifact", "delete_artifact", "diff_artifact", "encrypted_artifact", "inspect_artifact", "list_artifacts", "login", "pull_artifact",
		"push_artifact", "push_artifact_guarded", "push_artifact_path", "sign_artifact", "sign_keyless", "tag_artifact", "verify_artifact",
	} {
		for kind, front := range map[string]func(t *testing.T, host string) string{
			"basic":  func(_ *testing.T, host string) string { return host },
			"bearer": withTokens,
		} {
			t.Run(script+" "+kind, func(t *testing.T) {
				t.Parallel()
				open, private := front(t, testkit.OwnRegistry(t, "")), testkit.OwnRegistry(t, registryHtpasswd)
				runScripts(t, "testdata/script/"+script+".txtar", func(env *testscript.Env) error {
					env.Setenv("REGISTRY", open)
					env.Setenv("PRIVATE_REGISTRY", private)
					return nil
				})
			})
		}
	}
}

// tokens is a token service, and the gate in front of a registry that wants its tokens.
type tokens struct {
	key     []byte
	forward http.Handler
}

// withTokens puts a token service in front of a registry and returns the address of both.
func withTokens(t *testing.T, host string) string {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: host}
	service := &tokens{key: []byte(t.Name()), forward: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the registry answers with addresses of its own
	}}}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// repositoryIn finds the repository in a path.
var repositoryIn = regexp.MustCompile(`^/v2/(.+?)/(?:manifests|blobs|tags|referrers)/`)

// ServeHTTP implements http.Handler.
func (s *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		scopes := strings.Join(r.URL.Query()["scope"], " ")
		_ = json.NewEncoder(w).Encode(map[string]string{"token": s.sign(scopes) + "." + hex.EncodeToString([]byte(scopes))})
		return
	}
	action := map[string]string{http.MethodGet: "pull", http.MethodHead: "pull", http.MethodDelete: "delete"}[r.Method]
	if action == "" {
		action = "push"
	}
	repository := ""
	if found := repositoryIn.FindStringSubmatch(r.URL.Path); found != nil {
		repository = found[1]
	}
	if !s.allows(r.Header.Get("Authorization"), repository, action) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="tokens",scope="repository:%s:%s"`, r.Host, repository, action))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return
	}
	s.forward.ServeHTTP(w, r)
}

func (s *tokens) sign(scopes string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(scopes))
	return hex.EncodeToString(mac.Sum(nil))
}

// allows says whether a token is of this service and was given for an action on a repository.
func (s *tokens) allows(header, repository, action string) bool {
	signature, encoded, _ := strings.Cut(strings.TrimPrefix(header, "Bearer "), ".")
	scopes, err := hex.DecodeString(encoded)
	if err != nil || !hmac.Equal([]byte(signature), []byte(s.sign(string(scopes)))) {
		return false
	}
	for scope := range strings.FieldsSeq(string(scopes)) {
		actions, found := strings.CutPrefix(scope, "repository:"+repository+":")
		if found && strings.Contains(","+actions+",", ","+action+",") {
			return true
		}
	}
	return repository == ""
}
