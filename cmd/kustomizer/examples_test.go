// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/notaryproject/notation-core-go/testhelper"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/cli"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/testkit"
	"github.com/kustomizer/kustomizer/internal/testkit/notation"
	"github.com/kustomizer/kustomizer/internal/testkit/sigstore"
)

// leaves returns the commands that do something. Those of completion are cobra's: their help is a manual.
func leaves(t *testing.T) []*cobra.Command {
	t.Helper()
	var out []*cobra.Command
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, child := range cmd.Commands() {
			if child.Name() != "completion" && child.Name() != "help" {
				walk(child)
			}
		}
		if !cmd.HasSubCommands() {
			out = append(out, cmd)
		}
	}
	walk(cli.Commands())
	if len(out) < 40 {
		t.Fatalf("only %d commands were found", len(out))
	}
	return out
}

// exampleLines returns the command lines of an example, those that go on joined.
func exampleLines(example string) []string {
	var out []string
	for _, line := range strings.Split(strings.ReplaceAll(example, "\\\n", " "), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

func TestEveryCommandHasThreeExamples(t *testing.T) {
	t.Parallel()
	for _, cmd := range leaves(t) {
		blocks := strings.Split(cmd.Example, "\n\n")
		if len(blocks) < 3 {
			t.Errorf("%s has %d examples, want three", cmd.CommandPath(), len(blocks))
		}
		for _, block := range blocks {
			if !strings.HasPrefix(block, "  # ") || len(exampleLines(block)) == 0 {
				t.Errorf("%s: an example does not begin with what it is for: %q", cmd.CommandPath(), block)
			}
		}
		if own := " " + strings.TrimPrefix(cmd.CommandPath(), "kustomizer ") + " "; cmd.Name() != "options" && !strings.Contains(strings.Join(exampleLines(cmd.Example), " \n")+" ", own) {
			t.Errorf("%s is in none of its examples", cmd.CommandPath())
		}
	}
}

// words are those of a simple shell command line.
var words = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`)

// TestExamplesAreCalls checks each example against the commands: they exist, have these flags, and take
// these arguments.
func TestExamplesAreCalls(t *testing.T) {
	t.Parallel()
	for _, cmd := range leaves(t) {
		for _, line := range exampleLines(cmd.Example) {
			for _, part := range regexp.MustCompile(`\||&&| > \S+`).Split(line, -1) {
				_, call, found := strings.Cut(" "+part, " kustomizer ")
				if !found {
					continue
				}
				args := words.FindAllString(call, -1)
				for i, arg := range args {
					args[i] = strings.NewReplacer(`'`, "", `"`, "").Replace(arg)
				}
				if err := callable(args); err != nil {
					t.Errorf("%s: %s: %v", cmd.CommandPath(), line, err)
				}
			}
		}
	}
}

func callable(args []string) error {
	found, rest, err := cli.Commands().Find(args)
	if err != nil {
		return err
	}
	if err := found.ParseFlags(rest); err != nil {
		return err
	}
	if found.HasSubCommands() {
		return fmt.Errorf("%s is no command of its own", found.CommandPath())
	}
	return found.ValidateArgs(found.Flags().Args())
}

// runHere are the commands whose examples TestExamplesRun runs: those that need no cluster. Those of all
// others are clusterExamples.
func runHere() []string {
	return []string{
		"push artifact", "pull artifact", "tag artifact", "list artifacts", "inspect artifact", "diff artifact", "sign artifact",
		"verify artifact", "copy artifact", "delete artifact", "login", "logout", "build inventory", "config init", "config view",
	}
}

// TestEveryExampleIsRun guards against a command that is in neither list.
func TestEveryExampleIsRun(t *testing.T) {
	t.Parallel()
	times := map[string]int{}
	for _, path := range runHere() {
		times[path]++
	}
	for _, e := range clusterExamples() {
		times[e.path]++
	}
	for _, cmd := range leaves(t) {
		if path := strings.TrimPrefix(cmd.CommandPath(), "kustomizer "); times[path] != 1 {
			t.Errorf("the examples of %s are run %d times", path, times[path])
		}
	}
}

// examplesOf returns the command lines of a command's examples.
func examplesOf(t *testing.T, path string) []string {
	t.Helper()
	for _, cmd := range leaves(t) {
		if strings.TrimPrefix(cmd.CommandPath(), "kustomizer ") == path {
			return exampleLines(cmd.Example)
		}
	}
	t.Fatalf("there is no command %s", path)
	return nil
}

// TestExamplesRun runs examples as they stand, in a shell, against registries of the hosts that they name.
func TestExamplesRun(t *testing.T) {
	t.Parallel()
	for _, path := range runHere() {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := newExampleWorld(t)
			for _, line := range examplesOf(t, path) {
				w.presume(t, line)
				w.run(t, line)
			}
		})
	}
}

// exampleWorld is what examples presume: a checkout with files and keys, and registries with artifacts.
type exampleWorld struct {
	dir      string
	hosts    map[string]http.Handler
	env      []string
	stands   []string // what an example says, and what stands for it here, in turn
	sigstore string   // URL of a Sigstore of the test's own, whose root is trusted_root.json
	signed   bool     // by those whom examples trust
}

