// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestStuckScripts runs the command against an API server that begins to answer and then says no more.
func TestStuckScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "testdata/stuck/*.txtar", func(env *testscript.Env) error {
		server := serve(env, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		kubeconfig := filepath.Join(env.WorkDir, "kubeconfig")
		env.Setenv("KUBECONFIG", kubeconfig)
		return os.WriteFile(kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: stuck
contexts: [{name: stuck, context: {cluster: stuck}}]
clusters: [{name: stuck, cluster: {server: "http://%s"}}]
`, server), 0o600)
	})
}
