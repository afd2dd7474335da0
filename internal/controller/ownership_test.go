// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// named is a ConfigMap of that name and content.
func named(name, value string) string {
	return "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {value: " + value + "}\n"
}

// deployDirs publishes a tree of directories and creates a Kustomization for each of those named.
func (a *arena) deployDirs(t *testing.T, tree map[string]string, names ...string) string {
	t.Helper()
	revision := a.push(t, "app", "1.0.0", dirs(tree))
	a.createSource(t, "app", "1.0.0", nil)
	for _, name := range names {
		a.createKustomization(t, name, "app", map[string]any{"path": "./" + name, "targetNamespace": a.Namespace})
	}
	return revision
}

func (a *arena) publishDirs(t *testing.T, tree map[string]string) string {
	t.Helper()
	revision := a.push(t, "app", "1.0.0", dirs(tree))
	a.reconcile(t, repositoriesResource(), "app")
	return revision
}

func dirs(tree map[string]string) map[string]string {
	out := map[string]string{}
	for dir, manifests := range tree {
		out[dir+"/objects.yaml"] = manifests
	}
	return out
}

// owners returns which Kustomization each ConfigMap of the arena belongs to, by its labels.
func (a *arena) owners(t *testing.T) map[string]string {
	t.Helper()
	list, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kustomize.toolkit.fluxcd.io/name"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, cm := range list.Items {
		out[cm.Name] = cm.Labels["kustomize.toolkit.fluxcd.io/name"]
	}
	return out
}

// waitForOwners waits until the ConfigMaps of the arena belong to these Kustomizations, and all of them
// are the objects that they were.
func (a *arena) waitForOwners(t *testing.T, want map[string]string, before map[string]types.UID) {
	t.Helper()
	testkit.Eventually(t, "objects are handed over", converges, func() error {
		if diff := cmp.Diff(want, a.owners(t)); diff != "" {
			return fmt.Errorf("owners (-want +got):\n%s", diff)
		}
		return nil
	})
	after := a.configMapUIDs(t)
	maps.DeleteFunc(before, func(name string, _ types.UID) bool { return want[name] == "" })
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("objects were made anew (-before +after):\n%s", diff)
	}
}

// Objects that move from one Kustomization to another in one revision are handed over, whichever of
// the two is faster, and whether they stay as they are or change.
func TestObjectsMoveBetweenKustomizations(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	revision := a.deployDirs(t, map[string]string{
		"one": named("same", "x") + named("changed", "x") + named("first", "x") + named("dropped", "x"),
		"two": named("back", "x") + named("second", "x"),
	}, "one", "two")
	a.start(t, a.agent)
	a.waitForReady(t, "one", revision)
	a.waitForReady(t, "two", revision)
	before := a.configMapUIDs(t)

	revision = a.publishDirs(t, map[string]string{
		"one": named("first", "x") + named("back", "y"),
		"two": named("second", "x") + named("same", "x") + named("changed", "y"),
	})
	a.waitForOwners(t, map[string]string{"first": "one", "back": "one", "second": "two", "same": "two", "changed": "two"}, before)
	a.waitForReady(t, "one", revision)
	a.waitForReady(t, "two", revision)
	a.waitForKustomization(t, "two", "shares nothing", func(ks *kustomizev1.Kustomization) error {
		if shared := conditionOf(ks.Status.Conditions, "CoOwned"); shared.Type != "" {
			return fmt.Errorf("%+v", shared)
		}
		return nil
	})
	a.inventoryIsTheRecord(t, a.waitForInventory(t, "one", 2))
	a.inventoryIsTheRecord(t, a.waitForInventory(t, "two", 3))
}