func newExampleWorld(t *testing.T) *exampleWorld {
	t.Helper()
	w := &exampleWorld{dir: t.TempDir()}
	archive, err := txtar.ParseFile(filepath.Join("testdata", "examples.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archive.Files {
		name := filepath.Join(w.dir, filepath.FromSlash(file.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, file.Data, 0o700); err != nil { //nolint:gosec // helm is run
			t.Fatal(err)
		}
	}
	for _, key := range []string{"cosign.key", "cosign.pub"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "internal", "trust", "testdata", "cosign", "p256"+filepath.Ext(key)))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.dir, key), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.stands = []string{"age1…", "age1zwup6zp9dmxe5mykx2s0f9l6n4ev4wenrjj6ml78xs5p9nnyfvqs3wx6zx", "/tmp/ci", filepath.Join(w.dir, "ci")}
	w.setEnv(t)
	w.startSigstore(t)
	for line := range strings.Lines(string(archive.Comment)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			w.run(t, line)
		}
	}
	digest := strings.TrimSpace(w.run(t, "kustomizer inspect artifact oci://ghcr.io/me/app:1.0.0 -o json | jq -r .digest"))
	w.stands = append(w.stands, "sha256:<digest>", digest)
	return w
}

func (w *exampleWorld) setEnv(t *testing.T) {
	t.Helper()
	w.hosts = map[string]http.Handler{
		ecrHost: wants("AWS", cloudSecret, startRegistry()), "api.ecr.eu-west-1.amazonaws.com": http.HandlerFunc(ecrToken),
	}
	for _, host := range []string{"ghcr.io", "index.docker.io", "registry.example.com", "registry.local"} {
		w.hosts[host] = startRegistry()
	}
	home := filepath.Join(w.dir, ".home")
	w.env = []string{
		"PATH=" + filepath.Join(w.dir, "bin") + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + home, "DOCKER_CONFIG=" + filepath.Join(home, ".docker"),
		"LANG=C.UTF-8", "GITHUB_TOKEN=token", "TOKEN=token", "PASSWORD=fixture", "COSIGN_PASSWORD=fixture",
		"AWS_ACCESS_KEY_ID=AKIDUSER", "AWS_SECRET_ACCESS_KEY=secret",
	}
	for name, value := range testkit.NewInternet(t, w.hosts).Env() {
		w.env = append(w.env, name+"="+value)
	}
}

// startSigstore starts what stands for the public Sigstore, and for what gives workflows of GitHub their tokens.
func (w *exampleWorld) startSigstore(t *testing.T) {
	t.Helper()
	s := sigstore.New(t)
	root, err := s.TrustedRoot()
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, "trusted_root.json"), root, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	workflow := sigstore.Token(map[string]string{
		"iss": "https://token.actions.githubusercontent.com", "sub": "repo:me/app:ref:refs/tags/v1.0.0", "ref": "refs/tags/v1.0.0",
		"job_workflow_ref": "me/app/.github/workflows/release.yaml@refs/tags/v1.0.0", "workflow": "release",
	})
	github := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		answer(rw, http.StatusOK, map[string]string{"value": workflow})
	}))
	t.Cleanup(github.Close)
	w.sigstore = s.URL
	w.env = append(w.env, "ACTIONS_ID_TOKEN_REQUEST_URL="+github.URL, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=token",
		"TOKEN_OF_JANE="+sigstore.Token(map[string]string{"iss": "https://accounts.example.com", "sub": "1", "email": "jane@example.com"}))
}

// presume makes what only some examples need.
func (w *exampleWorld) presume(t *testing.T, line string) {
	t.Helper()
	if strings.Contains(line, "--tag-only-if-newer") { // the examples before may have moved it
		w.run(t, "kustomizer tag artifact oci://ghcr.io/me/app:pr-12 latest")
	}
	if !w.signed && (strings.Contains(line, "--certificate-") || strings.Contains(line, "--identity=")) {
		w.run(t, "kustomizer sign artifact oci://ghcr.io/me/app:1.0.0")
		w.run(t, "SIGSTORE_ID_TOKEN=$TOKEN_OF_JANE kustomizer sign artifact oci://ghcr.io/me/app:1.0.0")
		w.signed = true
	}
	if strings.Contains(line, "--notation-policy") {
		w.signWithNotation(t)
	}
}

// signWithNotation signs what examples verify, as notation would, with a certificate that ca.crt vouches for.
func (w *exampleWorld) signWithNotation(t *testing.T) {
	t.Helper()
	server := httptest.NewServer(w.hosts["ghcr.io"])
	defer server.Close()
	client, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	tag, err := artifact.ParseTag(strings.TrimPrefix(server.URL, "http://") + "/me/app:1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	app, err := client.Resolve(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	authority := testhelper.GetRSARootCertificate()
	if err := notation.Sign(t.Context(), client, notation.Signature{Leaf: testhelper.GetRSALeafCertificate(), Authority: authority, At: app, Of: app}); err != nil {
		t.Fatal(err)
	}
	writeFile(t, w.dir, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Cert.Raw})))
}

// fill puts what is here in place of what an example says, and the test's own Sigstore in place of the public one.
func (w *exampleWorld) fill(line string) string {
	line = strings.NewReplacer(w.stands...).Replace(line)
	signs := (strings.Contains(line, " --sign") || strings.Contains(line, "sign artifact")) && !strings.Contains(line, "--cosign-key")
	if signs {
		line += " --fulcio-url=" + w.sigstore + " --rekor-url=" + w.sigstore
	}
	if (signs || strings.Contains(line, "--certificate-")) && !strings.Contains(line, "--trusted-root") {
		line += " --trusted-root=trusted_root.json"
	}
	return line
}

// run runs one line as it stands, but for what fill puts in. A diff may find differences.
func (w *exampleWorld) run(t *testing.T, line string) string {
	t.Helper()
	line = w.fill(line)
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", line)
	cmd.Dir, cmd.Env = w.dir, w.env
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if exit := cmd.ProcessState.ExitCode(); err != nil && !(exit == 1 && strings.HasPrefix(line, "kustomizer diff ")) {
		t.Errorf("%s\nexit code %d\n%s%s", line, exit, tail(out.String()), tail(said.String()))
	}
	return out.String()
}
