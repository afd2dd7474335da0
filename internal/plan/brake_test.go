// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/plan"
)

// shrink has a set of remembered objects of which some go.
func shrink(t testing.TB, total, going int) *world {
	w := newWorld(t)
	for i := range total {
		if name := fmt.Sprintf("cm-%03d", i); i < going {
			w.stale("ConfigMap", name)
		} else {
			w.settled("ConfigMap", name)
		}
	}
	return w
}

func TestBrakeHoldsMassDeletion(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name         string
		total, going int
		held         bool
	}{
		{"one of twenty", 20, 1, false},
		{"two of three: fewer than three go", 3, 2, false},
		{"two of two but one stays", 3, 1, false},
		{"three of five: more than half", 5, 3, true},
		{"three of six: half, not more", 6, 3, false},
		{"three of seven: less than half", 7, 3, false},
		{"ten of twenty: not more than ten, not more than half", 20, 10, false},
		{"ten of nineteen: more than half", 19, 10, true},
		{"eleven of thirty-six: more than ten, more than 30 %", 36, 11, true},
		{"eleven of thirty-seven: less than 30 %", 37, 11, false},
		{"twelve of forty: 30 %, not more", 40, 12, false},
		{"thirteen of forty: more than 30 %", 40, 13, true},
		{"all of them", 4, 4, true},
		{"all of one", 1, 1, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := shrink(t, c.total, c.going).decide()
			if held := p.Brake != nil; held != c.held {
				t.Fatalf("held: %t (%+v)", held, p.Brake)
			}
			deletions := c.going
			if c.held {
				deletions = 0
				if len(p.Brake.Objects) != c.going {
					t.Errorf("names %d objects", len(p.Brake.Objects))
				}
			}
			if got := len(p.Deletions()); got != deletions {
				t.Errorf("%d deletions, want %d", got, deletions)
			}
		})
	}
}

func TestBrakeDoesNotCountWhatWasOnlyKept(t *testing.T) {
	t.Parallel()
	w := shrink(t, 6, 3)
	if w.decide().Brake != nil {
		t.Fatal("three of six are held")
	}
	// Two of those that stay were retained: then it is three of four.
	for _, name := range []string{"cm-003", "cm-004"} {
		for id, e := range w.Record {
			if id.Name == name {
				e.Retained = true
				w.Record[id] = e
			}
		}
	}
	if w.decide().Brake == nil {
		t.Error("three of four are not held")
	}
}

func TestBrakeSaysWhyItHolds(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		facts func(w *world)
		want  string // nothing: not held
	}{
		"the render is empty": {func(w *world) {
			w.stale("ConfigMap", "a")
			w.Empty = "the tree holds no manifests"
		}, "the new render is empty (the tree holds no manifests) and all 1 objects would be deleted"},
		"the render is empty, nobody knows why": {func(w *world) { w.stale("ConfigMap", "a") },
			"the new render is empty (it has no objects) and all 1 objects would be deleted"},
		"the render is empty and nothing would go": {func(w *world) { w.policy.Prune = false; w.stale("ConfigMap", "a") }, ""},
		"the last workload goes": {func(w *world) { w.settled("ConfigMap", "a"); w.stale("Deployment", "web") },
			"the last workload would be deleted"},
		"the last job goes":      {func(w *world) { w.settled("ConfigMap", "a"); w.stale("CronJob", "nightly") }, "the last workload would be deleted"},
		"another workload stays": {func(w *world) { w.settled("DaemonSet", "a"); w.stale("Deployment", "web") }, ""},
		"a namespace goes":       {func(w *world) { w.settled("ConfigMap", "a"); w.stale("Namespace", "shop") }, "objects of protected kinds would be deleted: Namespace/shop"},
		"a claim goes":           {func(w *world) { w.settled("ConfigMap", "a"); w.stale("PersistentVolumeClaim", "data") }, "objects of protected kinds would be deleted: PersistentVolumeClaim/shop/data"},
		"a volume goes":          {func(w *world) { w.settled("ConfigMap", "a"); w.stale("PersistentVolume", "data") }, "objects of protected kinds would be deleted: PersistentVolume/data"},
		"a definition goes":      {func(w *world) { w.settled("ConfigMap", "a"); w.stale("CustomResourceDefinition", "things") }, "objects of protected kinds would be deleted: CustomResourceDefinition/things"},
		"a nested Kustomization goes": {func(w *world) { w.settled("ConfigMap", "a"); w.stale("Kustomization", "child") },
			"objects of protected kinds would be deleted: Kustomization/shop/child"},
		"a StatefulSet with data goes": {func(w *world) {
			w.settled("Deployment", "a")
			id := w.stale("StatefulSet", "db")
			w.edit(id, func(u *unstructured.Unstructured) {
				u.Object["spec"] = map[string]any{"volumeClaimTemplates": []any{map[string]any{}}}
			})
		}, "objects of protected kinds would be deleted: StatefulSet/shop/db"},
		"a StatefulSet without data goes": {func(w *world) { w.settled("Deployment", "a"); w.stale("StatefulSet", "cache") }, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.facts(w)
			got := ""
			p := w.decide()
			if p.Brake != nil {
				got = p.Brake.Reason
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
			w.policy.GuardOff = true
			if p := w.decide(); p.Brake != nil {
				t.Error("held with the guard off")
			}
		})
	}
}

