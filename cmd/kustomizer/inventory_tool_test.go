// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// tool is the real binary in the hands of a user, whose requests are told from the test's by the name.
type tool struct {
	*testkit.Env
	user      testkit.Identity // as the API server knows it
	through   string           // kubeconfig with which it is reached
	namespace string           // of inventories
}

// newTool gives the test a user for the binary, and inventories in the test's own namespace.
func newTool(t *testing.T, env *testkit.Env) *tool {
	t.Helper()
	user := env.User(t, "tool-of-"+testkit.Unique(t), "system:masters")
	return &tool{Env: env, user: user, through: user.Kubeconfig, namespace: env.Namespace}
}

// ran is how a command ended.
type ran struct {
	code           int // -1: by a signal
	stdout, stderr string
}

// command prepares the binary with no setting of the developer's own.
func (k *tool) command(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, testkit.Binary(t), args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + os.TempDir(),
		"KUBECONFIG=" + k.through, "KUSTOMIZER_NAMESPACE=" + k.namespace,
	}
	return cmd
}

// run runs the binary to its end.
func (k *tool) run(t *testing.T, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := k.command(t.Context(), t, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("kustomizer %s: %v", strings.Join(args, " "), err)
	}
	return ran{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// must runs the binary, which has to end with a code.
func (k *tool) must(t *testing.T, code int, args ...string) ran {
	t.Helper()
	r := k.run(t, args...)
	if r.code != code {
		t.Fatalf("kustomizer %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, tail(r.stdout), tail(r.stderr))
	}
	return r
}

// tail is the end of what a command printed.
func tail(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "")
}

// lines are those that a command printed, in an order of their own.
func lines(text string) []string {
	out := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	slices.Sort(out)
	return out
}

// except leaves the lines with a given end out.
func except(lines []string, end string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.HasSuffix(line, end) })
}

// releaseHash finds the hash with which a refusal says that deletions are released.
func releaseHash(r ran) string {
	if m := regexp.MustCompile(`--approve-prune=([0-9a-f]{64})`).FindStringSubmatch(r.stderr); m != nil {
		return m[1]
	}
	return ""
}

// writeFile writes a file below a folder of the test's.
func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// everything lists what is in a cluster, by resource, namespace and name: whatever can be listed and
// deleted, but not what comes and goes by itself.
func everything(t *testing.T, e *testkit.Env, selector string) []string {
	t.Helper()
	var out []string
	for _, gvr := range kindsOf(t, e) {
		list, err := e.Dynamic.Resource(gvr).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsServiceUnavailable(err):
			continue
		case err != nil:
			t.Fatalf("listing %s: %v", gvr.Resource, err)
		}
		for _, u := range list.Items {
			out = append(out, strings.Join([]string{gvr.GroupResource().String(), u.GetNamespace(), u.GetName()}, "/"))
		}
	}
	slices.Sort(out)
	return out
}

// kindsOf asks the server what an object could be. Groups whose server is not there have nothing.
func kindsOf(t *testing.T, e *testkit.Env) []schema.GroupVersionResource {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := client.ServerPreferredResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		t.Fatalf("finding out what there is: %v", err)
	}
	var out []schema.GroupVersionResource
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			// Endpoints and their slices carry their Service's labels, and go after it.
			passing := slices.Contains([]string{"Event", "Lease", "Endpoints", "EndpointSlice"}, r.Kind)
			if slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "delete") && !passing {
				out = append(out, gv.WithResource(r.Name))
			}
		}
	}
	return out
}
