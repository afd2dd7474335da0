// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

func TestPrune(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(20)...))
	w.mustRun(w.request(configMapsOf(19)...), deploy.Done, "deleted ConfigMap/cm-19")
	if w.exists(configMaps, "cm-19") {
		t.Error("cm-19 is still there")
	}
	if got := len(w.recorded()); got != 19 {
		t.Errorf("%d entries on record", got)
	}
	deletions := w.Requests(t, testkit.ByUser(w.agent.UserName), testkit.Verbs("delete"))
	if len(deletions) != 1 || deletions[0].UID == "" || deletions[0].ResourceVersion == "" {
		t.Errorf("deletions:\n%s", deletions)
	}
}

func TestPruneOffRetains(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(4)...))
	req := w.request(configMapsOf(3)...)
	req.Policy.Prune = false
	out := w.mustRun(req, deploy.Done)
	if id := (object.ID{Kind: "ConfigMap", Namespace: w.Namespace, Name: "cm-03"}); !out.Entries[id].Retained {
		t.Errorf("not retained: %+v", out.Entries)
	}
	// Wanted again it is ours as before; pruned when that is asked for.
	w.mustRun(w.request(configMapsOf(4)...), deploy.Done)
	w.mustRun(req, deploy.Done)
	w.mustRun(w.request(configMapsOf(3)...), deploy.Done, "deleted ConfigMap/cm-03")
}

func TestOptedOutObjectsStay(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(9)...))
	for name, annotation := range map[string]string{"cm-07": "prune: disabled", "cm-08": "reconcile: disabled"} {
		key, value, _ := strings.Cut(annotation, ": ")
		w.edit(configMaps, name, "kubectl-annotate", func(u *unstructured.Unstructured) {
			u.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/" + key: value})
		})
	}
	out := w.mustRun(w.request(configMapsOf(7)...), deploy.Done)
	if len(out.Notes) != 2 || !w.exists(configMaps, "cm-07") || !w.exists(configMaps, "cm-08") {
		t.Errorf("notes: %q", out.Notes)
	}
}

func TestBrakeHoldsUntilApproved(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(6)...))
	req := w.request(configMapsOf(2)...)
	req.Digest = "sha256:two"
	out := w.mustRun(req, deploy.Held)
	hash := out.Plan.Brake.Hash
	if !strings.Contains(out.Err.Error(), "4 of 6 objects") || !strings.Contains(out.Err.Error(), hash) {
		t.Errorf("error: %v", out.Err)
	}
	for name, change := range map[string]func(*deploy.Request){
		"another hash":       func(r *deploy.Request) { r.Policy.Approved = strings.Repeat("0", 64) },
		"another artifact":   func(r *deploy.Request) { r.Policy.Approved, r.Digest = hash, "sha256:three" },
		"another generation": func(r *deploy.Request) { r.Policy.Approved, r.Generation = hash, 2 },
	} {
		other := req
		change(&other)
		if out := w.run(other); out.State != deploy.Held {
			t.Errorf("released by %s: %s", name, out.State)
		}
	}
	if deletions := w.Requests(t, testkit.ByUser(w.agent.UserName), testkit.Verbs("delete")); len(deletions) > 0 {
		t.Fatalf("deletions while held:\n%s", deletions)
	}
	req.Policy.Approved = hash
	w.mustRun(req, deploy.Done, "deleted ConfigMap/cm-02", "deleted ConfigMap/cm-03", "deleted ConfigMap/cm-04", "deleted ConfigMap/cm-05")
}

func TestEmptyRenderDeletesNothing(t *testing.T) {
	for _, n := range []int{1, 10, 50} {
		t.Run(fmt.Sprintf("of %d", n), func(t *testing.T) {
			w := newWorld(t)
			w.run(w.request(configMapsOf(n)...))
			req := w.request()
			req.Objects, req.Empty = nil, "the tree holds no manifests"
			out := w.mustRun(req, deploy.Held)
			if !strings.Contains(out.Err.Error(), "the tree holds no manifests") {
				t.Errorf("error: %v", out.Err)
			}
			if got := len(w.recorded()); got != n {
				t.Errorf("%d entries on record", got)
			}
		})
	}
}

func TestFirstRunOfAnEmptySetWritesNothing(t *testing.T) {
	w := newWorld(t)
	req := w.request()
	req.Objects = nil
	sent := w.counted(func() { w.mustRun(req, deploy.Done) })
	if len(sent.Writes()) > 0 {
		t.Errorf("writes:\n%s", sent.Writes())
	}
}

