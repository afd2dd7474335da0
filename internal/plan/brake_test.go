// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/object"
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

// held is how a plan that deletes protected objects says so.
func held(why string) string { return "protected objects would be deleted: " + why }

func TestBrakeProtects(t *testing.T) {
	t.Parallel()
	of := func(kind, name string) object.ID { return object.ID{Kind: kind, Namespace: "shop", Name: name} }
	things := func(u *unstructured.Unstructured) {
		u.Object["spec"] = map[string]any{"group": "example.com", "names": map[string]any{"kind": "Thing"}}
	}
	thing := object.ID{Group: "example.com", Kind: "Thing", Namespace: "shop", Name: "one"}
	cases := map[string]struct {
		facts func(w *world)
		want  string // nothing: not held
	}{
		"a claim goes":  {func(w *world) { w.stale("PersistentVolumeClaim", "data") }, held("PersistentVolumeClaim/shop/data (it holds data)")},
		"a volume goes": {func(w *world) { w.stale("PersistentVolume", "data") }, held("PersistentVolume/data (it holds data)")},
		"a StatefulSet with data goes": {func(w *world) {
			w.edit(w.stale("StatefulSet", "db"), func(u *unstructured.Unstructured) {
				u.Object["spec"] = map[string]any{"volumeClaimTemplates": []any{map[string]any{}}}
			})
		}, held("StatefulSet/shop/db (it claims volumes)")},
		"a StatefulSet without data goes": {func(w *world) { w.stale("StatefulSet", "cache") }, ""},
		"what owns claims goes": {func(w *world) {
			w.stake(w.stale("ConfigMap", "owner"), func(s *plan.Stake) { s.Claims = []object.ID{of("PersistentVolumeClaim", "data")} })
		}, held("ConfigMap/shop/owner (it owns PersistentVolumeClaim/shop/data)")},
		"nobody looked what would go with it": {func(w *world) { delete(w.Stakes, w.stale("ConfigMap", "a")) },
			held("ConfigMap/shop/a (nobody looked what would go with it)")},
		"it is not known what would go with it": {func(w *world) {
			w.stake(w.stale("Namespace", "shop"), func(s *plan.Stake) { s.Doubt = "what it holds: listing pods: forbidden" })
		}, held("Namespace/shop (it is not known what would go with it: what it holds: listing pods: forbidden)")},

		"an empty namespace goes": {func(w *world) { w.stale("Namespace", "old") }, ""},
		"a namespace goes with what is in it": {func(w *world) {
			w.Wants = w.Wants[1:] // all that is left is in no namespace
			clear(w.Record)
			for _, want := range w.Wants {
				w.remembered(want.Object)
			}
			app := w.stale("ConfigMap", "app")
			w.stake(w.stale("Namespace", "shop"), func(s *plan.Stake) { s.Holds = []object.ID{app} })
		}, ""},
		"a namespace holds what is not ours": {func(w *world) {
			w.stake(w.stale("Namespace", "old"), func(s *plan.Stake) {
				s.Holds = []object.ID{of("Pod", "d"), of("Pod", "a"), of("Pod", "b"), of("Pod", "c")}
			})
		}, held("Namespace/old (it holds Pod/shop/a, Pod/shop/b, Pod/shop/c, and 1 more)")},
		"a namespace holds more than was looked at": {func(w *world) {
			w.stake(w.stale("Namespace", "old"), func(s *plan.Stake) { s.Holds, s.More = []object.ID{of("Pod", "a")}, true })
		}, held("Namespace/old (it holds Pod/shop/a, and more)")},
		"a namespace holds what is ours and stays": {func(w *world) {
			kept := w.stale("ConfigMap", "kept")
			w.edit(kept, func(u *unstructured.Unstructured) {
				u.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/prune": "disabled"})
			})
			w.stake(w.stale("Namespace", "old"), func(s *plan.Stake) { s.Holds = []object.ID{kept} })
		}, held("Namespace/old (it holds ConfigMap/shop/kept)")},
		"a namespace goes in which the set lives": {func(w *world) { w.stale("Namespace", "shop") },
			held("Namespace/shop (it holds Deployment/shop/web)")},

		"a definition of nothing goes": {func(w *world) { w.edit(w.stale("CustomResourceDefinition", "things"), things) }, ""},
		"a definition goes with its only object": {func(w *world) {
			one := w.remembered(parse(w.t, "{apiVersion: example.com/v1, kind: Thing, metadata: {name: one, namespace: shop, labels: {kustomize.toolkit.fluxcd.io/name: shop, kustomize.toolkit.fluxcd.io/namespace: apps}}}"))
			w.Stakes[one] = plan.Stake{Looked: true}
			id := w.stale("CustomResourceDefinition", "things")
			w.edit(id, things)
			w.stake(id, func(s *plan.Stake) { s.Holds = []object.ID{one} })
		}, ""},
		"there are others' objects of a definition": {func(w *world) {
			id := w.stale("CustomResourceDefinition", "things")
			w.edit(id, things)
			w.stake(id, func(s *plan.Stake) { s.Holds = []object.ID{thing} })
		}, held("CustomResourceDefinition/things (it defines the kind of Thing/shop/one)")},

		"the kind of a common operator goes": {func(w *world) {
			id := w.remembered(parse(w.t, "{apiVersion: postgresql.cnpg.io/v1, kind: Cluster, metadata: {name: db, namespace: shop, labels: {kustomize.toolkit.fluxcd.io/name: shop, kustomize.toolkit.fluxcd.io/namespace: apps}}}"))
			w.Stakes[id] = plan.Stake{Looked: true}
		}, held("Cluster/shop/db (its kind is protected)")},
		"a kind that was named goes": {func(w *world) {
			w.policy.ProtectKinds = []schema.GroupKind{{Kind: "Secret"}}
			w.stale("Secret", "key")
		}, held("Secret/shop/key (its kind is protected)")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.settled("Deployment", "web")
			for i := range 3 {
				w.settled("ClusterRole", fmt.Sprintf("r%d", i))
			}
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
			if p := w.decide(); p.Brake != nil || len(p.Deletions()) == 0 {
				t.Errorf("held with the guard off: %s", actions(p))
			}
		})
	}
}

