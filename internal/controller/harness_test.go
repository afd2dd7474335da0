// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// converges bounds every wait for the agent to do what it should do at once. It is far more than is
// needed on a machine that has time.
const converges = 60 * time.Second

// Tests whose subject is not the interval never come to see one pass.
const never = "1h"

func repositoriesResource() schema.GroupVersionResource {
	return sourcev1.GroupVersion.WithResource("ocirepositories")
}

func kustomizationsResource() schema.GroupVersionResource {
	return kustomizev1.GroupVersion.WithResource("kustomizations")
}

// arena is where one test lets an agent work: a namespace that holds the resources, the records and
// the Leases, a user that is the agent's own, and a place in the registry.
type arena struct {
	*testkit.Env
	agent        testkit.Identity
	repositories *testkit.Repositories
	storage      string // the store, which outlives the agent's process
}

// newArena makes an arena in the shared sandbox.
func newArena(t *testing.T) *arena {
	t.Helper()
	return arenaIn(t, testkit.Cluster(t))
}

func arenaIn(t *testing.T, e *testkit.Env) *arena {
	t.Helper()
	a := &arena{
		Env: e, agent: e.User(t, "agent-"+e.Namespace, "system:masters"),
		repositories: testkit.Registry(t), storage: t.TempDir(),
	}
	a.installDefinitions(t)
	t.Cleanup(func() { a.releaseResources(t) })
	return a
}

// installDefinitions creates Flux's definitions where they are not there yet. All tests of the
// sandbox share them, so they stay.
func (a *arena) installDefinitions(t *testing.T) {
	t.Helper()
	definitions := a.Dynamic.Resource(schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	})
	for _, file := range []string{"source.toolkit.fluxcd.io_ocirepositories.yaml", "kustomize.toolkit.fluxcd.io_kustomizations.yaml"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", file))
		if err != nil {
			t.Fatal(err)
		}
		definition := decode(t, string(data))
		_, err = definitions.Create(t.Context(), definition, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatalf("installing definitions: %v", err)
		}
		waitUntil(t, definitions, definition.GetName(), "is served", func(u *unstructured.Unstructured) error {
			return conditionIs(u, "Established", "True")
		})
	}
}

// releaseResources removes the finalizers that nobody will act upon when the test's agent is gone,
// so that the namespace can go.
func (a *arena) releaseResources(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	resources := a.Dynamic.Resource(kustomizationsResource()).Namespace(a.Namespace)
	all, err := resources.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Errorf("cleaning up: %v", err)
		return
	}
	for _, ks := range all.Items {
		if len(ks.GetFinalizers()) == 0 {
			continue
		}
		_, err := resources.Patch(ctx, ks.GetName(), types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("cleaning up: %v", err)
		}
	}
}

// start starts an agent without leader election that watches the arena's namespace only.
func (a *arena) start(t *testing.T, as testkit.Identity, flags ...string) *testkit.Process {
	t.Helper()
	return a.startElecting(t, as, a.storage, append([]string{"--enable-leader-election=false"}, flags...)...)
}

// startElecting starts an agent as `controller` does by default: with leader election.
func (a *arena) startElecting(t *testing.T, as testkit.Identity, storage string, flags ...string) *testkit.Process {
	t.Helper()
	args := []string{
		"controller", "--watch-all-namespaces=false", "--interval-jitter-percentage=0", "--storage-path=" + storage,
	}
	return testkit.Start(t, testkit.Command{
		Path: testkit.Binary(t), Args: append(args, flags...),
		Env: []string{"KUBECONFIG=" + as.Kubeconfig, "RUNTIME_NAMESPACE=" + a.Namespace},
	})
}

// requests returns what the agent asked of the API server, by the server's own log.
func (a *arena) requests(t *testing.T, filters ...testkit.Filter) testkit.Requests {
	t.Helper()
	return a.Requests(t, append([]testkit.Filter{testkit.ByUser(a.agent.UserName)}, filters...)...)
}

// createSource creates an OCIRepository for one of the arena's repositories. The spec is added to
// what a source needs, or changes it.
func (a *arena) createSource(t *testing.T, name, tag string, spec map[string]any) {
	t.Helper()
	all := map[string]any{
		"url": "oci://" + a.repositories.Repository(name), "ref": map[string]any{"tag": tag},
		"interval": never, "insecure": true,
	}
	maps.Copy(all, spec)
	a.create(t, repositoriesResource(), sourcev1.GroupVersion.WithKind(sourcev1.OCIRepositoryKind), name, all)
}

// createKustomization creates a Kustomization that is made from the source of the given name.
func (a *arena) createKustomization(t *testing.T, name, from string, spec map[string]any) {
	t.Helper()
	all := map[string]any{
		"sourceRef": map[string]any{"kind": "OCIRepository", "name": from},
		"interval":  never, "retryInterval": never, "prune": true,
	}
	maps.Copy(all, spec)
	a.create(t, kustomizationsResource(), kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind), name, all)
}

func (a *arena) create(t *testing.T, resource schema.GroupVersionResource, kind schema.GroupVersionKind, name string, spec map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name}, "spec": spec}}
	u.SetGroupVersionKind(kind)
	_, err := a.Dynamic.Resource(resource).Namespace(a.Namespace).Create(t.Context(), u, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating %s %s: %v", kind.Kind, name, err)
	}
}

// reconcile asks for a resource to be looked at now, as `kustomizer reconcile` does.
func (a *arena) reconcile(t *testing.T, resource schema.GroupVersionResource, name string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, time.Now().Format(time.RFC3339Nano))
	_, err := a.Dynamic.Resource(resource).Namespace(a.Namespace).
		Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("asking for %s to be reconciled: %v", name, err)
	}
}

