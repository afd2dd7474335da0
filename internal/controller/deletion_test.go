// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// deleteKustomization deletes a Kustomization and waits until its finalizer has gone with it.
func (a *arena) deleteKustomization(t *testing.T, namespace, name string) {
	t.Helper()
	resources := a.Dynamic.Resource(kustomizationsResource()).Namespace(namespace)
	if err := resources.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("deleting Kustomization %s: %v", name, err)
	}
	a.waitForGone(t, namespace, name)
}

func (a *arena) waitForGone(t *testing.T, namespace, name string) {
	t.Helper()
	testkit.Eventually(t, "Kustomization "+name+" is gone", converges, func() error {
		u, err := a.Dynamic.Resource(kustomizationsResource()).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("Ready is %+v", readyOf(t, u))
	})
}

// leftovers returns what is written down about what Kustomizations of a name left behind, an object a
// line, sorted.
func (a *arena) leftovers(t *testing.T, name string) []string {
	t.Helper()
	list, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kustomizer.dev/leftovers"})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, cm := range list.Items {
		if strings.HasSuffix(cm.Annotations["kustomizer.dev/record-owner"], "/"+name) {
			out = append(out, strings.Split(strings.TrimSpace(cm.Data["objects"]), "\n")...)
		}
	}
	slices.Sort(out)
	return out
}

func TestADeletedKustomizationTakesWithItWhatItsPolicySays(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	cases := []struct {
		name string
		spec map[string]any
		then string // patch of the Kustomization before it is deleted
		left string // why its objects stay; they go where it is empty
	}{
		{name: "default", spec: nil},
		{name: "mirror", spec: map[string]any{"deletionPolicy": "MirrorPrune"}},
		{name: "mirror-no-prune", spec: map[string]any{"deletionPolicy": "MirrorPrune", "prune": false}, left: "prune is off"},
		{name: "default-no-prune", spec: map[string]any{"prune": false}, left: "prune is off"},
		{name: "delete-no-prune", spec: map[string]any{"deletionPolicy": "Delete", "prune": false}},
		{name: "wait", spec: map[string]any{"deletionPolicy": "WaitForTermination", "prune": false}},
		{name: "orphan", spec: map[string]any{"deletionPolicy": "Orphan"}, left: "the deletion policy is Orphan"},
		{name: "suspended", then: `{"spec":{"suspend":true}}`, left: "the Kustomization is suspended"},
		{
			name: "unsupported", then: `{"spec":{"serviceAccountName":"tenant"}}`,
			left: "the Kustomization says what this version does not support: spec.serviceAccountName",
		},
	}
	for _, c := range cases {
		a.deploy(t, c.name, configMaps(c.name, 2), c.spec)
	}
	a.start(t, a.agent)
	for _, c := range cases {
		a.waitForInventory(t, c.name, 2)
		if c.then != "" {
			a.patch(t, kustomizationsResource(), c.name, c.then)
		}
	}
	for _, c := range cases {
		a.deleteKustomization(t, a.Namespace, c.name)
	}
	there := a.configMapUIDs(t)
	for _, c := range cases {
		var want []string
		for i := range 2 {
			name := fmt.Sprintf("%s-%d", c.name, i)
			line := fmt.Sprintf("ConfigMap/%s/%s", a.Namespace, name)
			if _, stays := there[name]; stays != (c.left != "") {
				t.Errorf("%s: that %s stays is %t", c.name, line, stays)
			}
			if c.left != "" {
				want = append(want, line+": "+c.left)
				a.saidOf(t, aKustomization, c.name, "ObjectsLeft", line+" stays: "+c.left)
			} else {
				a.saidOf(t, aKustomization, c.name, "Progressing", line+" deleted")
			}
		}
		if got := a.leftovers(t, c.name); !slices.Equal(got, want) {
			t.Errorf("%s: written down is %q, not %q", c.name, got, want)
		}
		if a.recorded(t, c.name).Exists {
			t.Errorf("%s: its record is still there", c.name)
		}
	}
	for _, r := range a.requests(t, testkit.Verbs("delete")) {
		if r.UID == "" || r.ResourceVersion == "" {
			t.Errorf("a deletion without preconditions: %s", r)
		}
	}
}

const claim = `---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
`

func statefulSet(claims string) string {
	return `---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: db
spec:
  replicas: 0
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: main, image: "registry.example/db:1"}]}
  volumeClaimTemplates: [` + claims + `]
`
}

const claimTemplate = `{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}`

