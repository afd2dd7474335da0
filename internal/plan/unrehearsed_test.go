// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

const because = ": can't be rehearsed: webhook policy.example doesn't support dry-run"

func (w *world) unanswered(id object.ID) {
	w.Rehearsals[id] = plan.Rehearsal{Webhook: "policy.example", Created: w.Live[id].Presence == plan.Absent}
}

// What the server can't tell because a webhook doesn't support dry-runs is decided by what lives.
func TestUnrehearsedObjects(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(w *world, id object.ID)
		want   string
	}{
		"it is not there": {func(w *world, id object.ID) {
			delete(w.Record, id)
			w.Live[id] = plan.Live{Presence: plan.Absent}
		}, "create ConfigMap/a" + because},
		"nobody knows whether it is there": {func(w *world, id object.ID) {
			w.Live[id] = plan.Live{}
		}, "refuse ConfigMap/a: its state is unknown"},
		"what lives is what was sent, and the record is lost": {func(w *world, id object.ID) {
			delete(w.Record, id)
		}, "unchanged ConfigMap/a"},
		"another value is wanted": {func(w *world, id object.ID) {
			w.entry(id, func(e *plan.Entry) { e.Desired = "before" })
			w.edit(id, func(u *unstructured.Unstructured) { u.Object["data"] = map[string]any{"key": "before"} })
		}, "configure ConfigMap/a" + because},
		"somebody changed a value": {func(w *world, id object.ID) {
			w.edit(id, func(u *unstructured.Unstructured) { u.Object["data"] = map[string]any{"key": "theirs"} })
		}, "configure ConfigMap/a (corrects)" + because},
		"a field is wanted no longer": {func(w *world, id object.ID) {
			w.entry(id, func(e *plan.Entry) { e.Desired = "before" })
			w.edit(id, func(u *unstructured.Unstructured) {
				u.Object["data"] = map[string]any{"key": "value", "more": "x"}
				u.SetManagedFields([]metav1.ManagedFieldsEntry{owned(self.Manager, metav1.ManagedFieldsOperationApply,
					`{"f:metadata":{"f:labels":{"f:kustomize.toolkit.fluxcd.io/name":{},"f:kustomize.toolkit.fluxcd.io/namespace":{}}},"f:data":{"f:key":{},"f:more":{}}}`)})
			})
		}, "configure ConfigMap/a" + because},
		"a field is wanted that was not": {func(w *world, id object.ID) {
			w.entry(id, func(e *plan.Entry) { e.Desired = "before" })
			w.Wants[0].Object.Object["data"] = map[string]any{"key": "value", "more": "x"}
		}, "configure ConfigMap/a" + because},
		"somebody added a field by hand": {func(w *world, id object.ID) {
			w.edit(id, func(u *unstructured.Unstructured) {
				u.Object["data"] = map[string]any{"key": "value", "added": "x"}
				add(u, owned("kubectl-edit", metav1.ManagedFieldsOperationUpdate, `{"f:data":{"f:added":{}}}`))
			})
		}, "configure ConfigMap/a (corrects) (cleans up)" + because},
		"it is being deleted": {func(w *world, id object.ID) {
			now := metav1.Now()
			w.edit(id, func(u *unstructured.Unstructured) { u.SetDeletionTimestamp(&now) })
		}, "refuse ConfigMap/a: BeingDeleted"},
		"it opted out": {func(w *world, id object.ID) {
			w.edit(id, func(u *unstructured.Unstructured) {
				u.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "disabled"})
			})
			w.entry(id, func(e *plan.Entry) { e.Live = "before" })
		}, "skip ConfigMap/a: reconcile is disabled on the object"},
		"it is another owner's": {func(w *world, id object.ID) {
			w.entry(id, func(e *plan.Entry) { e.Live = "before" })
			w.Claims[id] = plan.Kustomization("apps", "other")
		}, "conflict ConfigMap/a: it belongs to Kustomization/apps/other"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id := w.settled("ConfigMap", "a")
			c.change(w, id)
			w.unanswered(id)
			if got := actions(w.decide())[0]; !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// What is shown of an unrehearsed object: what lives, without what the owner gives up, and with what
// it wants. What others have stays.
func TestWhatIsShownOfAnUnrehearsedObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := w.wanted("Deployment", "web")
	want.Object.Object["spec"] = parse(t, `{kind: Spec, containers: [{name: web, image: new}], paused: true}`).Object
	live := applied(want.Object)
	live.Object["spec"] = parse(t, `
kind: Spec
containers: [{name: sidecar, image: theirs}, {name: web, image: old, imagePullPolicy: Always}]
minReadySeconds: 3
strategy: by-default
`).Object
	live.SetManagedFields([]metav1.ManagedFieldsEntry{
		owned(self.Manager, metav1.ManagedFieldsOperationApply,
			`{"f:data":{"f:key":{}},"f:spec":{"f:minReadySeconds":{},"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:name":{},"f:image":{}}}}}`),
		owned("injector", metav1.ManagedFieldsOperationUpdate,
			`{"f:spec":{"f:containers":{"k:{\"name\":\"sidecar\"}":{".":{},"f:name":{},"f:image":{}}}}}`),
	})
	w.Live[want.ID] = plan.Live{Presence: plan.Present, Object: live}
	w.unanswered(want.ID)
	step := w.decide().Steps[0]
	got := step.Predicted(self, nil).Object["spec"]
	expected := parse(t, `
kind: Spec
containers: [{name: sidecar, image: theirs}, {name: web, image: new, imagePullPolicy: Always}]
paused: true
strategy: by-default
`).Object
	if diff := cmp.Diff(any(expected), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if before, _, _ := unstructured.NestedInt64(live.Object, "spec", "minReadySeconds"); before != 3 {
		t.Error("what lives was changed")
	}
}
