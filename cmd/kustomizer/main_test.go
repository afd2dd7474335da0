// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/subtle"
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite what scripts compare with to what the command prints")

// registryPassword belongs to the user "flux" of each script's private registry.
const registryPassword = "a-password-only-for-tests"

// TestMain lets the scripts run this test binary as the command, under each of its names.
func TestMain(m *testing.M) {
	program := func() { os.Exit(run()) }
	testscript.Main(m, map[string]func(){"kustomizer": program, "flux": program, "kubectl-kustomizer": program, "verify-roots": verifyRoots})
}

// TestScripts runs what needs no cluster. A script reads like the manual: a case each, with a
// comment that says which promise it keeps.
func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "testdata/script/*.txtar", func(*testscript.Env) error { return nil })
}

// runScripts runs each script with a home, a Docker configuration and two registries of its own:
// REGISTRY is open, PRIVATE_REGISTRY wants the user "flux" with REGISTRY_PASSWORD.
func runScripts(t *testing.T, pattern string, more func(*testscript.Env) error) {
	t.Helper()
	files, err := filepath.Glob(filepath.FromSlash(pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts at %s: %v", pattern, err)
	}
	testscript.Run(t, testscript.Params{
		Files:              files,
		RequireUniqueNames: true,
		UpdateScripts:      *update,
		Cmds:               map[string]func(*testscript.TestScript, bool, []string){"exitcode": exitCodeIs, "settle": settle, "sigstore": startSigstore},
		Setup: func(env *testscript.Env) error {
			setup(env)
			return more(env)
		},
	})
}

func setup(env *testscript.Env) {
	env.Setenv("REGISTRY", serve(env, startRegistry()))
	env.Setenv("PRIVATE_REGISTRY", serve(env, private(startRegistry())))
	env.Setenv("REGISTRY_PASSWORD", registryPassword)
	env.Setenv("HOME", filepath.Join(env.WorkDir, ".home"))
	env.Setenv("DOCKER_CONFIG", filepath.Join(env.WorkDir, ".docker"))
	env.Setenv("LANG", "C.UTF-8")
	for _, inherited := range []string{"KUBECONFIG", "GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "SOURCE_DATE_EPOCH", "NO_COLOR", "SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "COSIGN_PASSWORD"} {
		env.Setenv(inherited, "")
	}
}

func startRegistry() http.Handler {
	return registry.New(registry.Logger(log.New(io.Discard, "", 0)))
}

func serve(env *testscript.Env, handler http.Handler) string {
	server := httptest.NewServer(handler)
	env.Defer(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// private wants a user name and a password before it lets a request through.
func private(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "flux" || subtle.ConstantTimeCompare([]byte(password), []byte(registryPassword)) == 0 {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// exitCodeIs runs a command that must end with a given exit code: "exitcode 2 kustomizer push".
// What it printed can be looked at with stdout and stderr.
func exitCodeIs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode CODE COMMAND [ARGS...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("running %s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
