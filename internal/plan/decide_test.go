// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

func TestDecideAboutOneWantedObject(t *testing.T) {
	t.Parallel()
	other := plan.Kustomization("apps", "other")
	// An object that is in the set and in the cluster, and of which something is in doubt: it was
	// rehearsed, with the live object as the result.
	doubtful := func(w *world) object.ID {
		id := w.settled("ConfigMap", "a")
		w.entry(id, func(e *plan.Entry) { e.Live = "something else" })
		w.rehearsed(id, w.Live[id].Object.DeepCopy(), false)
		return id
	}
	cases := map[string]struct {
		facts func(w *world)
		want  string
	}{
		"nothing changed": {
			func(w *world) { w.settled("ConfigMap", "a") },
			"unchanged ConfigMap/a",
		},
		"it is new": {
			func(w *world) {
				id := w.wanted("ConfigMap", "a").ID
				w.rehearsed(id, applied(manifest(w.t, "ConfigMap", "a")), true)
			},
			"create ConfigMap/a",
		},
		"somebody deleted it": {
			func(w *world) {
				id := w.settled("ConfigMap", "a")
				w.Live[id] = plan.Live{Presence: plan.Absent}
				w.rehearsed(id, applied(manifest(w.t, "ConfigMap", "a")), true)
			},
			"create ConfigMap/a (corrects)",
		},
		"it was about to be made when we died": {
			func(w *world) {
				id := w.settled("ConfigMap", "a")
				w.Record[id] = plan.Entry{ID: id, Version: "v1", Pending: true}
				w.Live[id] = plan.Live{Presence: plan.Absent}
				w.rehearsed(id, applied(manifest(w.t, "ConfigMap", "a")), true)
			},
			"create ConfigMap/a",
		},
		"the doubt was none": {
			func(w *world) { doubtful(w) },
			"unchanged ConfigMap/a",
		},
		"somebody edited it": {
			func(w *world) {
				id := doubtful(w)
				w.edit(id, func(u *unstructured.Unstructured) { u.Object["data"] = map[string]any{"key": "edited"} })
			},
			"configure ConfigMap/a (corrects)",
		},
		"the set wants something else": {
			func(w *world) {
				id := doubtful(w)
				w.entry(id, func(e *plan.Entry) { e.Desired = "what was wanted before" })
				w.Rehearsals[id].Result.Object["data"] = map[string]any{"key": "new"}
			},
			"configure ConfigMap/a",
		},
		"an annotation would change": {
			func(w *world) {
				id := doubtful(w)
				w.Rehearsals[id].Result.SetAnnotations(map[string]string{"a": "b"})
			},
			"configure ConfigMap/a (corrects)",
		},
		"only its status would change": {
			func(w *world) {
				id := doubtful(w)
				w.Rehearsals[id].Result.Object["status"] = map[string]any{"ready": true}
			},
			"unchanged ConfigMap/a",
		},
		"only the fields that we own would change": {
			func(w *world) {
				id := doubtful(w)
				w.edit(id, func(u *unstructured.Unstructured) { u.SetManagedFields(nil) })
			},
			"configure ConfigMap/a (corrects)",
		},
		"a field was added with kubectl": {
			func(w *world) {
				id := doubtful(w)
				add(w.Rehearsals[id].Result, owned("kubectl-edit", metav1.ManagedFieldsOperationUpdate, `{"f:data":{"f:added":{}}}`))
			},
			"configure ConfigMap/a (corrects) (cleans up)",
		},
		"a field was added with kubectl and the object merges": {
			func(w *world) {
				id := doubtful(w)
				for _, u := range []*unstructured.Unstructured{w.Wants[0].Object, w.Rehearsals[id].Result} {
					u.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "Merge"})
				}
				w.edit(id, func(u *unstructured.Unstructured) {
					u.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "Merge"})
				})
				add(w.Rehearsals[id].Result, owned("kubectl-edit", metav1.ManagedFieldsOperationUpdate, `{"f:data":{"f:added":{}}}`))
			},
			"unchanged ConfigMap/a",
		},
		"its namespace comes with the set": {
			func(w *world) {
				id := w.wanted("ConfigMap", "a").ID
				w.Rehearsals[id] = plan.Rehearsal{Deferred: true}
			},
			"later ConfigMap/a: its namespace or kind comes with the same set",
		},
		"its namespace comes with the set, and it opted out": {
			func(w *world) {
				id := w.wanted("ConfigMap", "a").ID
				w.Wants[0].Object.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "disabled"})
				w.Live[id], w.Rehearsals[id] = plan.Live{}, plan.Rehearsal{Deferred: true}
			},
			"skip ConfigMap/a: reconcile is disabled on the object",
		},
		"nobody knows whether it is there": {
			func(w *world) {
				id := w.wanted("ConfigMap", "a").ID
				w.Live[id] = plan.Live{Cause: cause.Cause{Code: cause.ServerUnavailable}}
			},
			"refuse ConfigMap/a: its state is unknown: ServerUnavailable",
		},
		"nobody asked the server": {
			func(w *world) { w.wanted("ConfigMap", "a") },
			"refuse ConfigMap/a: the server was not asked what would happen",
		},
		"the server refuses it": {
			func(w *world) { w.refused(w.wanted("ConfigMap", "a").ID, cause.InvalidObject) },
			"refuse ConfigMap/a: InvalidObject: as the server said",
		},
		"the server refuses it, force or not": {
			func(w *world) {
				w.refused(w.settled("ConfigMap", "a"), cause.InvalidObject)
				w.entry(w.Wants[0].ID, func(e *plan.Entry) { e.Desired = "x" })
				w.policy.Force = true
			},
			"refuse ConfigMap/a: InvalidObject: as the server said",
		},
		"a field can't be changed": {
			func(w *world) {
				w.refused(w.settled("ConfigMap", "a"), cause.ImmutableField)
				w.entry(w.Wants[0].ID, func(e *plan.Entry) { e.Desired = "x" })
			},
			"refuse ConfigMap/a: ImmutableField: as the server said",
		},
		"a field can't be changed, with force": {
			func(w *world) {
				w.refused(w.settled("ConfigMap", "a"), cause.ImmutableField)
				w.entry(w.Wants[0].ID, func(e *plan.Entry) { e.Desired = "x" })
				w.policy.Force = true
			},
			"replace ConfigMap/a: ImmutableField: as the server said",
		},
		"a field can't be changed, with force on the object": {
			func(w *world) {
				w.refused(w.settled("ConfigMap", "a"), cause.ImmutableField)
				w.entry(w.Wants[0].ID, func(e *plan.Entry) { e.Desired = "x" })
				w.Wants[0].Object.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/force": "Enabled"})
			},
			"replace ConfigMap/a: ImmutableField: as the server said",
		},
		"a field of a claim can't be changed, with force": {
			func(w *world) {
				w.refused(w.settled("PersistentVolumeClaim", "a"), cause.ImmutableField)
				w.entry(w.Wants[0].ID, func(e *plan.Entry) { e.Desired = "x" })
				w.policy.Force = true
			},
			"refuse PersistentVolumeClaim/a: ImmutableField: as the server said; a PersistentVolumeClaim is never replaced, force or not",
		},
		"it is being deleted": {
			func(w *world) {
				id := doubtful(w)
				w.edit(id, func(u *unstructured.Unstructured) {
					now := metav1.Now()
					u.SetDeletionTimestamp(&now)
					u.SetFinalizers([]string{"example.test/hold"})
				})
			},
			"refuse ConfigMap/a: BeingDeleted: finalizers example.test/hold",
		},
		"another owner has it on record, with other content": {
			func(w *world) {
				id := doubtful(w)
				w.Claims[id] = other
				w.Rehearsals[id].Result.Object["data"] = map[string]any{"key": "new"}
			},
			"conflict ConfigMap/a: it belongs to Kustomization/apps/other",
		},
		"another owner has it on record, with the same content": {
			func(w *world) {
				id := doubtful(w)
				w.Claims[id] = other
				w.edit(id, func(u *unstructured.Unstructured) { u.SetLabels(other.Labels()) })
			},
			"skip ConfigMap/a: rendered identically by Kustomization/apps/other, which keeps it",
		},
		"an owner of another kind has it on record, and it is to be adopted": {
			func(w *world) {
				id := doubtful(w)
				w.Claims[id], w.policy.Adopt = plan.Inventory("apps", "other"), true
				w.Rehearsals[id].Result.Object["data"] = map[string]any{"key": "new"}
			},
			"conflict ConfigMap/a: it belongs to Inventory/apps/other, from which it can't be adopted: that would go on applying and pruning it. " +
				"It has to let the object go first: take it out of what it applies, or delete it with the deletion policy Orphan",
		},
		"another owner has it on record, and the server refuses ours": {
			func(w *world) {
				id := doubtful(w)
				w.Claims[id] = other
				w.refused(id, cause.InvalidObject)
			},
			"conflict ConfigMap/a: it belongs to Kustomization/apps/other",
		},
		"reconcile is disabled in the set": {
			func(w *world) {
				doubtful(w)
				w.Wants[0].Object.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "disabled"})
			},
			"skip ConfigMap/a: reconcile is disabled on the object",
		},
		"reconcile is disabled in the cluster, by a label": {
			func(w *world) {
				id := doubtful(w)
				w.edit(id, func(u *unstructured.Unstructured) {
					u.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "Disabled"})
				})
			},
			"skip ConfigMap/a: reconcile is disabled on the object",
		},
		"it is to be ignored": {
			func(w *world) {
				w.refused(w.wanted("ConfigMap", "a").ID, cause.InvalidObject)
				w.Wants[0].Object.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "Ignore"})
			},
			"skip ConfigMap/a: server-side apply is set to Ignore on the object",
		},
		"it is only to be made, and is there": {
			func(w *world) {
				doubtful(w)
				w.Wants[0].Object.SetAnnotations(map[string]string{"inventory.kustomizer.dev/ssa": "IfNotPresent"})
			},
			"skip ConfigMap/a: it exists, and server-side apply is set to IfNotPresent",
		},
		"it is only to be made, and is not there": {
			func(w *world) {
				id := w.wanted("ConfigMap", "a").ID
				w.rehearsed(id, applied(manifest(w.t, "ConfigMap", "a")), true)
				w.Wants[0].Object.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"})
			},
			"create ConfigMap/a",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.facts(w)
			if diff := cmp.Diff([]string{c.want}, actions(w.decide())); diff != "" {
				t.Errorf("decided (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSettled(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(w *world, id object.ID)
		want   bool
	}{
		"nothing changed":              {func(*world, object.ID) {}, true},
		"the set wants something else": {func(w *world, _ object.ID) { w.Wants[0].Hash = "other" }, false},
		"it is gone":                   {func(w *world, id object.ID) { w.Live[id] = plan.Live{Presence: plan.Absent} }, false},
		"nobody knows":                 {func(w *world, id object.ID) { w.Live[id] = plan.Live{} }, false},
		"it is another object":         {func(w *world, id object.ID) { w.Live[id].Object.SetUID("other") }, false},
		"we died while applying it":    {func(w *world, id object.ID) { w.entry(id, func(e *plan.Entry) { e.Pending = true }) }, false},
		"it was only kept":             {func(w *world, id object.ID) { w.entry(id, func(e *plan.Entry) { e.Retained = true }) }, false},
		"it was never proven":          {func(w *world, id object.ID) { w.entry(id, func(e *plan.Entry) { e.Unproven = true }) }, false},
		"no fingerprint was kept":      {func(w *world, id object.ID) { w.entry(id, func(e *plan.Entry) { e.Live = "" }) }, false},
		"it is being deleted":          {func(w *world, id object.ID) { now := metav1.Now(); w.Live[id].Object.SetDeletionTimestamp(&now) }, false},
		"a value was edited":           {func(w *world, id object.ID) { w.Live[id].Object.Object["data"] = map[string]any{"key": "x"} }, false},
		"a label was stripped":         {func(w *world, id object.ID) { w.Live[id].Object.SetLabels(nil) }, false},
		"its status changed":           {func(w *world, id object.ID) { w.Live[id].Object.Object["status"] = map[string]any{"x": "y"} }, true},
		"another manager added a field": {func(w *world, id object.ID) {
			add(w.Live[id].Object, owned("operator", metav1.ManagedFieldsOperationUpdate, `{"f:data":{"f:x":{}}}`))
		}, true},
		"kubectl added a field": {func(w *world, id object.ID) {
			add(w.Live[id].Object, owned("kubectl-edit", metav1.ManagedFieldsOperationUpdate, `{"f:data":{"f:x":{}}}`))
		}, false},
		"kubectl scaled it": {func(w *world, id object.ID) {
			e := owned("kubectl", metav1.ManagedFieldsOperationUpdate, `{"f:spec":{"f:replicas":{}}}`)
			e.Subresource = "scale"
			add(w.Live[id].Object, e)
		}, true},
		"a manager the fleet overrides": {func(w *world, id object.ID) {
			w.policy.Overrides = []string{"operator"}
			add(w.Live[id].Object, owned("operator", metav1.ManagedFieldsOperationUpdate, `{"f:data":{"f:x":{}}}`))
		}, false},
		"kubectl applied it before us": {func(w *world, id object.ID) {
			add(w.Live[id].Object, owned("before-first-apply", metav1.ManagedFieldsOperationUpdate, `{"f:data":{"f:x":{}}}`))
		}, false},
		"we wrote it in another way once": {func(w *world, id object.ID) {
			add(w.Live[id].Object, owned(self.Manager, metav1.ManagedFieldsOperationUpdate, `{"f:data":{"f:x":{}}}`))
		}, false},
		"it was restarted": {func(w *world, id object.ID) {
			add(w.Live[id].Object, owned("kubectl-rollout", metav1.ManagedFieldsOperationUpdate,
				`{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/restartedAt":{}}}}}}`))
		}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id := w.settled("ConfigMap", "a")
			c.change(w, id)
			if got := plan.Settled(self, w.Wants[0], w.Record[id], w.Live[id], w.policy); got != c.want {
				t.Errorf("settled: %t", got)
			}
		})
	}
}

