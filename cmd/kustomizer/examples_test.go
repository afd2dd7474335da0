// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/cli"
	"github.com/kustomizer/kustomizer/internal/testkit"
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

// runHere are the commands whose examples TestExamplesRun runs: those that need no cluster. The calls of
// all others are checked by TestExamplesAreCalls, and what they do by the scripts in testdata.
func runHere() []string {
	return []string{
		"push artifact", "pull artifact", "tag artifact", "list artifacts", "inspect artifact", "diff artifact", "sign artifact",
		"verify artifact", "copy artifact", "delete artifact", "login", "logout", "build inventory", "config init", "config view",
	}
}

// notRun says why single examples of these commands are not run: they need a Sigstore or a notation
// policy, which the scripts sign_keyless.txtar and verify_artifact.txtar have.
func notRun(line string) bool {
	keyless := strings.Contains(line, "--certificate-") || strings.Contains(line, "--identity=") || strings.Contains(line, "--notation-policy")
	signs := strings.Contains(line, " --sign") || strings.Contains(line, "sign artifact")
	return keyless || signs && !strings.Contains(line, "--cosign-key")
}

// TestExamplesRun runs examples as they stand, in a shell, against registries of the hosts that they name.
func TestExamplesRun(t *testing.T) {
	t.Parallel()
	byPath := map[string]*cobra.Command{}
	for _, cmd := range leaves(t) {
		byPath[strings.TrimPrefix(cmd.CommandPath(), "kustomizer ")] = cmd
	}
	for _, path := range runHere() {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := newExampleWorld(t)
			ran := 0
			for _, line := range exampleLines(byPath[path].Example) {
				if notRun(line) {
					continue
				}
				if strings.Contains(line, "--tag-only-if-newer") { // the examples before may have moved it
					w.run(t, "kustomizer tag artifact oci://ghcr.io/me/app:pr-12 latest")
				}
				w.run(t, line)
				ran++
			}
			if ran == 0 {
				t.Error("no example was run")
			}
		})
	}
}

// exampleWorld is what examples presume: a checkout with files and keys, and registries with artifacts.
type exampleWorld struct {
	dir, digest string
	env         []string
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
	w.setEnv(t)
	for line := range strings.Lines(string(archive.Comment)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			w.run(t, line)
		}
	}
	w.digest = strings.TrimSpace(w.run(t, "kustomizer inspect artifact oci://ghcr.io/me/app:1.0.0 -o json | jq -r .digest"))
	return w
}

func (w *exampleWorld) setEnv(t *testing.T) {
	t.Helper()
	hosts := map[string]http.Handler{
		ecrHost: wants("AWS", cloudSecret, startRegistry()), "api.ecr.eu-west-1.amazonaws.com": http.HandlerFunc(ecrToken),
	}
	for _, host := range []string{"ghcr.io", "index.docker.io", "registry.example.com", "registry.local"} {
		hosts[host] = startRegistry()
	}
	home := filepath.Join(w.dir, ".home")
	w.env = []string{
		"PATH=" + filepath.Join(w.dir, "bin") + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + home, "DOCKER_CONFIG=" + filepath.Join(home, ".docker"),
		"LANG=C.UTF-8", "GITHUB_TOKEN=token", "TOKEN=token", "PASSWORD=fixture", "COSIGN_PASSWORD=fixture",
		"AWS_ACCESS_KEY_ID=AKIDUSER", "AWS_SECRET_ACCESS_KEY=secret",
	}
	for name, value := range testkit.NewInternet(t, hosts).Env() {
		w.env = append(w.env, name+"="+value)
	}
}

// run runs one line, with what stands for something else filled in. A diff may find differences.
func (w *exampleWorld) run(t *testing.T, line string) string {
	t.Helper()
	const recipient = "age1zwup6zp9dmxe5mykx2s0f9l6n4ev4wenrjj6ml78xs5p9nnyfvqs3wx6zx"
	line = strings.NewReplacer("sha256:<digest>", w.digest, "age1…", recipient, "/tmp/ci", filepath.Join(w.dir, "ci")).Replace(line)
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", line)
	cmd.Dir, cmd.Env = w.dir, w.env
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if exit := cmd.ProcessState.ExitCode(); err != nil && !(exit == 1 && strings.HasPrefix(line, "kustomizer diff ")) {
		t.Errorf("%s\nexit code %d\n%s", line, exit, said.String())
		_, _ = io.WriteString(t.Output(), string(out))
	}
	return string(out)
}
