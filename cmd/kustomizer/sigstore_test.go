// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http/httptest"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kustomizer/kustomizer/internal/testkit/sigstore"
)

// startSigstore starts a Sigstore of the script's own: "sigstore". SIGSTORE is its URL, trusted_root.json
// says whom it is, TOKEN_OF_JANE and TOKEN_OF_WORKFLOW are tokens that prove identities to it.
func startSigstore(ts *testscript.TestScript, _ bool, _ []string) {
	s, err := sigstore.Start()
	ts.Check(err)
	server := httptest.NewServer(s)
	ts.Defer(server.Close)
	s.At(server.URL)
	root, err := s.TrustedRoot()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("trusted_root.json"), root, 0o600))
	ts.Setenv("SIGSTORE", server.URL)
	ts.Setenv("TOKEN_OF_JANE", sigstore.Token(map[string]string{"iss": "https://accounts.example.com", "sub": "1", "email": "jane@example.com"}))
	ts.Setenv("TOKEN_OF_WORKFLOW", sigstore.Token(map[string]string{
		"iss": "https://token.actions.githubusercontent.com", "sub": "repo:me/app:ref:refs/heads/main", "ref": "refs/heads/main",
		"job_workflow_ref": "me/app/.github/workflows/release.yaml@refs/heads/main", "workflow": "release",
	}))
}