func TestDecideAboutOneStaleObject(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		kind  string
		facts func(w *world, id object.ID)
		want  string
	}{
		"it is ours":    {"ConfigMap", func(*world, object.ID) {}, "delete ConfigMap/a"},
		"it is gone":    {"ConfigMap", func(w *world, id object.ID) { w.Live[id] = plan.Live{Presence: plan.Absent} }, "forget ConfigMap/a: it is gone"},
		"nobody looked": {"ConfigMap", func(w *world, id object.ID) { delete(w.Live, id) }, "keep ConfigMap/a: its state is unknown"},
		"nobody can look": {"ConfigMap", func(w *world, id object.ID) { w.Live[id] = plan.Live{Cause: cause.Cause{Code: cause.DiscoveryFailed}} },
			"keep ConfigMap/a: its state is unknown: DiscoveryFailed"},
		"its labels are gone": {"ConfigMap", func(w *world, id object.ID) { w.Live[id].Object.SetLabels(nil) },
			"forget ConfigMap/a: it no longer carries our owner labels"},
		"its labels are another's": {"ConfigMap", func(w *world, id object.ID) {
			w.Live[id].Object.SetLabels(plan.Kustomization("apps", "other").Labels())
		},
			"forget ConfigMap/a: it no longer carries our owner labels"},
		"prune is off": {"ConfigMap", func(w *world, _ object.ID) { w.policy.Prune = false }, "keep ConfigMap/a: prune is off"},
		"it was never proven": {"ConfigMap", func(w *world, id object.ID) { w.entry(id, func(e *plan.Entry) { e.Unproven = true }) },
			"keep ConfigMap/a: no record proves that we applied it"},
		"it is a namesake": {"ConfigMap", func(w *world, id object.ID) { w.Live[id].Object.SetUID("other") },
			"keep ConfigMap/a: it is not the object we applied, but a namesake with our labels"},
		"we died while applying it": {"ConfigMap", func(w *world, id object.ID) { w.entry(id, func(e *plan.Entry) { e.Pending, e.UID = true, "" }) },
			"delete ConfigMap/a"},
		"we died before applying it, and it is somebody else's": {"ConfigMap", func(w *world, id object.ID) {
			w.entry(id, func(e *plan.Entry) { e.Pending, e.UID = true, "" })
			w.Live[id].Object.SetManagedFields([]metav1.ManagedFieldsEntry{owned("operator", metav1.ManagedFieldsOperationUpdate, `{"f:data":{}}`)})
		}, "keep ConfigMap/a: it carries our labels, but we never applied it"},
		"it was retained, and prune is on": {"ConfigMap", func(w *world, id object.ID) { w.entry(id, func(e *plan.Entry) { e.Retained = true }) }, "delete ConfigMap/a"},
		"another owner has it in its set": {"ConfigMap", func(w *world, id object.ID) {
			w.Claimants = map[object.ID]plan.Owner{id: plan.Kustomization("apps", "other")}
		}, "keep ConfigMap/a: Kustomization/apps/other has it in its set, and is to take it over"},
		"another owner has it in its set, and it is not ours": {"ConfigMap", func(w *world, id object.ID) {
			w.Claimants = map[object.ID]plan.Owner{id: plan.Kustomization("apps", "other")}
			w.Live[id].Object.SetLabels(nil)
		}, "forget ConfigMap/a: it no longer carries our owner labels"},
		"it was only claimed, and somebody copied our labels": {"ConfigMap", func(w *world, id object.ID) { w.entry(id, func(e *plan.Entry) { e.Claimed = true }) },
			"forget ConfigMap/a: it is another owner's"},
		"nobody may say who else has it": {"ConfigMap", func(w *world, _ object.ID) { w.Unseen = "listing is forbidden" },
			"hold ConfigMap/a: held: listing is forbidden"},
		"nobody may say who else has it, and the brake is off": {"ConfigMap", func(w *world, _ object.ID) { w.Unseen, w.policy.GuardOff = "listing is forbidden", true },
			"delete ConfigMap/a"},
		"prune is disabled on it": {"ConfigMap", func(w *world, id object.ID) {
			w.Live[id].Object.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/prune": "disabled"})
		}, "keep ConfigMap/a: prune is disabled on the object"},
		"reconcile is disabled on it": {"ConfigMap", func(w *world, id object.ID) {
			w.Live[id].Object.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "Disabled"})
		}, "keep ConfigMap/a: reconcile is disabled on the object"},
		"it is to be ignored": {"ConfigMap", func(w *world, id object.ID) {
			w.Live[id].Object.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "Ignore"})
		}, "keep ConfigMap/a: server-side apply is set to Ignore on the object"},
		"it is already going": {"ConfigMap", func(w *world, id object.ID) {
			now := metav1.Now()
			w.Live[id].Object.SetDeletionTimestamp(&now)
		}, "keep ConfigMap/a: it is being deleted"},
		"it is the agent's namespace": {"Namespace", func(w *world, _ object.ID) { w.policy.Protected = []string{"a"} },
			"keep Namespace/a: this namespace is never deleted"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for range 9 {
				w.settled("ConfigMap", "other-"+strings.Repeat("x", len(w.Wants)+1))
			}
			id := w.stale(c.kind, "a")
			c.facts(w, id)
			got := actions(w.decide())[9:]
			if diff := cmp.Diff([]string{c.want}, []string{strings.TrimSpace(got[0])}); diff != "" || len(got) != 1 {
				t.Errorf("decided (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSystemNamespacesAreNeverDeleted(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		w := newWorld(t)
		w.stale("Namespace", name)
		w.policy.GuardOff = true
		for _, p := range []*plan.Plan{w.decide(), plan.Teardown(&w.Facts, w.policy)} {
			if n := len(p.Deletions()); n != 0 {
				t.Errorf("%s would be deleted", name)
			}
		}
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, kind := range []string{"Deployment", "ConfigMap", "Namespace", "CustomResourceDefinition"} {
		id := w.settled(kind, "a")
		w.entry(id, func(e *plan.Entry) { e.Live = "x" })
		w.stale(kind, "b")
	}
	w.policy.GuardOff = true
	var got []string
	for _, line := range actions(w.decide()) {
		_, rest, _ := strings.Cut(line, " ")
		name, _, _ := strings.Cut(rest, ":")
		got = append(got, name)
	}
	want := []string{
		"CustomResourceDefinition/a", "Namespace/a", "ConfigMap/a", "Deployment/a",
		"Deployment/b", "ConfigMap/b", "Namespace/b", "CustomResourceDefinition/b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestTeardown(t *testing.T) {
	t.Parallel()
	facts := func(t *testing.T) *world {
		w := newWorld(t)
		for _, kind := range []string{"ConfigMap", "Deployment", "PersistentVolumeClaim"} {
			w.stale(kind, "a")
		}
		w.stake(w.stale("Namespace", "shop"), func(s *plan.Stake) {
			s.Holds = []object.ID{{Kind: "ConfigMap", Namespace: "shop", Name: "a"}, {Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "a"}}
		})
		w.stale("Namespace", "empty")
		w.Live[w.stale("Secret", "unknown")] = plan.Live{}
		w.policy.Prune = false
		return w
	}
	t.Run("spares what is protected, and what it is in", func(t *testing.T) {
		t.Parallel()
		w := facts(t)
		p := plan.Teardown(&w.Facts, w.policy)
		want := []string{
			"keep PersistentVolumeClaim/a: it is protected: it holds data", "delete Deployment/a",
			"keep Secret/unknown: its state is unknown", "delete ConfigMap/a",
			"keep Namespace/shop: it is protected: it holds PersistentVolumeClaim/shop/a", "delete Namespace/empty",
		}
		if diff := cmp.Diff(want, actions(p)); diff != "" {
			t.Errorf("decided (-want +got):\n%s", diff)
		}
		if p.Brake != nil || p.Spared == nil || p.Spared.Released || len(p.Spared.Objects) != 2 {
			t.Fatalf("brake %+v, spared %+v", p.Brake, p.Spared)
		}
		w.policy.Approved = p.Spared.Hash
		if p := plan.Teardown(&w.Facts, w.policy); len(p.Deletions()) != 5 || !p.Spared.Released {
			t.Errorf("approved, but not released: %s", actions(p))
		}
		w.Origin = "sha256:two@1"
		if p := plan.Teardown(&w.Facts, w.policy); len(p.Deletions()) != 3 {
			t.Errorf("released by the approval of something else: %s", actions(p))
		}
	})
	t.Run("goes on with what was released", func(t *testing.T) {
		t.Parallel()
		w := facts(t)
		for id, e := range w.Record {
			e.Released = plan.ReleaseMark(w.Origin, e.UID)
			w.Record[id] = e
		}
		drop(w, "a") // what is left is another plan than the one that was approved
		if p := plan.Teardown(&w.Facts, w.policy); len(p.Deletions()) != 2 || p.Spared != nil {
			t.Errorf("held again: %s", actions(p))
		}
	})
	t.Run("takes them where the guard is off", func(t *testing.T) {
		t.Parallel()
		w := facts(t)
		w.policy.GuardOff = true
		if n := len(plan.Teardown(&w.Facts, w.policy).Deletions()); n != 5 {
			t.Errorf("%d deletions", n)
		}
	})
	t.Run("has no thresholds, and no opinion about nested Kustomizations", func(t *testing.T) {
		t.Parallel()
		w := shrink(t, 20, 20)
		w.stale("Kustomization", "child")
		if p := plan.Teardown(&w.Facts, w.policy); len(p.Deletions()) != 21 || p.Spared != nil {
			t.Errorf("decided: %s", actions(p))
		}
	})
}
