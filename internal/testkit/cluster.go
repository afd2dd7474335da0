// SPDX-License-Identifier: Apache-2.0

// Package testkit is what tests stand on: the sandbox's API server and
// registries, users and namespaces of their own, the requests that were made,
// faults on the way to the API server, and the built binary as a process.
//
// Tests that need a cluster skip when KUSTOMIZER_SANDBOX is unset; `make test`
// sets it to the state directory of a running sandbox.
package testkit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// SandboxVariable names the environment variable that holds the state directory
// of a running sandbox.
const SandboxVariable = "KUSTOMIZER_SANDBOX"

// Sandbox is the state file of a running sandbox: where everything listens and lies.
type Sandbox struct {
	Dir                string `json:"dir"`
	Server             string `json:"server"`
	Etcd               string `json:"etcd"` // its address, host:port; without TLS
	AdminKubeconfig    string `json:"kubeconfig"`
	CACert             string `json:"caCert"`
	CAKey              string `json:"caKey"`
	AuditLog           string `json:"auditLog"`
	Registry           string `json:"registry"`
	PrivateRegistry    string `json:"privateRegistry"`
	RegistryLog        string `json:"registryLog"`
	PrivateRegistryLog string `json:"privateRegistryLog"`
	KubectlPath        string `json:"kubectl"`
	Launcher           string `json:"launcher"`
}

// Env is a cluster as one test sees it: with an [Identity] and a namespace that
// no other test has.
type Env struct {
	Sandbox
	Identity
	// Namespace is the test's own. It is deleted when the test ends.
	Namespace string
	// Kube and Dynamic act as the test's identity, without client-side throttling.
	Kube    kubernetes.Interface
	Dynamic dynamic.Interface

	authority *Authority
	marker    Identity
	audit     *auditLog
}

// Cluster gives the test a namespace and a user, who is in system:masters, in
// the sandbox that all tests share. Tests that touch CRDs, APIServices or what
// `install` owns take [OwnControlPlane] instead.
func Cluster(t testing.TB) *Env {
	t.Helper()
	return newEnv(t, sandbox(t))
}

// sandbox reads the shared sandbox's state, or skips the test.
func sandbox(t testing.TB) Sandbox {
	t.Helper()
	dir := os.Getenv(SandboxVariable)
	if dir == "" {
		t.Skipf("%s is not set: run `make test`, or start a sandbox as in sandbox/README.md", SandboxVariable)
	}
	return readSandbox(t, dir)
}

func readSandbox(t testing.TB, dir string) Sandbox {
	t.Helper()
	var s Sandbox
	data, err := os.ReadFile(filepath.Join(dir, "sandbox.json"))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		t.Fatalf("reading the sandbox's state: %v", err)
	}
	return s
}

func newEnv(t testing.TB, s Sandbox) *Env {
	t.Helper()
	ca, err := readAuthority(s.CACert, s.CAKey)
	if err != nil {
		t.Fatalf("reading the sandbox's certificate authority: %v", err)
	}
	e := &Env{Sandbox: s, authority: ca, audit: newAuditLog(t, s.AuditLog)}
	name := Unique(t)
	e.marker = e.User(t, "testkit-marker-"+name, "system:masters")
	e.Identity = e.User(t, "test-"+name, "system:masters")
	if e.Kube, err = kubernetes.NewForConfig(e.Config); err != nil {
		t.Fatal(err)
	}
	if e.Dynamic, err = dynamic.NewForConfig(e.Config); err != nil {
		t.Fatal(err)
	}
	e.Namespace = name
	e.CreateNamespace(t, name)
	return e
}

// CreateNamespace makes a namespace that is deleted when the test ends.
func (e *Env) CreateNamespace(t testing.TB, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := e.Kube.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatalf("creating namespace %s: %v", name, err)
	}
	e.DeleteNamespaceAtEnd(t, name)
}

// DeleteNamespaceAtEnd has a namespace that the test's subject makes deleted
// when the test ends. The deletion is not waited for.
func (e *Env) DeleteNamespaceAtEnd(t testing.TB, name string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		err := e.Kube.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			t.Errorf("deleting namespace %s: %v", name, err)
		}
	})
}

// Kubectl runs kubectl as the test's user and returns what it printed. The test
// fails when kubectl does.
func (e *Env) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), e.KubectlPath, append([]string{"--kubeconfig", e.Kubeconfig}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = append(out, exit.Stderr...)
		}
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Unique returns a name from the test's name that no other test and no other
// run has, and that is valid for namespaces and repositories.
func Unique(t testing.TB) string {
	var slug strings.Builder
	for _, r := range strings.ToLower(strings.TrimPrefix(t.Name(), "Test")) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			slug.WriteRune(r)
		case slug.Len() > 0 && !strings.HasSuffix(slug.String(), "-"):
			slug.WriteByte('-')
		}
		if slug.Len() >= 30 {
			break
		}
	}
	return strings.Trim(slug.String(), "-") + "-" + strings.ToLower(rand.Text()[:6])
}

// Eventually repeats a check until it returns nil, and fails the test with the
// check's last error when the time is over. Prefer a watch where there is one.
func Eventually(t testing.TB, what string, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		case <-tick.C:
		}
	}
}
