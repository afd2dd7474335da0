// SPDX-License-Identifier: Apache-2.0

// Package docs_test runs what the documentation says.
package docs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// commandTimeout bounds each command of the guide.
const commandTimeout = 2 * time.Minute

// TestGuide runs docs/guide.md from top to bottom.
func TestGuide(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("guide.md")
	if err != nil {
		t.Fatal(err)
	}
	parts, err := parse(string(page))
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t)
	for _, p := range parts {
		if p.startsAgent {
			r.startAgent(t)
		}
		for _, c := range p.commands {
			r.run(t, c)
		}
	}
}

// TestGuideHasNothingThatIsNotRun needs no cluster: each block is a script, YAML that parses, or
// says why it isn't run.
func TestGuideHasNothingThatIsNotRun(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("guide.md")
	if err != nil {
		t.Fatal(err)
	}
	parts, err := parse(string(page))
	if err != nil {
		t.Fatal(err)
	}
	commands, agents := 0, 0
	for _, p := range parts {
		commands += len(p.commands)
		if p.startsAgent {
			agents++
		}
	}
	if commands < 20 || agents != 1 {
		t.Errorf("read %d commands and %d starts of the agent from the guide", commands, agents)
	}
}

// TestOutputIsComparedByLines guards the comparison that the guide's test stands on.
func TestOutputIsComparedByLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		shown, printed []string
		same           bool
	}{
		"equal":                      {[]string{"a", "b"}, []string{"a", "b"}, true},
		"a line differs":             {[]string{"a", "b"}, []string{"a", "c"}, false},
		"a line is missing":          {[]string{"a", "b"}, []string{"a"}, false},
		"a line is too many":         {[]string{"a"}, []string{"a", "b"}, false},
		"an ellipsis in a line":      {[]string{"digest sha256:…!"}, []string{"digest sha256:12!"}, true},
		"the rest of a line differs": {[]string{"digest sha256:…!"}, []string{"digest sha256:12?"}, false},
		"a line of an ellipsis":      {[]string{"a", "…", "d"}, []string{"a", "b", "c", "d"}, true},
		"it stands for no line too":  {[]string{"a", "…", "d"}, []string{"a", "d"}, true},
		"what follows it must come":  {[]string{"…", "d"}, []string{"a", "b"}, false},
		"the width of columns":       {[]string{"NAME  AGE"}, []string{"NAME     AGE "}, true},
		"special characters":         {[]string{"(a)[b]"}, []string{"(a)[b]"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := matches(c.shown, c.printed); got != c.same {
				t.Errorf("got %t, want %t", got, c.same)
			}
		})
	}
}

// A part is a block of the guide, or a note to this test.
type part struct {
	startsAgent bool
	commands    []command
}

// A command is what a user types, and what the guide shows as the answer.
type command struct {
	line  int
	typed string
	shown []string
}

const (
	notRun     = "<!-- guide-test: not run, because "
	startAgent = "<!-- guide-test: start the agent -->"
)

// parse takes the guide apart.
func parse(page string) ([]part, error) {
	var parts []part
	skip := false
	lines := strings.Split(page, "\n")
	for i := 0; i < len(lines); i++ {
		switch line := lines[i]; {
		case strings.HasPrefix(line, notRun):
			skip = true
		case line == startAgent:
			parts = append(parts, part{startsAgent: true})
		case strings.HasPrefix(line, "```"):
			end := slices.Index(lines[i+1:], "```")
			if end < 0 {
				return nil, fmt.Errorf("line %d: the block has no end", i+1)
			}
			block := lines[i+1 : i+1+end]
			p, err := parseBlock(strings.TrimPrefix(line, "```"), block, i+2)
			if err != nil && !skip {
				return nil, err
			}
			if !skip {
				parts = append(parts, p)
			}
			i, skip = i+1+end, false
		}
	}
	return parts, nil
}

func parseBlock(language string, block []string, first int) (part, error) {
	switch language {
	case "yaml":
		var content any
		return part{}, yaml.Unmarshal([]byte(strings.Join(block, "\n")), &content)
	case "console":
		commands, err := parseConsole(block, first)
		return part{commands: commands}, err
	}
	return part{}, fmt.Errorf("line %d: a block of %q is not run: make it a console block, or say why with %q", first, language, notRun)
}