// What takes data or other people's objects with it goes only where the policy names that.
func TestProtectedKindsStayUnlessThePolicyNamesDeletion(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	own := func(name string) string { return a.Namespace + "-" + name }
	policies := map[string]string{"mirror": "MirrorPrune", "delete": "Delete"}
	for name, policy := range policies {
		a.DeleteNamespaceAtEnd(t, own(name))
		all := configMaps(name, 1) + claim + statefulSet(claimTemplate) + "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + own(name) + "\n"
		a.deploy(t, name, all, map[string]any{"deletionPolicy": policy, "targetNamespace": own(name)})
	}
	a.start(t, a.agent)
	for name := range policies {
		a.waitForInventory(t, name, 4)
		a.deleteKustomization(t, a.Namespace, name)
	}

	in := own("mirror")
	want := []string{
		"Namespace/" + in + ": it is protected: it holds StatefulSet/" + in + "/db, PersistentVolumeClaim/" + in + "/data",
		"PersistentVolumeClaim/" + in + "/data: it is protected: it holds data",
		"StatefulSet/" + in + "/db: it is protected: it claims volumes",
	}
	got := a.leftovers(t, "mirror")
	if !slices.Equal(got, want) {
		t.Errorf("MirrorPrune left %q, not %q", got, want)
	}
	if got := a.leftovers(t, "delete"); len(got) > 0 {
		t.Errorf("Delete left %q", got)
	}
	var deleted []string
	for _, r := range a.requests(t, testkit.Verbs("delete"), testkit.Not(testkit.InNamespace(a.Namespace))) {
		deleted = append(deleted, strings.TrimPrefix(r.Namespace, a.Namespace+"-")+"/"+r.Resource)
	}
	slices.Sort(deleted)
	wantDeleted := []string{
		"delete/configmaps", "delete/namespaces", "delete/persistentvolumeclaims", "delete/statefulsets", "mirror/configmaps",
	}
	if !slices.Equal(deleted, wantDeleted) {
		t.Errorf("deleted were %q, not %q", deleted, wantDeleted)
	}
}

