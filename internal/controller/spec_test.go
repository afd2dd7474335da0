// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

func TestWhatASourceFollows(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	first := a.push(t, "app", "1.0.0", map[string]string{"objects.yaml": configMaps("first", 1)})
	_, digest, _ := strings.Cut(first, "@")
	a.push(t, "app", "latest", map[string]string{"objects.yaml": configMaps("first", 1)})
	url := "oci://" + a.repositories.Repository("app")
	for name, ref := range map[string]any{
		"no-ref": nil, "tag": map[string]any{"tag": "1.0.0"}, "digest": map[string]any{"digest": digest},
		"digest-before-tag": map[string]any{"digest": digest, "tag": "1.0.0"},
	} {
		a.createSource(t, name, "", map[string]any{"url": url, "ref": ref, "interval": "1s"})
	}
	for name, url := range map[string]string{"with-tag": url + ":1.0.0", "with-digest": url + "@" + digest, "no-repository": "oci://" + a.repositories.Host} {
		a.createSource(t, name, "1.0.0", map[string]any{"url": url})
	}
	a.start(t, a.agent)
	a.waitForSource(t, "no-ref", "latest@"+digest)
	a.waitForSource(t, "tag", first)
	a.waitForSource(t, "digest", digest)
	a.waitForSource(t, "digest-before-tag", digest)
	for _, name := range []string{"with-tag", "with-digest", "no-repository"} {
		a.wait(t, repositoriesResource(), name, "is stalled", func(u *unstructured.Unstructured) error {
			if ready := readyOf(t, u); ready.Reason != "URLInvalid" {
				return fmt.Errorf("Ready is %+v", ready)
			}
			return conditionIs(u, meta.StalledCondition, "True")
		})
	}

	// Without being asked, at the interval.
	second := a.push(t, "app", "1.0.0", map[string]string{"objects.yaml": configMaps("second", 1)})
	a.waitForSource(t, "tag", second)
	latest := a.push(t, "app", "latest", map[string]string{"objects.yaml": configMaps("second", 1)})
	a.waitForSource(t, "no-ref", latest)
	for _, name := range []string{"digest", "digest-before-tag"} {
		a.reconcile(t, repositoriesResource(), name)
		a.waitForHandled(t, repositoriesResource(), name)
		a.waitForSource(t, name, digest)
	}
}

// waitForHandled waits until a request to look at a resource was acted upon.
func (a *arena) waitForHandled(t *testing.T, resource schema.GroupVersionResource, name string) {
	t.Helper()
	a.wait(t, resource, name, "has been looked at", func(u *unstructured.Unstructured) error {
		handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
		if asked := u.GetAnnotations()[meta.ReconcileRequestAnnotation]; handled != asked {
			return fmt.Errorf("handled %q, not %q", handled, asked)
		}
		return nil
	})
}

func TestASuspendedResourceIsLeftAlone(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	first := a.deploy(t, "app", configMaps("app", 2), nil)
	a.start(t, a.agent)
	a.waitForReady(t, "app", first)
	a.waitForSource(t, "app", first) // the agent is done with it

	a.patch(t, repositoriesResource(), "app", `{"spec":{"suspend":true}}`)
	second := a.publish(t, "app", configMaps("app", 3))
	polled := len(a.repositories.Requests(t))
	a.deploy(t, "other", configMaps("other", 1), nil) // the agent has worked since when this is ready
	a.waitForInventory(t, "other", 1)
	for _, r := range a.repositories.Requests(t)[polled:] {
		if strings.Contains(r.Path, "/app/") && r.Method == "HEAD" && strings.Contains(r.UserAgent, "kustomizer/") {
			t.Errorf("a suspended source asked the registry: %s", r)
		}
	}
	a.waitForReady(t, "app", first)

	a.patch(t, kustomizationsResource(), "app", `{"spec":{"suspend":true}}`)
	a.lookAgain(t, "other") // the agent has seen all that happened to Kustomizations before, when this is done
	a.patch(t, repositoriesResource(), "app", `{"spec":{"suspend":false}}`)
	a.waitForSource(t, "app", second)
	a.reconcile(t, kustomizationsResource(), "app")
	a.publish(t, "other", configMaps("other", 2))
	a.waitForInventory(t, "other", 2)
	if n := len(a.recorded(t, "app").Entries); n != 2 {
		t.Errorf("a suspended Kustomization has %d objects, not 2", n)
	}

	a.patch(t, kustomizationsResource(), "app", `{"spec":{"suspend":false}}`)
	a.waitForReady(t, "app", second)
	a.waitForInventory(t, "app", 3)
}

func TestWithoutPruneWhatWasRemovedIsRemembered(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.deploy(t, "app", configMaps("app", 6), map[string]any{"prune": false})
	a.start(t, a.agent)
	a.waitForInventory(t, "app", 6)
	revision := a.publish(t, "app", configMaps("app", 4))
	a.waitForReady(t, "app", revision)
	if n := len(a.configMapUIDs(t)); n != 6 {
		t.Errorf("%d objects are there, not 6", n)
	}
	retained := 0
	for _, e := range a.recorded(t, "app").Entries {
		if e.Retained {
			retained++
		}
	}
	if retained != 2 {
		t.Errorf("%d entries are retained, not 2", retained)
	}
	a.patch(t, kustomizationsResource(), "app", `{"spec":{"prune":true}}`)
	a.waitForInventory(t, "app", 4)
	if n := len(a.configMapUIDs(t)); n != 4 {
		t.Errorf("%d objects are there, not 4", n)
	}
}

