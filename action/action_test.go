// SPDX-License-Identifier: Apache-2.0

// Package action_test runs what the GitHub Action and the template for GitLab run, against a server
// that has a release.
package action_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kustomizer/kustomizer/internal/cli"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

const version = "1.2.3"

// TestMain lets the program of the release be this test binary.
func TestMain(m *testing.M) {
	if os.Getenv("ACTION_TEST_PROGRAM") != "" {
		os.Exit(cli.Run(context.Background(), cli.Program{Version: version}, os.Args[1:], cli.OSStreams()))
	}
	os.Exit(m.Run())
}

// runner is a step's surroundings: its directory, its files, and a release to install.
type runner struct {
	dir, url string
	files    map[string][]byte // of the release
}

// program is what the release installs. It notes the words it is called with, one a line.
const program = `#!/bin/sh
{ echo "called"; for word in "$@"; do printf '<%s>\n' "$word"; done; } >>"$ACTION_TEST_CALLS"
ACTION_TEST_PROGRAM=1 exec "$ACTION_TEST_BINARY" "$@"
`

func newRunner(t *testing.T) *runner {
	t.Helper()
	r := &runner{dir: t.TempDir(), files: map[string][]byte{}}
	archive := archived(t, program)
	for _, platform := range []string{"linux_amd64", "darwin_arm64"} {
		r.files["kustomizer_"+version+"_"+platform+".tar.gz"] = archive
	}
	sum := sha256.Sum256(archive)
	var sums strings.Builder
	for name := range r.files {
		fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), name)
	}
	r.files["kustomizer_"+version+"_checksums.txt"] = []byte(sums.String())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		content, found := r.files[strings.TrimPrefix(req.URL.Path, "/v"+version+"/")]
		if !found {
			http.NotFound(w, req)
			return
		}
		_, _ = w.Write(content)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func archived(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for name, text := range map[string]string{"kustomizer": content, "LICENSE": "a license"} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// step runs a script with the environment of a step, in the runner's directory.
func (r *runner) step(t *testing.T, env map[string]string, shell string, args ...string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), shell, args...)
	cmd.Dir = r.dir
	all := map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": r.dir, "GITHUB_OUTPUT": r.file("output"), "GITHUB_PATH": r.file("path"),
		"GITHUB_STEP_SUMMARY": r.file("summary"), "RUNNER_TEMP": r.dir, "RUNNER_OS": "Linux", "RUNNER_ARCH": "X64", "TMPDIR": r.dir,
		"HOME": r.dir, "PATH": os.Getenv("PATH"), "INPUT_VERSION": version, "INPUT_DOWNLOAD_URL": r.url, "INPUT_CHECKSUM": "",
		"ACTION_TEST_BINARY": self, "ACTION_TEST_CALLS": r.file("calls"), "LANG": "C.UTF-8",
	}
	for name, value := range env {
		all[name] = value
	}
	for name, value := range all {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r *runner) file(name string) string { return filepath.Join(r.dir, name) }

func (r *runner) read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(r.file(name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(content)
}

func (r *runner) install(t *testing.T, env map[string]string) (string, error) {
	t.Helper()
	return r.step(t, env, "bash", script(t, "install.sh"))
}

func script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheReleaseThatIsAskedForIsInstalled(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]map[string]string{
		"Linux":              {},
		"macOS":              {"RUNNER_OS": "macOS", "RUNNER_ARCH": "ARM64"},
		"a version with a v": {"INPUT_VERSION": "v" + version},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRunner(t)
			out, err := r.install(t, env)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			bin := strings.TrimSpace(r.read(t, "path"))
			if info, err := os.Stat(filepath.Join(bin, "kustomizer")); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("the program is not on the path %q: %v", bin, err)
			}
			want := "version=" + version + "\npath=" + bin + "/kustomizer\n"
			if diff := cmp.Diff(want, r.read(t, "output")); diff != "" {
				t.Error(diff)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(bin), "download")); err == nil {
				t.Error("the archive was left behind")
			}
		})
	}
}