// A person can approve, before a Kustomization is deleted, that exactly these protected objects go too.
func TestApprovedProtectedObjectsGoWithTheirKustomization(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for _, name := range []string{"approved", "outdated"} {
		a.deploy(t, name, configMaps(name, 1)+strings.Replace(claim, "name: data", "name: "+name, 1), nil)
	}
	a.start(t, a.agent)
	for _, name := range []string{"approved", "outdated"} {
		a.waitForInventory(t, name, 2)
		said := a.approveDeletion(t, name)
		if line := "PersistentVolumeClaim/" + a.Namespace + "/" + name + ": it holds data"; !strings.Contains(said, line) {
			t.Errorf("the approval does not show %q:\n%s", line, said)
		}
	}
	// What was approved is the deletion of one claim, not of another one of that name.
	claims := a.Kube.CoreV1().PersistentVolumeClaims(a.Namespace)
	if err := claims.Delete(t.Context(), "outdated", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.lookAgain(t, "outdated")
	testkit.Eventually(t, "the claim is there again", converges, func() error {
		pvc, err := claims.Get(t.Context(), "outdated", metav1.GetOptions{})
		if err == nil && pvc.DeletionTimestamp != nil {
			err = errors.New("it is being deleted")
		}
		if err != nil {
			a.lookAgain(t, "outdated")
		}
		return err
	})
	a.deleteKustomization(t, a.Namespace, "approved")
	a.deleteKustomization(t, a.Namespace, "outdated")
	if got := a.leftovers(t, "approved"); len(got) > 0 {
		t.Errorf("approved, and left is %q", got)
	}
	want := []string{"PersistentVolumeClaim/" + a.Namespace + "/outdated: it is protected: it holds data"}
	if got := a.leftovers(t, "outdated"); !slices.Equal(got, want) {
		t.Errorf("left is %q, not %q", got, want)
	}
	deleted := a.requests(t, testkit.Verbs("delete"), testkit.Resources("persistentvolumeclaims"))
	if len(deleted) != 1 || deleted[0].Name != "approved" {
		t.Errorf("claims were deleted by:\n%s", deleted)
	}
}

// approveDeletion approves what the deletion of a Kustomization would leave, and returns what is shown.
func (a *arena) approveDeletion(t *testing.T, name string) string {
	t.Helper()
	p := testkit.Start(t, testkit.Command{
		Path: testkit.Binary(t), Args: []string{"approve", "prune", "ks/" + name, "--deletion", "--yes", "-n", a.Namespace},
		Env: []string{"KUBECONFIG=" + a.Kubeconfig, "FLUX_SYSTEM_NAMESPACE=" + a.Namespace},
	})
	if code := p.Wait(t, converges); code != 0 {
		t.Fatalf("approving the deletion of %s ended with %d", name, code)
	}
	return p.Output()
}

// An object that only carries our labels, because somebody made it in the place of ours, is not ours
// to delete; neither is one that no longer carries them.
func TestALookalikeIsNotDeleted(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.deploy(t, "app", configMaps("app", 3), nil)
	// A pass that sees the namesake would take it in: from here on there is none until the deletion.
	first := a.start(t, a.agent)
	a.waitForInventory(t, "app", 3)
	first.Kill()
	configMapsHere := a.Kube.CoreV1().ConfigMaps(a.Namespace)

	old, err := configMapsHere.Get(t.Context(), "app-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := configMapsHere.Delete(t.Context(), "app-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	namesake := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "app-0", Labels: old.Labels}}
	if _, err := configMapsHere.Create(t.Context(), namesake, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	unlabelled := `{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":null,"kustomize.toolkit.fluxcd.io/namespace":null}}}`
	if _, err := configMapsHere.Patch(t.Context(), "app-1", types.MergePatchType, []byte(unlabelled), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	kustomizations := a.Dynamic.Resource(kustomizationsResource()).Namespace(a.Namespace)
	if err := kustomizations.Delete(t.Context(), "app", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.start(t, a.agent)
	a.waitForGone(t, a.Namespace, "app")

	deleted := a.requests(t, testkit.Verbs("delete"), func(r testkit.Request) bool { return strings.HasPrefix(r.Name, "app-") })
	if len(deleted) != 1 || deleted[0].Name != "app-2" {
		t.Errorf("want one deletion, of app-2, got:\n%s", deleted)
	}
	want := []string{"ConfigMap/" + a.Namespace + "/app-0: it is not the object we applied, but a namesake with our labels"}
	if got := a.leftovers(t, "app"); !slices.Equal(got, want) {
		t.Errorf("written down is %q, not %q", got, want)
	}
}

// heldConfigMap renders a ConfigMap with a finalizer that nobody here acts upon.
func heldConfigMap(name string) string {
	return "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n  finalizers: [example.com/hold]\n"
}

func (a *arena) release(t *testing.T, name string) {
	t.Helper()
	_, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).
		Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("releasing %s: %v", name, err)
	}
}

func TestDeletionWaitsForTerminationUntilItsTimeIsOver(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.deploy(t, "patient", heldConfigMap("patient"), map[string]any{"deletionPolicy": "WaitForTermination", "timeout": "10m"})
	a.deploy(t, "hasty", heldConfigMap("hasty"), map[string]any{"deletionPolicy": "WaitForTermination", "timeout": "2s"})
	a.deploy(t, "careless", heldConfigMap("careless"), map[string]any{"deletionPolicy": "Delete", "timeout": "10m"})
	a.start(t, a.agent)
	names := []string{"patient", "hasty", "careless"}
	t.Cleanup(func() { a.releaseConfigMaps(t, names) })
	for _, name := range names {
		a.waitForInventory(t, name, 1)
		err := a.Dynamic.Resource(kustomizationsResource()).Namespace(a.Namespace).Delete(t.Context(), name, metav1.DeleteOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	a.waitForGone(t, a.Namespace, "careless")
	a.waitForGone(t, a.Namespace, "hasty")
	want := []string{"ConfigMap/" + a.Namespace + "/hasty: it is still being deleted: finalizers example.com/hold"}
	if got := a.leftovers(t, "hasty"); !slices.Equal(got, want) {
		t.Errorf("written down is %q, not %q", got, want)
	}
	a.waitForKustomization(t, "patient", "waits", func(ks *kustomizev1.Kustomization) error {
		ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition)
		if ready.Status != metav1.ConditionUnknown || !strings.Contains(ready.Message, "waiting until 1 deleted object is gone") {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	a.release(t, "patient")
	a.waitForGone(t, a.Namespace, "patient")
	if got := a.leftovers(t, "patient"); len(got) > 0 {
		t.Errorf("all is gone, and written down is %q", got)
	}
}

// releaseConfigMaps lets the test's namespace go.
func (a *arena) releaseConfigMaps(t *testing.T, names []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	for _, name := range names {
		_, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).Patch(ctx, name, types.MergePatchType,
			[]byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("cleaning up: %v", err)
		}
	}
}