// A Kustomization that gets another name: the new one is there when the old one is deleted, though it
// had no time yet to look.
func TestRenamedKustomization(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	revision := a.deployDirs(t, map[string]string{"old": configMaps("app", 4)}, "old")
	a.start(t, a.agent)
	a.waitForReady(t, "old", revision)
	before := a.configMapUIDs(t)
	a.createKustomization(t, "new", "app", map[string]any{"path": "./old", "targetNamespace": a.Namespace})
	a.deleteKustomization(t, a.Namespace, "old")
	want := map[string]string{}
	for name := range before {
		want[name] = "new"
	}
	a.waitForGone(t, a.Namespace, "old")
	a.waitForOwners(t, want, before)
	a.waitForReady(t, "new", revision)
	if left := a.leftovers(t, "old"); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

// What two Kustomizations render identically is told of, and both are ready.
func TestSharedObjectIsTold(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	revision := a.deployDirs(t, map[string]string{"one": named("shared", "x") + named("first", "x"), "two": named("shared", "x")}, "one")
	a.start(t, a.agent)
	a.waitForReady(t, "one", revision)
	a.createKustomization(t, "two", "app", map[string]any{"path": "./two", "targetNamespace": a.Namespace})
	ks := a.waitForReady(t, "two", revision)
	says := "ConfigMap/" + a.Namespace + "/shared is rendered identically by Kustomization/" + a.Namespace + "/one, which keeps it"
	shared := conditionOf(ks.Status.Conditions, "CoOwned")
	if shared.Status != metav1.ConditionTrue || shared.Message != says {
		t.Errorf("CoOwned is %+v", shared)
	}
	if n := a.saidOf(t, aKustomization, "two", "CoOwned", says); n != 1 {
		t.Errorf("told %d times", n)
	}
	if n := len(ks.Status.Inventory.Entries); n != 0 {
		t.Errorf("%d objects of another owner are in the inventory, from which Flux would delete them", n)
	}
	// The owner that goes leaves it to the other one.
	before := a.configMapUIDs(t)
	a.deleteKustomization(t, a.Namespace, "one")
	a.waitForGone(t, a.Namespace, "one")
	a.waitForOwners(t, map[string]string{"shared": "two"}, before)
}

// A set is split into several and merged again, with other content.
func TestSplitAndMergedKustomizations(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	revision := a.deployDirs(t, map[string]string{"whole": named("a", "x") + named("b", "x") + named("c", "x")}, "whole", "left", "right")
	a.start(t, a.agent)
	a.waitForReady(t, "whole", revision)
	a.waitForReason(t, "left", meta.ArtifactFailedReason)
	a.waitForReason(t, "right", meta.ArtifactFailedReason)
	before := a.configMapUIDs(t)

	a.publishDirs(t, map[string]string{"whole": named("a", "x"), "left": named("b", "left"), "right": named("c", "right")})
	a.waitForOwners(t, map[string]string{"a": "whole", "b": "left", "c": "right"}, before)
	for _, name := range []string{"whole", "left", "right"} {
		a.waitForInventory(t, name, 1)
	}

	// The sets that were merged into the one that stays are empty then, or deleted.
	revision = a.publishDirs(t, map[string]string{"whole": named("a", "x") + named("b", "y") + named("c", "y"), "right": "# empty"})
	a.waitForSource(t, "app", revision) // before that nobody knows that anybody will want what goes
	a.deleteKustomization(t, a.Namespace, "left")
	a.waitForOwners(t, map[string]string{"a": "whole", "b": "whole", "c": "whole"}, before)
	a.waitForReady(t, "whole", revision)
	a.waitForGone(t, a.Namespace, "left")
}

// While a Kustomization on the same source can't be built, nobody knows what it would take over:
// nothing is deleted until its time is over.
func TestNothingIsDeletedWhileAPeerIsUndecided(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	revision := a.deployDirs(t, map[string]string{"one": named("first", "x") + named("moving", "x"), "two": named("second", "x")}, "one", "two")
	a.start(t, a.agent)
	a.waitForReady(t, "one", revision)
	a.waitForReady(t, "two", revision)
	before := a.configMapUIDs(t)
	a.publishDirs(t, map[string]string{"one": named("first", "y"), "two": "not: [a manifest"})
	a.waitForReason(t, "two", meta.BuildFailedReason)
	a.waitForKustomization(t, "one", "waits for the other", func(ks *kustomizev1.Kustomization) error {
		ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition)
		if ready.Reason != meta.ProgressingReason || !strings.Contains(ready.Message, "waiting until Kustomization/"+a.Namespace+"/two has decided") {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	if diff := cmp.Diff(before, a.configMapUIDs(t)); diff != "" {
		t.Errorf("before and after:\n%s", diff)
	}
	revision = a.publishDirs(t, map[string]string{"one": named("first", "y"), "two": named("second", "x") + named("moving", "y")})
	a.waitForOwners(t, map[string]string{"first": "one", "second": "two", "moving": "two"}, before)
	a.waitForReady(t, "one", revision)
	a.waitForReady(t, "two", revision)
}