// TestNothingIsInstalledThatIsNotTheRelease changes one thing each; the program must not run at all.
func TestNothingIsInstalledThatIsNotTheRelease(t *testing.T) {
	t.Parallel()
	const linux = "kustomizer_" + version + "_linux_amd64.tar.gz"
	const sums = "kustomizer_" + version + "_checksums.txt"
	for name, c := range map[string]struct {
		change func(*runner)
		env    map[string]string
		says   string
	}{
		"another archive":       {change: func(r *runner) { r.files[linux] = append(r.files[linux], 0) }, says: "does not have the checksum"},
		"no checksum of it":     {change: func(r *runner) { r.files[sums] = []byte(strings.ReplaceAll(string(r.files[sums]), "linux", "plan9")) }, says: "has no checksum"},
		"two checksums of it":   {change: func(r *runner) { r.files[sums] = append(r.files[sums], r.files[sums]...) }, says: "has no checksum"},
		"no list":               {change: func(r *runner) { delete(r.files, sums) }, says: "did not work"},
		"no archive":            {change: func(r *runner) { delete(r.files, linux) }, says: "did not work"},
		"another list":          {env: map[string]string{"INPUT_CHECKSUM": strings.Repeat("0", 64)}, says: "whose checksum was given"},
		"no checksum":           {env: map[string]string{"INPUT_CHECKSUM": "abc"}, says: "must be a SHA-256"},
		"the latest version":    {env: map[string]string{"INPUT_VERSION": "latest"}, says: "must be one that was released"},
		"no version":            {env: map[string]string{"INPUT_VERSION": ""}, says: "must be one that was released"},
		"a version with a path": {env: map[string]string{"INPUT_VERSION": "1.2.3/../../evil"}, says: "must be one that was released"},
		"a server without TLS":  {env: map[string]string{"INPUT_DOWNLOAD_URL": "http://example.com"}, says: "must begin with https://"},
		"a file":                {env: map[string]string{"INPUT_DOWNLOAD_URL": "file:///etc"}, says: "must begin with https://"},
		"another system":        {env: map[string]string{"RUNNER_OS": "Plan9"}, says: "no release for the operating system"},
		"another architecture":  {env: map[string]string{"RUNNER_ARCH": "S390X"}, says: "no release for the architecture"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRunner(t)
			if c.change != nil {
				c.change(r)
			}
			out, err := r.install(t, c.env)
			if err == nil || !strings.Contains(out, "::error title=kustomizer::") || !strings.Contains(out, c.says) {
				t.Errorf("want an error that says %q, got %v: %s", c.says, err, out)
			}
			if r.read(t, "calls") != "" || r.read(t, "path") != "" || r.read(t, "output") != "" {
				t.Errorf("something was installed or called: %s", out)
			}
		})
	}
}

