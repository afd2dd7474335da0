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
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

const badImage = `sandbox.kustomizer.dev/fail: ImagePullBackOff`

func TestWaitingForHealth(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	web := "Deployment/" + a.Namespace + "/"
	a.deploy(t, "short", deployment("short", badImage, ""), map[string]any{"wait": true, "timeout": "3s", "retryInterval": "1s"})
	a.deploy(t, "long", deployment("long", badImage, ""), map[string]any{"wait": true, "timeout": "30m"})
	careless := a.deploy(t, "careless", deployment("careless", badImage, ""), nil)
	a.start(t, a.agent)

	ks := a.waitForReady(t, "careless", careless)
	if healthy := conditionOf(ks.Status.Conditions, meta.HealthyCondition); healthy.Type != "" {
		t.Errorf("without wait, health is judged: %+v", healthy)
	}
	a.waitForKustomization(t, "short", "failed, and says why", func(ks *kustomizev1.Kustomization) error {
		for _, kind := range []string{meta.ReadyCondition, meta.HealthyCondition} {
			said := conditionOf(ks.Status.Conditions, kind)
			if said.Status != metav1.ConditionFalse || said.Reason != meta.HealthCheckFailedReason ||
				!strings.Contains(said.Message, web+"short not ready: ImagePull") {
				return fmt.Errorf("%s is %+v", kind, said)
			}
		}
		return nil
	})
	a.waitForKustomization(t, "long", "waits, and says for what", func(ks *kustomizev1.Kustomization) error {
		ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition)
		if ready.Status != metav1.ConditionUnknown || !strings.Contains(ready.Message, "waiting for health: "+web+"long") {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})

	// A newer revision ends the wait at once, and a failed one is made good.
	for _, name := range []string{"short", "long"} {
		revision := a.publish(t, name, deployment(name, "", ""))
		ks := a.waitForReady(t, name, revision)
		if healthy := conditionOf(ks.Status.Conditions, meta.HealthyCondition); healthy.Status != metav1.ConditionTrue {
			t.Errorf("%s: Healthy is %+v", name, healthy)
		}
	}
}