func TestHeldObjectsAreHeldAndTheRestIsApplied(t *testing.T) {
	t.Parallel()
	w := shrink(t, 5, 3)
	w.stale("Secret", "gone")
	for id := range w.Live {
		if id.Name == "gone" {
			w.Live[id] = plan.Live{Presence: plan.Absent}
		}
	}
	added := w.wanted("ConfigMap", "new")
	w.rehearsed(added.ID, applied(added.Object), true)
	reason := ": held: 3 of 6 objects would be deleted"
	got := actions(w.decide())
	if !slices.Contains(got, "create ConfigMap/new") || !slices.Contains(got, "forget Secret/gone: it is gone") {
		t.Errorf("decided:\n%s", strings.Join(got, "\n"))
	}
	held := slices.DeleteFunc(got, func(line string) bool { return !strings.HasPrefix(line, "hold ") })
	if len(held) != 0 && !strings.Contains(held[0], reason) {
		t.Errorf("held: %s", held)
	}
}

func TestApproval(t *testing.T) {
	t.Parallel()
	base := func() *world { return shrink(t, 5, 4) }
	hash := base().decide().Brake.Hash
	if len(hash) != 64 {
		t.Fatalf("hash %q", hash)
	}
	cases := map[string]struct {
		change func(w *world)
		valid  bool
	}{
		"the same again":       {func(*world) {}, true},
		"another artifact":     {func(w *world) { w.Origin = "sha256:two@1" }, false},
		"another generation":   {func(w *world) { w.Origin = "sha256:one@2" }, false},
		"one object more":      {func(w *world) { w.stale("ConfigMap", "more") }, false},
		"one object is gone":   {func(w *world) { drop(w, "cm-000") }, false},
		"another uid":          {func(w *world) { renew(w, "cm-000") }, false},
		"other objects change": {func(w *world) { w.settled("ConfigMap", "new") }, true},
		"a newer version of an object": {func(w *world) {
			for _, live := range w.Live {
				live.Object.SetResourceVersion("8")
			}
		}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := base()
			c.change(w)
			w.policy.Approved = hash
			p := w.decide()
			if p.Brake == nil {
				t.Fatal("not held at all")
			}
			if p.Brake.Released != c.valid || (len(p.Deletions()) > 0) != c.valid {
				t.Errorf("released %t, %d deletions", p.Brake.Released, len(p.Deletions()))
			}
		})
	}
	t.Run("an empty approval approves nothing", func(t *testing.T) {
		t.Parallel()
		w := base()
		w.policy.Approved = ""
		if w.decide().Brake.Released {
			t.Error("released")
		}
	})
}

func drop(w *world, name string) {
	for id := range w.Live {
		if id.Name == name {
			w.Live[id] = plan.Live{Presence: plan.Absent}
		}
	}
}

// renew has the object replaced by another of that name, which is ours as well.
func renew(w *world, name string) {
	for id, e := range w.Record {
		if id.Name == name {
			e.UID = "new"
			w.Record[id] = e
			w.Live[id].Object.SetUID(types.UID("new"))
		}
	}
}