func TestAFailureIsTriedAgain(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	later := a.Namespace + "-later"
	revision := a.deploy(t, "app", configMaps("app", 1), map[string]any{"targetNamespace": later, "retryInterval": "1s"})
	a.start(t, a.agent)
	ks := a.waitForReason(t, "app", meta.ReconciliationFailedReason)
	if ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition); !strings.Contains(ready.Message, "NamespaceMissing") {
		t.Errorf("Ready is %+v", ready)
	}
	a.CreateNamespace(t, later)
	a.waitForReady(t, "app", revision)
	if _, err := a.Kube.CoreV1().ConfigMaps(later).Get(t.Context(), "app-0", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// fixed renders a ConfigMap that can't be changed, with a value.
func fixed(value string) string {
	return "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: fixed\ndata:\n  value: " + value + "\nimmutable: true\n"
}

func TestForceReplacesWhatCanNotBeChanged(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.deploy(t, "app", fixed("one"), nil)
	a.deploy(t, "storage", claim, map[string]any{"force": true})
	a.start(t, a.agent)
	a.waitForInventory(t, "app", 1)
	a.waitForInventory(t, "storage", 1)
	before := a.configMapUIDs(t)

	revision := a.publish(t, "app", fixed("two"))
	ks := a.waitForReason(t, "app", meta.ReconciliationFailedReason)
	if ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition); !strings.Contains(ready.Message, "ImmutableField") {
		t.Errorf("Ready is %+v", ready)
	}
	if diff := cmp.Diff(before, a.configMapUIDs(t)); diff != "" {
		t.Errorf("objects changed without force (-before +after):\n%s", diff)
	}
	a.patch(t, kustomizationsResource(), "app", `{"spec":{"force":true}}`)
	a.waitForReady(t, "app", revision)
	if after := a.configMapUIDs(t); after["fixed"] == before["fixed"] || after["fixed"] == "" {
		t.Errorf("the object was not replaced: %v, %v", before, after)
	}
	a.saidOf(t, aKustomization, "app", "Progressing", "ConfigMap/"+a.Namespace+"/fixed replaced")

	// What would take data with it is not replaced, force or not.
	a.publish(t, "storage", strings.ReplaceAll(claim, "ReadWriteOnce", "ReadWriteMany"))
	ks = a.waitForReason(t, "storage", meta.ReconciliationFailedReason)
	if ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition); !strings.Contains(ready.Message, "a PersistentVolumeClaim is never replaced, force or not") {
		t.Errorf("Ready is %+v", ready)
	}
	if n := len(a.requests(t, testkit.Verbs("delete"), testkit.Resources("persistentvolumeclaims"))); n > 0 {
		t.Error("the claim was deleted")
	}
}

func TestASourceThatComesLater(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.createKustomization(t, "app", "app", map[string]any{"targetNamespace": a.Namespace})
	a.start(t, a.agent)
	says := func(what string) func(*kustomizev1.Kustomization) error {
		return func(ks *kustomizev1.Kustomization) error {
			ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition)
			if ready.Reason != meta.ArtifactFailedReason || !strings.Contains(ready.Message, what) {
				return fmt.Errorf("Ready is %+v", ready)
			}
			return nil
		}
	}
	a.waitForKustomization(t, "app", "has no source", says("the source OCIRepository/"+a.Namespace+"/app does not exist"))
	if err := says("does not exist")(a.lookAgain(t, "app")); err != nil {
		t.Error(err)
	}
	a.createSource(t, "app", "1.0.0", nil)
	a.waitForReasonOf(t, repositoriesResource(), "app", sourcev1.OCIPullFailedReason)
	if err := says("has no artifact yet")(a.lookAgain(t, "app")); err != nil {
		t.Error(err)
	}
	revision := a.push(t, "app", "1.0.0", map[string]string{"objects.yaml": configMaps("app", 1)})
	a.reconcile(t, repositoriesResource(), "app")
	a.waitForReady(t, "app", revision)

	// A source that goes takes nothing with it.
	before := a.configMapUIDs(t)
	if err := a.Dynamic.Resource(repositoriesResource()).Namespace(a.Namespace).Delete(t.Context(), "app", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the Kustomization misses its source", converges, func() error { return says("does not exist")(a.lookAgain(t, "app")) })
	if diff := cmp.Diff(before, a.configMapUIDs(t)); diff != "" || len(before) != 1 {
		t.Errorf("objects changed (-before +after):\n%s", diff)
	}
}

// waitForReasonOf waits until a resource is not ready, for a reason, and returns its message.
func (a *arena) waitForReasonOf(t *testing.T, resource schema.GroupVersionResource, name, reason string) string {
	t.Helper()
	var message string
	a.wait(t, resource, name, "fails by "+reason, func(u *unstructured.Unstructured) error {
		ready := readyOf(t, u)
		message = ready.Message
		if ready.Status != metav1.ConditionFalse || ready.Reason != reason {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	return message
}

func TestASourceInAnotherNamespace(t *testing.T) {
	t.Parallel()
	tm := newTeam(t, newArena(t))
	tm.start(t)
	tm.deploy(t, "app", configMaps("app", 1), tm.namespace, nil)
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"sourceRef": map[string]any{"kind": "OCIRepository", "name": "app", "namespace": tm.namespace},
		"path":      "./deploy", "interval": never, "prune": true, "targetNamespace": tm.Namespace,
	}}}
	u.SetGroupVersionKind(kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind))
	u.SetName("app")
	u.SetLabels(map[string]string{"test": tm.Namespace})
	if _, err := tm.Dynamic.Resource(kustomizationsResource()).Namespace(tm.Namespace).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	tm.waitForInventory(t, "app", 1)
}