// TestTheChecksumOfTheListIsEnough shows that the given one is compared, and fits all platforms.
func TestTheChecksumOfTheListIsEnough(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	sum := sha256.Sum256(r.files["kustomizer_"+version+"_checksums.txt"])
	if out, err := r.install(t, map[string]string{"INPUT_CHECKSUM": hex.EncodeToString(sum[:])}); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

const manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n"

// publish runs the second step after the first.
func (r *runner) publish(t *testing.T, env map[string]string) (string, error) {
	t.Helper()
	if out, err := r.install(t, nil); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"output", "calls"} {
		if err := os.Remove(r.file(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(r.file("manifest.yaml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"PATH": strings.TrimSpace(r.read(t, "path")) + ":" + os.Getenv("PATH")}
	for name, value := range env {
		all[name] = value
	}
	return r.step(t, all, "bash", script(t, "publish.sh"))
}

func TestAnArtifactIsPublishedAndItsDigestIsAnOutput(t *testing.T) {
	t.Parallel()
	r, registry := newRunner(t), testkit.MemRegistry(t)
	registry.Wrap(testkit.RequireBasicAuth("me", "s3cret $(touch executed)"))
	artifact := "oci://" + registry.Host + "/me/app" + ":1"
	out, err := r.publish(t, map[string]string{
		"INPUT_ARTIFACT": artifact, "INPUT_FILENAME": "manifest.yaml\n", "INPUT_TAGS": "latest\r\nstable", "INPUT_ANNOTATIONS": "a=b c",
		"INPUT_TAG_ONLY_IF_NEWER": "false", "INPUT_REGISTRY_USERNAME": "me", "INPUT_REGISTRY_PASSWORD": "s3cret $(touch executed)",
	})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	outputs := r.read(t, "output")
	for _, name := range []string{"digest", "url", "tags", "sent"} {
		if !strings.Contains(outputs, name+"<<") {
			t.Errorf("there is no output %s in %q", name, outputs)
		}
	}
	if !strings.Contains(outputs, "\n1\nlatest\nstable\n") {
		t.Errorf("the tags are missing in %q", outputs)
	}
	want := "called\n<push>\n<artifact>\n<--filename=manifest.yaml>\n<--tag=latest>\n<--tag=stable>\n<--annotations=a=b c>\n<-->\n<" + artifact + ">\n"
	if got := r.read(t, "calls"); !strings.HasSuffix(got, want) || strings.Contains(got, "s3cret") {
		t.Errorf("called with %s", got)
	}
	if strings.Contains(out+outputs+r.read(t, "summary"), "s3cret") {
		t.Error("the password is printed")
	}
	left, err := filepath.Glob(r.file("kustomizer.*/config.json"))
	if err != nil || len(left) > 0 {
		t.Errorf("the login was left behind: %v %v", left, err)
	}
}

// TestInputsAreNeverExecuted gives each input each text that a shell would act on. It must arrive
// as it is, as one word for each line, or be refused.
func TestInputsAreNeverExecuted(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	if out, err := r.publish(t, map[string]string{"INPUT_ARTIFACT": "oci://127.0.0.1:1/me/app:1", "INPUT_PATH": "nowhere"}); err == nil {
		t.Fatal(out)
	}
	bin := strings.TrimSpace(r.read(t, "path"))
	texts := []string{
		`$(touch executed)`, "`touch executed`", `"; touch executed; "`, `'; touch executed; '`, "x\ntouch executed\n", `x && touch executed`,
		`-x $(touch executed)`, `* ?`, `${IFS}touch${IFS}executed`, "x\r\n::set-output name=digest::evil", `<(touch executed)`, `a[$(touch executed)]=b`,
	}
	flags := map[string]string{
		"INPUT_KUSTOMIZE": "kustomize", "INPUT_PATH": "path", "INPUT_FILENAME": "filename", "INPUT_PATCH": "patch", "INPUT_TAGS": "tag",
		"INPUT_ANNOTATIONS": "annotations", "INPUT_ARTIFACT": "", "INPUT_TAG_ONLY_IF_NEWER": "", "INPUT_NO_OVERWRITE": "",
		"INPUT_REGISTRY_USERNAME": "", "INPUT_REGISTRY_PASSWORD": "", "INPUT_VERSION": "", "INPUT_CHECKSUM": "", "INPUT_DOWNLOAD_URL": "",
	}
	oneLine := map[string]bool{"INPUT_KUSTOMIZE": true, "INPUT_PATH": true}
	for input, flag := range flags {
		for i, text := range texts {
			t.Run(fmt.Sprintf("%s %d", input, i), func(t *testing.T) {
				name, calls := "publish.sh", fmt.Sprintf("calls-%s-%d", input, i)
				if strings.Contains("INPUT_VERSION INPUT_CHECKSUM INPUT_DOWNLOAD_URL", input) {
					name = "install.sh"
				}
				env := map[string]string{
					"PATH": bin + ":" + os.Getenv("PATH"), "INPUT_ARTIFACT": "oci://127.0.0.1:1/me/app:1", "ACTION_TEST_CALLS": r.file(calls),
					"ACTION_TEST_BINARY": "false", "INPUT_REGISTRY_USERNAME": "",
				}
				if input == "INPUT_REGISTRY_PASSWORD" {
					env["INPUT_REGISTRY_USERNAME"] = "me"
				}
				env[input] = text
				out, err := r.step(t, env, "bash", script(t, name))
				if err == nil {
					t.Errorf("nothing refused it: %s", out)
				}
				if _, err := os.Stat(r.file("executed")); err == nil {
					t.Fatal("it was executed")
				}
				for line := range strings.Lines(out) {
					if strings.HasPrefix(strings.TrimSpace(line), "::") && !strings.HasPrefix(line, "::error title=kustomizer::") {
						t.Errorf("it is a command to the runner: %s", out)
					}
				}
				if flag == "" {
					return
				}
				lines := []string{text}
				if !oneLine[input] {
					lines = strings.Split(strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n")
				}
				got := r.read(t, calls)
				for _, line := range lines {
					if !strings.Contains(got, "<--"+flag+"="+line+">\n") {
						t.Errorf("%q did not arrive as one word: %s", line, got)
					}
				}
			})
		}
	}
}
