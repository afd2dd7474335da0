// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cli"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// A seeded is a failure that is made on purpose.
type seeded struct {
	manifests string // NS stands for the failure's own namespace
	// before makes what has to be there first.
	before func(s *seeding)
	// pod is what the kubelet says of the pods that carry the failure's label; event, as
	// "reason: message", what it says of them only in an event.
	pod, event string
	args       []string // more arguments of the command
	kubeconfig func(s *seeding) string
	// code and says are what the first line has to hold. Not every line has a code.
	code cause.Code
	says string
}

// seeding is the place of one failure: a namespace on the test's own control plane.
type seeding struct {
	t         *testing.T
	env       *testkit.Env
	namespace string
}

// TestFirstLineNamesTheCause makes failures with real objects on a real control plane, of which
// only the kubelets are missing: what they would say of their pods, a watch on the pods says. The
// first line of `apply inventory --wait` has to name each failure's true cause.
func TestFirstLineNamesTheCause(t *testing.T) {
	t.Parallel()
	env := testkit.OwnControlPlane(t, testkit.ControlPlane{Node: true})
	failures := seededFailures()
	ctx, stop := context.WithCancel(t.Context())
	var kubelets, runs sync.WaitGroup
	kubelets.Go(func() { playKubelet(ctx, t, env, failures) })
	turns := make(chan struct{}, 16) // most of the time a run waits
	for name, f := range failures {
		runs.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			s := &seeding{t: t, env: env, namespace: name}
			s.run(f)
		})
	}
	runs.Wait()
	stop()
	kubelets.Wait()
	if len(failures) < 40 {
		t.Errorf("%d failures; at least 40 are promised", len(failures))
	}
}

// run makes a failure and looks at the first line. A machine that is too busy to bring the failure
// about in a short time is given a long one.
func (s *seeding) run(f seeded) {
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	testkit.Eventually(s.t, "the namespace's default service account", 30*time.Second, func() error {
		_, err := s.env.Kube.CoreV1().ServiceAccounts(s.namespace).Get(s.t.Context(), "default", metav1.GetOptions{})
		return err
	})
	if f.before != nil {
		f.before(s)
	}
	var line string
	for _, patience := range []string{"6s", "60s"} {
		line = s.apply("app", f.manifests, append(f.args, "--wait", "--timeout="+patience), f.kubeconfig)
		if strings.Contains(line, string(f.code)) && strings.Contains(line, f.says) {
			return
		}
	}
	s.t.Errorf("%s: the first line names neither %q nor %q:\n%s", s.namespace, f.code, f.says, line)
}

// apply runs the command and returns the first line of its error.
func (s *seeding) apply(inventory, manifests string, args []string, kubeconfig func(*seeding) string) string {
	file := filepath.Join(s.t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(s.placed(manifests)), 0o600); err != nil {
		s.t.Error(err)
		return ""
	}
	config := s.env.Kubeconfig
	if kubeconfig != nil {
		config = kubeconfig(s)
	}
	var out, progress bytes.Buffer
	args = append([]string{"apply", "inventory", inventory, "-n", s.namespace, "-f", file, "--kubeconfig", config}, args...)
	streams := cli.Streams{In: strings.NewReader(""), Out: &out, Err: &progress}
	if code := cli.Run(s.t.Context(), cli.Program{Path: "kustomizer"}, args, streams); code == 0 {
		return "it succeeded"
	}
	for line := range strings.Lines(progress.String()) {
		if text, is := strings.CutPrefix(line, "✗ "); is {
			return strings.TrimSpace(text)
		}
	}
	return "no line of an error in:\n" + progress.String()
}

// placed puts the namespace's name where a text has NS as a word.
func (s *seeding) placed(text string) string {
	return regexp.MustCompile(`\bNS\b`).ReplaceAllLiteralString(text, s.namespace)
}

// create makes objects with kubectl, as somebody else would.
func (s *seeding) create(objects ...any) {
	for _, o := range objects {
		data, err := yaml.Marshal(o)
		if text, is := o.(string); is {
			data = []byte(s.placed(text))
		} else if err != nil {
			s.t.Error(err)
		}
		file := filepath.Join(s.t.TempDir(), "object.yaml")
		if err := os.WriteFile(file, typed(o, data), 0o600); err != nil {
			s.t.Error(err)
		}
		s.env.Kubectl(s.t, "create", "-f", file)
	}
}

// typed adds the kind, which the Go types leave out.
func typed(o any, data []byte) []byte {
	if _, is := o.(*corev1.Namespace); is {
		return append([]byte("apiVersion: v1\nkind: Namespace\n"), data...)
	}
	return data
}

// playKubelet gives each pod that carries a failure's label, once it has a node, the status that
// its kubelet would give it.
func playKubelet(ctx context.Context, t *testing.T, env *testkit.Env, failures map[string]seeded) {
	pods, err := env.Kube.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{LabelSelector: "seeded"})
	if err != nil {
		t.Error(err)
		return
	}
	defer pods.Stop()
	done := map[types.UID]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-pods.ResultChan():
			if !open {
				t.Error("the watch on pods has ended")
				return
			}
			p, is := e.Object.(*corev1.Pod)
			if !is || e.Type == watch.Deleted || done[p.UID] || p.Spec.NodeName == "" {
				continue
			}
			done[p.UID] = true
			if err := setStatus(ctx, env, p, failures[p.Namespace]); err != nil && ctx.Err() == nil {
				t.Errorf("the status of a pod of %s: %v", p.Namespace, err)
			}
		}
	}
}

func setStatus(ctx context.Context, env *testkit.Env, p *corev1.Pod, f seeded) error {
	if f.pod == "" {
		f.pod = `{phase: Pending, containerStatuses: [{name: app, image: "example.com/app:1", imageID: "", ready: false, restartCount: 0, state: {waiting: {reason: ContainerCreating}}}]}`
	}
	var status map[string]any
	if err := yaml.Unmarshal([]byte(f.pod), &status); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	if _, err := env.Kube.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("%s: %w", f.pod, err)
	}
	if f.event == "" {
		return nil
	}
	reason, message, _ := strings.Cut(f.event, ": ")
	_, err = env.Kube.CoreV1().Events(p.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: p.Name + ".", Namespace: p.Namespace},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		Type:           corev1.EventTypeWarning, Reason: reason, Message: message, Count: 1, LastTimestamp: metav1.Now(),
		Source: corev1.EventSource{Component: "kubelet"},
	}, metav1.CreateOptions{})
	return err
}