// What is not healthy is not pruned for: what it is to take the place of goes on running.
func TestNothingIsPrunedBeforeItsSuccessorIsHealthy(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.deploy(t, "app", deployment("blue", "", "")+configMaps("app", 3), map[string]any{"wait": true, "timeout": "30m"})
	a.start(t, a.agent)
	a.waitForInventory(t, "app", 4)
	a.publish(t, "app", deployment("green", badImage, "")+configMaps("app", 3))
	a.waitForKustomization(t, "app", "waits for green", func(ks *kustomizev1.Kustomization) error {
		ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition)
		if !strings.Contains(ready.Message, "waiting for health: Deployment/"+a.Namespace+"/green") {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	a.lookAgain(t, "app")
	if deletions := a.requests(t, testkit.Verbs("delete")); len(deletions) > 0 {
		t.Errorf("deleted while waiting:\n%s", deletions)
	}
	revision := a.publish(t, "app", deployment("green", "", "")+configMaps("app", 3))
	a.waitForReady(t, "app", revision)
	deleted := a.requests(t, testkit.Verbs("delete"))
	if len(deleted) != 1 || deleted[0].Name != "blue" {
		t.Errorf("want one deletion, of blue, got:\n%s", deleted)
	}
}

// What was pruned and is held by a finalizer is waited for, as long as there is time and nothing newer
// to do; then it stays on record.
func TestWhatIsPrunedAndDoesNotGoHoldsNothingUp(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.deploy(t, "long", configMaps("long", 4)+heldConfigMap("long-held"), map[string]any{"timeout": "30m"})
	a.deploy(t, "short", configMaps("short", 4)+heldConfigMap("short-held"), map[string]any{"timeout": "2s"})
	t.Cleanup(func() { a.releaseConfigMaps(t, []string{"long-held", "short-held"}) })
	a.start(t, a.agent)
	for _, name := range []string{"long", "short"} {
		a.waitForInventory(t, name, 5)
		a.publish(t, name, configMaps(name, 4))
	}
	a.waitForKustomization(t, "long", "waits", func(ks *kustomizev1.Kustomization) error {
		if ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition); !strings.HasPrefix(ready.Message, "waiting until 1 deleted object is gone: ConfigMap/"+a.Namespace+"/long-held (FinalizerPending: ") {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	revision := a.publish(t, "long", configMaps("long", 6))
	a.waitForReady(t, "long", revision)
	for name, n := range map[string]int{"long": 7, "short": 5} {
		ks := a.waitForInventory(t, name, n)
		if _, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).Get(t.Context(), name+"-held", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		a.inventoryIsTheRecord(t, ks)
		a.release(t, name+"-held")
		a.lookAgain(t, name)
		a.waitForInventory(t, name, n-1)
	}
}

// The first owner of an object keeps it, and the two do not write in turns.
func TestTwoOwnersOfOneObject(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	shared := func(value string) string {
		return "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: shared\ndata:\n  value: " + value + "\n"
	}
	often := map[string]any{"interval": "1s", "retryInterval": "1s"}
	first := a.deploy(t, "first", shared("first")+configMaps("first", 1), often)
	a.start(t, a.agent)
	a.waitForReady(t, "first", first)
	a.deploy(t, "second", shared("second")+configMaps("second", 1), often)
	same := a.deploy(t, "same", shared("first")+configMaps("same", 1), often)
	ks := a.waitForReason(t, "second", "OwnershipConflict")
	says := "ConfigMap/" + a.Namespace + "/shared: it belongs to Kustomization/" + a.Namespace + "/first"
	if ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition); !strings.Contains(ready.Message, says) {
		t.Errorf("Ready is %+v", ready)
	}
	a.waitForReady(t, "same", same)
	if there := a.configMapUIDs(t); len(there) != 3 { // nothing of a set is written that has a conflict
		t.Errorf("what is not contested is missing: %v", there)
	}
	a.sawPasses(t, 5, "first", "second", "same")

	cm, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).Get(t.Context(), "shared", metav1.GetOptions{})
	if err != nil || cm.Data["value"] != "first" {
		t.Errorf("the object holds %v (%v)", cm.Data, err)
	}
	a.waitForReason(t, "second", "OwnershipConflict")
	a.waitForReady(t, "first", first)
	told := 0
	for _, e := range a.events(t, aKustomization, "second") {
		if e.Reason == "OwnershipConflict" {
			told += int(max(e.Count, 1))
		}
	}
	if told != 1 {
		t.Errorf("the conflict was told %d times", told)
	}

	// When the one that lost goes, nothing of the first one goes with it.
	a.deleteKustomization(t, a.Namespace, "second")
	if _, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).Get(t.Context(), "shared", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// sawPasses lets each of the Kustomizations be looked at a number of times, by itself, and fails the
// test if anything was written meanwhile.
func (a *arena) sawPasses(t *testing.T, n int, names ...string) {
	t.Helper()
	for _, name := range names {
		a.lookAgain(t, name)
	}
	mark := a.Mark(t)
	testkit.Eventually(t, "looking at all of them", converges, func() error {
		read := len(a.requests(t, testkit.After(mark), testkit.Verbs("list"), func(r testkit.Request) bool {
			return strings.Contains(r.URI, "kustomizer.dev%2Frecord")
		}))
		if want := n * len(names); read < want {
			return fmt.Errorf("%d records of %d were read", read, want)
		}
		return nil
	})
	if writes := a.requests(t, testkit.After(mark)).Writes(); len(writes) > 0 {
		t.Errorf("nothing changed, and written was:\n%s", writes)
	}
}

// Events say what was done to which object, and are found by whoever asks for a resource's.
func TestEventsSayWhatWasDone(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	line := func(name, verb string) string { return "ConfigMap/" + a.Namespace + "/" + name + " " + verb }
	first := a.deploy(t, "app", configMaps("app", 3), nil)
	a.start(t, a.agent)
	a.waitForReady(t, "app", first)
	second := a.publish(t, "app", strings.ReplaceAll(configMaps("app", 2), `number: "1"`, `number: "one"`))
	a.waitForReady(t, "app", second)
	_, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).Patch(t.Context(), "app-0", types.MergePatchType,
		[]byte(`{"data":{"number":"by hand","more":"by hand"}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	if err != nil {
		t.Fatal(err)
	}
	a.lookAgain(t, "app")
	cm, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).Get(t.Context(), "app-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"number": "0"}, cm.Data); diff != "" {
		t.Errorf("the edit was not put back (-want +got):\n%s", diff)
	}

	for said, reason := range map[string]string{
		line("app-0", "created"): "Progressing", line("app-1", "created"): "Progressing", line("app-2", "created"): "Progressing",
		line("app-1", "configured"): "Progressing", line("app-2", "deleted"): "Progressing", line("app-0", "corrected"): "DriftCorrected",
	} {
		if n := a.saidOf(t, aKustomization, "app", reason, said); n != 1 {
			t.Errorf("%q was said %d times", said, n)
		}
	}
	for _, e := range append(a.events(t, aKustomization, "app"), a.events(t, aSource, "app")...) {
		want := kustomizev1.GroupVersion.String()
		if e.InvolvedObject.Kind == aSource {
			want = sourcev1.GroupVersion.String()
		}
		if e.InvolvedObject.APIVersion != want {
			t.Errorf("an event is about %q of %q", e.InvolvedObject.Kind, e.InvolvedObject.APIVersion)
		}
	}
	if e := a.events(t, aSource, "app"); len(e) != 2 || !strings.Contains(e[0].Message, "stored artifact with revision") {
		t.Errorf("the source's events are %+v", e)
	}
	for who, said := range map[string]string{
		"kubectl":    a.Kubectl(t, "events", "-n", a.Namespace, "--for", "kustomization/app"),
		"kustomizer": a.kustomizer(t, "events", "--for", "kustomization/app"),
	} {
		for _, want := range []string{line("app-0", "corrected"), line("app-2", "deleted"), line("app-1", "configured")} {
			if !strings.Contains(said, want) {
				t.Errorf("%s does not show %q:\n%s", who, want, said)
			}
		}
	}
}