// parseConsole reads commands, which begin with a dollar sign and go on after a backslash, and what
// is shown below each of them.
func parseConsole(block []string, first int) ([]command, error) {
	var commands []command
	for i := 0; i < len(block); i++ {
		typed, isCommand := strings.CutPrefix(block[i], "$ ")
		if !isCommand {
			if len(commands) == 0 {
				return nil, fmt.Errorf("line %d: output without a command", first+i)
			}
			last := &commands[len(commands)-1]
			last.shown = append(last.shown, block[i])
			continue
		}
		c := command{line: first + i, typed: typed}
		for strings.HasSuffix(block[i], `\`) && i+1 < len(block) {
			i++
			c.typed += "\n" + block[i]
		}
		commands = append(commands, c)
	}
	return commands, nil
}

// A reader follows the guide.
type reader struct {
	env     *testkit.Env
	dir     string // where the shell's state is kept between commands
	binary  string
	status  int
	replace *strings.Replacer // what the test has in place of what the guide says
	restore *strings.Replacer
	last    command
}

func newReader(t *testing.T) *reader {
	t.Helper()
	registry := testkit.PrivateRegistry(t)
	r := &reader{env: testkit.OwnControlPlane(t, testkit.ControlPlane{Node: true}), dir: t.TempDir(), binary: testkit.Binary(t)}
	const host, app, name, token, clone = "ghcr.io", "/kustomizer-demo-app", "your-name", "your-token", "https://github.com/kustomizer/kustomizer"
	unique := "/" + registry.Prefix
	origin := r.makeOrigin(t)
	// Images keep their names: nobody pulls them.
	images := "ghcr.io/stefanprodan/"
	r.replace = strings.NewReplacer(images, images, host, registry.Host, app, unique, name, registry.Username, token, registry.Password, clone, origin)
	r.restore = strings.NewReplacer(registry.Host+"/"+registry.Username, host+"/"+name, registry.Host, host, unique, app, origin, clone)
	for _, link := range []struct{ to, name string }{{r.binary, "kustomizer"}, {r.binary, "flux"}, {r.env.KubectlPath, "kubectl"}} {
		if err := os.MkdirAll(filepath.Join(r.dir, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(link.to, filepath.Join(r.dir, "bin", link.name)); err != nil {
			t.Fatal(err)
		}
	}
	r.startShell(t)
	return r
}

// startShell writes the state with which the first command begins.
func (r *reader) startShell(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	state := fmt.Sprintf("export HOME='%s' DOCKER_CONFIG='%s/.docker' KUBECONFIG='%s' KUBECACHEDIR='%s' LANG=C.UTF-8 NO_COLOR=1 PATH='%s'\n",
		home, home, r.env.Kubeconfig, home, filepath.Join(r.dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	for file, content := range map[string]string{"state": state, "pwd": home + "\n"} {
		if err := os.WriteFile(filepath.Join(r.dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// makeOrigin makes the repository that the guide clones.
func (r *reader) makeOrigin(t *testing.T) string {
	t.Helper()
	origin := filepath.Join(t.TempDir(), "kustomizer")
	app := filepath.Join(origin, "examples", "demo-app")
	if err := os.CopyFS(app, os.DirFS(filepath.Join("..", "examples", "demo-app"))); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "."},
		{"-c", "user.name=guide", "-c", "user.email=guide@example.com", "-c", "commit.gpgsign=false", "commit", "--quiet", "--message=demo app"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = origin
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return origin
}

// script continues the shell of the command before, whose exit status is still $?.
const script = `. "$0/state"
cd "$(cat "$0/pwd")"
(exit %d)
%s
GUIDE_STATUS=$?
export -p > "$0/state"
pwd > "$0/pwd"
exit $GUIDE_STATUS
`

// run gives a command as the guide does. One may fail only if the guide then looks at $?.
func (r *reader) run(t *testing.T, c command) {
	t.Helper()
	if r.status != 0 && !strings.Contains(c.typed, "$?") {
		t.Fatalf("guide.md:%d: %s\nended with exit code %d", r.last.line, r.last.typed, r.status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf(script, r.status, r.replace.Replace(c.typed)), r.dir)
	cmd.Env = r.cleanEnviron()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("guide.md:%d: %s\n%v\n%s", c.line, c.typed, errors.Join(err, ctx.Err()), out.String())
	}
	r.status, r.last = cmd.ProcessState.ExitCode(), c
	printed := strings.Split(strings.TrimRight(r.restore.Replace(out.String()), "\n"), "\n")
	t.Logf("$ %s\n%s", c.typed, strings.Join(printed, "\n"))
	if len(c.shown) > 0 && !matches(c.shown, printed) {
		t.Errorf("guide.md:%d: %s\nthe guide shows:\n%s\nbut it printed:\n%s", c.line, c.typed, strings.Join(c.shown, "\n"), strings.Join(printed, "\n"))
	}
}

// cleanEnviron leaves out what would make commands behave otherwise than on a user's machine.
func (r *reader) cleanEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return strings.HasPrefix(name, "GITHUB_") || strings.HasPrefix(name, "XDG_") || strings.HasPrefix(name, "KUSTOMIZER_") ||
			strings.HasPrefix(name, "GIT_") || slices.Contains([]string{"CI", "FLUX_SYSTEM_NAMESPACE", "SOURCE_DATE_EPOCH", "REGISTRY_AUTH_FILE"}, name)
	})
}

// matches compares what is shown with what was printed. An ellipsis stands for any text in a line,
// and for any lines where it is alone. How many spaces there are, which the width of columns
// decides, doesn't matter.
func matches(shown, printed []string) bool {
	var pattern strings.Builder
	pattern.WriteString("^")
	for _, line := range shown {
		if line == "…" {
			pattern.WriteString(`(?:.*\n)*?`)
			continue
		}
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(squeeze(line)), "…", ".*") + `\n`)
	}
	pattern.WriteString("$")
	var text strings.Builder
	for _, line := range printed {
		text.WriteString(squeeze(line) + "\n")
	}
	return regexp.MustCompile(pattern.String()).MatchString(text.String())
}

func squeeze(line string) string { return strings.Join(strings.Fields(line), " ") }

// startAgent runs the agent beside the cluster, as the ServiceAccount that install made.
func (r *reader) startAgent(t *testing.T) {
	t.Helper()
	const namespace, name = "flux-system", "kustomizer"
	lifetime := int64(3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetime}}
	token, err := r.env.Kube.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("asking for a token of the agent's ServiceAccount: %v", err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],`+
		`"clusters":[{"name":"c","cluster":{"server":%q,"certificate-authority":%q}}],"users":[{"name":"u","user":{"token":%q}}]}`,
		r.env.Server, r.env.CACert, token.Status.Token)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.Start(t, testkit.Command{
		Path: r.binary, Args: []string{"controller", "--storage-path=" + t.TempDir()},
		Env: []string{"KUBECONFIG=" + kubeconfig, "RUNTIME_NAMESPACE=" + namespace},
	})
}