// waitForSource waits until a source has fetched a revision.
func (a *arena) waitForSource(t *testing.T, name, revision string) {
	t.Helper()
	a.wait(t, repositoriesResource(), name, "has fetched "+revision, hasFetched(revision))
}

// hasFetched says why a source has not fetched a revision.
func hasFetched(revision string) func(u *unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		repo := &sourcev1.OCIRepository{}
		if err := convert(u, repo); err != nil {
			return err
		}
		if repo.Status.Artifact == nil || repo.Status.Artifact.Revision != revision {
			return fmt.Errorf("its artifact is %+v, its conditions are %s", repo.Status.Artifact, describe(repo.Status.Conditions))
		}
		return conditionIs(u, meta.ReadyCondition, "True")
	}
}

// waitForReady waits until a Kustomization is ready with a revision.
func (a *arena) waitForReady(t *testing.T, name, revision string) *kustomizev1.Kustomization {
	t.Helper()
	return a.waitForKustomization(t, name, "is ready with "+revision, func(ks *kustomizev1.Kustomization) error {
		return readyWith(ks, revision)
	})
}

// readyWith says why a Kustomization is not ready with a revision.
func readyWith(ks *kustomizev1.Kustomization, revision string) error {
	ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition)
	switch {
	case ready.Status != metav1.ConditionTrue, ready.ObservedGeneration != ks.Generation:
		return fmt.Errorf("its conditions are %s", describe(ks.Status.Conditions))
	case ks.Status.LastAppliedRevision != revision:
		return fmt.Errorf("it applied %q last", ks.Status.LastAppliedRevision)
	}
	return nil
}

// waitForReason waits until a Kustomization is not ready, for a reason.
func (a *arena) waitForReason(t *testing.T, name, reason string) *kustomizev1.Kustomization {
	t.Helper()
	return a.waitForKustomization(t, name, "fails by "+reason, func(ks *kustomizev1.Kustomization) error {
		ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition)
		if ready.Status != metav1.ConditionFalse || ready.Reason != reason {
			return fmt.Errorf("its conditions are %s", describe(ks.Status.Conditions))
		}
		return nil
	})
}

func (a *arena) waitForKustomization(t *testing.T, name, what string, check func(*kustomizev1.Kustomization) error) *kustomizev1.Kustomization {
	t.Helper()
	var out *kustomizev1.Kustomization
	a.wait(t, kustomizationsResource(), name, what, func(u *unstructured.Unstructured) error {
		out = &kustomizev1.Kustomization{}
		if err := convert(u, out); err != nil {
			return err
		}
		return check(out)
	})
	return out
}

func (a *arena) wait(t *testing.T, resource schema.GroupVersionResource, name, what string, check func(*unstructured.Unstructured) error) {
	t.Helper()
	waitUntil(t, a.Dynamic.Resource(resource).Namespace(a.Namespace), name, what, check)
}

// waitUntil watches an object until a check returns nil.
func waitUntil(t *testing.T, resource dynamic.ResourceInterface, name, what string, check func(*unstructured.Unstructured) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), converges)
	defer cancel()
	if err := watchUntil(ctx, resource, name, check); err != nil {
		t.Fatalf("waiting until %s %s: %v", name, what, err)
	}
}

// watchUntil is waitUntil for those who have something else to wait for as well. The error says
// what the check said last.
func watchUntil(ctx context.Context, resource dynamic.ResourceInterface, name string, check func(*unstructured.Unstructured) error) error {
	only := "metadata.name=" + name
	last := errors.New("it was not seen")
	_, err := watchtools.UntilWithSync(ctx, &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return resource.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return resource.Watch(ctx, o)
		},
	}, &unstructured.Unstructured{}, nil, func(e watch.Event) (bool, error) {
		u, ok := e.Object.(*unstructured.Unstructured)
		if !ok || e.Type == watch.Deleted {
			last = fmt.Errorf("the watch said %s", e.Type)
			return false, nil
		}
		last = check(u.DeepCopy())
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

// recorded returns what is on record for one of the arena's Kustomizations.
func (a *arena) recorded(t *testing.T, name string) *record.Record {
	t.Helper()
	c, err := cluster.Connect(a.Config)
	if err != nil {
		t.Fatal(err)
	}
	r, err := record.Load(t.Context(), c, plan.Kustomization(a.Namespace, name), a.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	if damage := r.Degraded(); damage != "" {
		t.Errorf("the record is damaged: %s", damage)
	}
	return r
}

// events returns the events about one of the arena's resources.
func (a *arena) events(t *testing.T, kind, name string) []corev1.Event {
	t.Helper()
	list, err := a.Kube.CoreV1().Events(a.Namespace).List(t.Context(), metav1.ListOptions{
		FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name,
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func decode(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func convert(u *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into)
}

func conditionIs(u *unstructured.Unstructured, kind, status string) error {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == kind && m["status"] == status {
			return nil
		}
	}
	return fmt.Errorf("its conditions are %v", list)
}

func conditionOf(list []metav1.Condition, kind string) metav1.Condition {
	for _, c := range list {
		if c.Type == kind {
			return c
		}
	}
	return metav1.Condition{}
}

func describe(list []metav1.Condition) string {
	var out []string
	for _, c := range list {
		out = append(out, fmt.Sprintf("%s=%s (%s: %s)", c.Type, c.Status, c.Reason, c.Message))
	}
	return strings.Join(out, "; ")
}