// nesting has a Kustomization go that has objects of its own.
func nesting(t testing.TB, all bool, kinds ...string) *world {
	w := newWorld(t)
	for i := range 8 {
		w.settled("ConfigMap", fmt.Sprintf("cm-%d", i))
	}
	w.settled("Kustomization", "other")
	n := plan.Nested{Owner: plan.Kustomization("shop", "child"), All: all}
	for i, kind := range kinds {
		u := manifest(t, kind, fmt.Sprintf("nested-%02d", i))
		n.Entries = append(n.Entries, plan.Entry{ID: object.Of(u), UID: fmt.Sprint(i)})
	}
	w.stake(w.stale("Kustomization", "child"), func(s *plan.Stake) { s.Nested = []plan.Nested{n} })
	return w
}

func TestNestedKustomizationsCountWithAllTheyWouldDelete(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		world func() *world
		want  string
	}{
		"of nothing":  {func() *world { return nesting(t, false) }, ""},
		"of a little": {func() *world { return nesting(t, false, "ConfigMap", "Service") }, ""},
		"of more than all the rest": {func() *world { return nesting(t, false, slices.Repeat([]string{"ConfigMap"}, 10)...) },
			"11 of 20 objects would be deleted, 10 of them with nested Kustomizations"},
		"of data, which its policy spares": {func() *world { return nesting(t, false, "PersistentVolumeClaim", "PersistentVolume") }, ""},
		"of data, which its policy takes": {func() *world { return nesting(t, true, "PersistentVolumeClaim") },
			held("Kustomization/shop/child (it takes PersistentVolumeClaim/shop/nested-00 with it)")},
		"of what is only kept": {func() *world {
			w := nesting(t, true, slices.Repeat([]string{"PersistentVolumeClaim"}, 20)...)
			for _, s := range w.Stakes {
				for _, n := range s.Nested {
					for i := range n.Entries {
						n.Entries[i].Retained, n.Entries[i].Unproven = i%2 == 0, i%2 == 1
					}
				}
			}
			return w
		}, ""},
		"of what can't be known": {func() *world {
			w := nesting(t, false)
			for id := range w.Stakes {
				w.stake(id, func(s *plan.Stake) { s.Doubt = "the record is damaged" })
			}
			return w
		}, held("Kustomization/shop/child (it is not known what would go with it: the record is damaged)")},
		"of the last workload": {func() *world {
			w := nesting(t, false, "Deployment")
			w.Wants = slices.DeleteFunc(w.Wants, func(want plan.Want) bool { return want.ID.Kind == "Kustomization" })
			delete(w.Record, object.ID{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization", Namespace: "shop", Name: "other"})
			return w
		}, "the last workload would be deleted"},
		"of a workload, while another Kustomization stays": {func() *world { return nesting(t, false, "Deployment") }, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if b := c.world().decide().Brake; b != nil {
				got = b.Reason
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("an approval is for what goes with it, too", func(t *testing.T) {
		t.Parallel()
		w := nesting(t, true, "PersistentVolumeClaim")
		w.policy.Approved = w.decide().Brake.Hash
		if !w.decide().Brake.Released {
			t.Error("not released")
		}
		for _, s := range w.Stakes {
			if len(s.Nested) > 0 {
				s.Nested[0].Entries[0].UID = "another"
			}
		}
		if w.decide().Brake.Released {
			t.Error("released, and something else would go with it")
		}
	})
}

func TestFleetLimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		going, elsewhere, limit int
		held                    bool
	}{
		"as many as may":   {5, 95, 100, false},
		"one too many":     {5, 96, 100, true},
		"all of them here": {5, 0, 4, true},
		"no limit":         {5, 1000, 0, false},
		"nothing here":     {0, 1000, 100, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := shrink(t, 50, c.going)
			w.Fleet, w.policy.FleetLimit = c.elsewhere, c.limit
			p := w.decide()
			if (p.Brake != nil) != c.held {
				t.Fatalf("brake %+v", p.Brake)
			}
			if got := plan.Demand(&w.Facts, p, w.policy); got != c.going {
				t.Errorf("demands %d deletions", got)
			}
			if c.held {
				w.policy.Approved = p.Brake.Hash
				p = w.decide()
				if len(p.Deletions()) != c.going || plan.Demand(&w.Facts, p, w.policy) != 0 {
					t.Errorf("approved, and %d deletions, %d in demand", len(p.Deletions()), plan.Demand(&w.Facts, p, w.policy))
				}
			}
		})
	}
}

// An approval is for all deletions of a plan together. When some of them are made, what is left goes
// by what was written down, as long as it is the same object for the same origin.
func TestReleasedDeletionsAreNotHeldAgain(t *testing.T) {
	t.Parallel()
	base := func() *world {
		w := shrink(t, 5, 4)
		for id, e := range w.Record {
			e.Released = plan.ReleaseMark(w.Origin, e.UID)
			w.Record[id] = e
		}
		drop(w, "cm-000")
		return w
	}
	if p := base().decide(); p.Brake != nil || len(p.Deletions()) != 3 {
		t.Errorf("held again: %+v", p.Brake)
	}
	for name, change := range map[string]func(w *world){
		"another origin":  func(w *world) { w.Origin = "sha256:two@1" },
		"another objects": func(w *world) { renew(w, "cm-001"); renew(w, "cm-002"); renew(w, "cm-003") },
	} {
		w := base()
		change(w)
		if p := w.decide(); p.Brake == nil || len(p.Deletions()) > 0 {
			t.Errorf("%s: %d deletions", name, len(p.Deletions()))
		}
	}
	// What joins them is judged by itself, and does not hold them up.
	w := base()
	w.stale("PersistentVolumeClaim", "data")
	if p := w.decide(); p.Brake == nil || len(p.Brake.Objects) != 1 || len(p.Deletions()) != 3 {
		t.Errorf("brake %+v, %d deletions", p.Brake, len(p.Deletions()))
	}
}

func TestKindsAreParsed(t *testing.T) {
	t.Parallel()
	got, err := plan.ParseKinds([]string{"Database.example.com", "Secret"})
	want := []schema.GroupKind{{Group: "example.com", Kind: "Database"}, {Kind: "Secret"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", ".example.com", "Database.", "databases/v1", "*.example.com"} {
		if _, err := plan.ParseKinds([]string{bad}); err == nil {
			t.Errorf("%q is taken for a kind", bad)
		}
	}
	for _, kind := range plan.StatefulKinds() {
		if kind.Group == "" || kind.Kind == "" {
			t.Errorf("%q names no kind of an operator", kind)
		}
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