func TestFirstOwnerKeepsAContestedObject(t *testing.T) {
	w := newWorld(t)
	w.kustomization("app")
	w.run(w.request(configMapsOf(2)...))
	second := w.request(cm("cm-00", "whose", "theirs"), cm("cm-01"), cm("own"))
	second.Owner = w.kustomization("second")
	sent := w.counted(func() {
		out := w.mustRun(second, deploy.Failed)
		if want := "belongs to Kustomization/" + w.Namespace + "/app"; !strings.Contains(out.Err.Error(), want) {
			t.Errorf("error: %v", out.Err)
		}
	})
	if touched := sent.Writes().Of(func(r testkit.Request) bool { return strings.HasPrefix(r.Name, "cm-") }); len(touched) > 0 {
		t.Errorf("writes to the first one's objects:\n%s", touched)
	}
	// Neither flaps, and when the first drops its objects the second has them.
	quiet(w, w.request(configMapsOf(2)...))
	if n := len(w.counted(func() { w.run(second) }).Writes()); n > 0 {
		t.Errorf("%d writes in the second one's next run", n)
	}
	gone := w.request()
	gone.Objects, gone.Policy.Prune = nil, false
	w.mustRun(gone, deploy.Done)
	w.mustRun(second, deploy.Done, "configured ConfigMap/cm-00", "configured ConfigMap/cm-01", "created ConfigMap/own")
	gone.Policy.Prune, gone.Policy.GuardOff = true, true
	w.mustRun(gone, deploy.Done)
	if !w.exists(configMaps, "cm-00") || len(w.recorded()) != 0 {
		t.Errorf("handed over, but deleted or still on the first record: %s", w.recorded())
	}
}

func TestImportedEntries(t *testing.T) {
	w := newWorld(t)
	labels := "labels: {kustomize.toolkit.fluxcd.io/name: app, kustomize.toolkit.fluxcd.io/namespace: NS}"
	ours := func(name string) string {
		return strings.Replace(cm(name), "namespace: NS", "namespace: NS, "+labels, 1)
	}
	// As Flux leaves them: applied under the name that is ours as well, without a record.
	for _, u := range w.objects(ours("kept"), ours("also-kept"), ours("stale"), cm("unmarked")) {
		_, err := w.resource(configMaps).Apply(t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: plan.KustomizationManager})
		if err != nil {
			t.Fatal(err)
		}
	}
	// One that only carries the labels, as operators copy them.
	if _, err := w.resource(configMaps).Create(t.Context(), w.objects(ours("copied"))[0], metav1.CreateOptions{FieldManager: "operator"}); err != nil {
		t.Fatal(err)
	}
	req := w.request(cm("kept"), cm("also-kept"))
	for _, name := range []string{"kept", "also-kept", "stale", "unmarked", "copied", "gone"} {
		id := object.ID{Kind: "ConfigMap", Namespace: w.Namespace, Name: name}
		req.Imported = append(req.Imported, plan.Entry{ID: id, Version: "v1", Pending: true})
	}
	w.mustRun(req, deploy.Done, "deleted ConfigMap/stale")
	if !w.exists(configMaps, "unmarked") || !w.exists(configMaps, "copied") {
		t.Error("deleted what nothing proves to be ours")
	}
	if diff := cmp.Diff([]string{"ConfigMap/also-kept", "ConfigMap/copied", "ConfigMap/kept"}, w.recorded()); diff != "" {
		t.Errorf("on record (-want +got):\n%s", diff)
	}
	quiet(w, req)
}

func TestUnreachableKindIsNotGone(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(append(configMapsOf(2), webAccess)...))
	// Services can neither be listed nor read.
	proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
		if testkit.Resources("services")(r) {
			return testkit.Fault{Status: 503}
		}
		return testkit.Fault{}
	})
	w.engine = w.engineOf(proxy.Config)
	req := w.request(configMapsOf(2)...)
	req.Policy.GuardOff = true
	out := w.run(req)
	if out.State != deploy.Done {
		t.Fatalf("%s: %v", out.State, out.Err)
	}
	if got := w.recorded(); !slices.Contains(got, "Service/web") || slices.Contains(got, "Ingress/web") {
		t.Errorf("on record: %s", got)
	}
}
