// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// team is a namespace with resources of its own, beside the agent's.
type team struct {
	*arena
	namespace string
}

// newTeam makes a namespace, and an agent that watches all those of the test.
func newTeam(t *testing.T, a *arena) *team {
	t.Helper()
	tm := &team{a, a.Namespace + "-team"}
	a.CreateNamespace(t, tm.namespace)
	return tm
}

func (tm *team) start(t *testing.T) *testkit.Process {
	t.Helper()
	return tm.arena.start(t, tm.agent, "--watch-all-namespaces=true", "--watch-label-selector=test="+tm.Namespace)
}

// create creates a resource in the team's namespace that the agent watches.
func (tm *team) create(t *testing.T, resource schema.GroupVersionResource, kind schema.GroupVersionKind, name string, spec map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(kind)
	u.SetName(name)
	u.SetLabels(map[string]string{"test": tm.Namespace})
	if _, err := tm.Dynamic.Resource(resource).Namespace(tm.namespace).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatalf("creating %s %s: %v", kind.Kind, name, err)
	}
}

// deploy publishes manifests and has them deployed to the target namespace by resources of the team.
func (tm *team) deploy(t *testing.T, name, manifests, target string, spec map[string]any) {
	t.Helper()
	tm.push(t, name, "1.0.0", map[string]string{"deploy/objects.yaml": manifests})
	tm.create(t, repositoriesResource(), sourcev1.GroupVersion.WithKind(sourcev1.OCIRepositoryKind), name, map[string]any{
		"url": "oci://" + tm.repositories.Repository(name), "ref": map[string]any{"tag": "1.0.0"}, "interval": never, "insecure": true,
	})
	all := map[string]any{
		"sourceRef": map[string]any{"kind": "OCIRepository", "name": name}, "path": "./deploy",
		"interval": never, "prune": true, "targetNamespace": target,
	}
	maps.Copy(all, spec)
	tm.create(t, kustomizationsResource(), kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind), name, all)
	waitUntil(t, tm.Dynamic.Resource(kustomizationsResource()).Namespace(tm.namespace), name, "is ready", func(u *unstructured.Unstructured) error {
		return conditionIs(u, meta.ReadyCondition, "True")
	})
}

// A namespace that goes takes its Kustomizations with it, which nobody decided about.
func TestANamespaceThatGoesDeletesNothingElsewhere(t *testing.T) {
	t.Parallel()
	tm := newTeam(t, newArena(t))
	tm.start(t)
	tm.deploy(t, "app", configMaps("app", 3), tm.Namespace, map[string]any{"deletionPolicy": "Delete"})
	before := tm.configMapUIDs(t)
	if err := tm.Kube.CoreV1().Namespaces().Delete(t.Context(), tm.namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	tm.waitForGone(t, tm.namespace, "app")
	if got := tm.configMapUIDs(t); len(before) != 3 || !maps.Equal(before, got) {
		t.Errorf("objects were %v and are %v", before, got)
	}
	left := tm.leftovers(t, "app")
	if len(left) != 3 || !strings.Contains(left[0], "Namespace "+tm.namespace+" is being deleted") {
		t.Errorf("written down is %q", left)
	}
}

// When the agent's own namespace goes there is nobody who could have meant anything, and nowhere to
// write. That holds nothing up.
func TestTheAgentsNamespaceThatGoesDeletesNothingElsewhere(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	tm := newTeam(t, a)
	tm.start(t)
	tm.deploy(t, "app", configMaps("app", 3), tm.namespace, map[string]any{"deletionPolicy": "Delete", "timeout": "10m"})
	hold := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "hold", Finalizers: []string{"example.com/hold"}}}
	if _, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).Create(t.Context(), hold, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.releaseConfigMaps(t, []string{"hold"}) })
	if err := a.Kube.CoreV1().Namespaces().Delete(t.Context(), a.Namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.deleteKustomization(t, tm.namespace, "app")
	list, err := a.Kube.CoreV1().ConfigMaps(tm.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kustomize.toolkit.fluxcd.io/name=app"})
	if err != nil || len(list.Items) != 3 {
		t.Errorf("%d objects are left, not 3: %v", len(list.Items), err)
	}
}

// Whoever removes Flux's definitions does not mean all that was ever deployed.
func TestADefinitionThatGoesDeletesNothing(t *testing.T) {
	t.Parallel()
	a := arenaIn(t, testkit.OwnControlPlane(t, testkit.ControlPlane{NoControllerManager: true}))
	a.deploy(t, "app", configMaps("app", 3)+claim, map[string]any{"deletionPolicy": "Delete"})
	a.start(t, a.agent)
	a.waitForInventory(t, "app", 4)
	before := a.configMapUIDs(t)
	definitions := a.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	name := "kustomizations." + kustomizev1.GroupVersion.Group
	if err := definitions.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the definition is gone", converges, func() error {
		_, err := definitions.Get(t.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %w", err)
	})
	if got := a.configMapUIDs(t); len(before) != 3 || !maps.Equal(before, got) {
		t.Errorf("objects were %v and are %v", before, got)
	}
	deleted := a.requests(t, testkit.Verbs("delete", "deletecollection"), func(r testkit.Request) bool { return !strings.HasPrefix(r.Name, "record-") })
	if len(deleted) > 0 {
		t.Errorf("the agent deleted:\n%s", deleted)
	}
	if left := a.leftovers(t, "app"); len(left) != 4 {
		t.Errorf("written down is %q", left)
	}
	a.installDefinitions(t) // for the clean-up
}
