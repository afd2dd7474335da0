// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestStuckScripts runs the command against an API server that begins to answer and then says no more.
func TestStuckScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "testdata/stuck/*.txtar", func(env *testscript.Env) error {
		env.Setenv("STUCK", serve(env, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})))
		return nil
	})
}
