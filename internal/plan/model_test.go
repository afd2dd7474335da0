// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// randomWorld makes a small world in which anything can be the case.
func randomWorld(t testing.TB, r *rand.Rand) *world {
	w := newWorld(t)
	kinds := []string{
		"ConfigMap", "Secret", "Deployment", "Namespace", "PersistentVolumeClaim", "StatefulSet", "CustomResourceDefinition", "Kustomization",
	}
	coin := func() bool { return r.IntN(2) == 0 }
	for i := range 1 + r.IntN(6) {
		kind, name := kinds[r.IntN(len(kinds))], fmt.Sprintf("o%d", i)
		u := manifest(t, kind, name)
		id := object.Of(u)
		if coin() {
			w.wanted(kind, name)
			delete(w.Live, id)
		}
		if coin() {
			w.Record[id] = plan.Entry{
				ID: id, Version: "v1", UID: "uid-" + name,
				Pending: r.IntN(5) == 0, Retained: r.IntN(5) == 0, Unproven: r.IntN(5) == 0,
			}
			w.entry(id, func(e *plan.Entry) { e.Released = randomRelease(r, w, e.UID) })
		}
		if kind == "StatefulSet" && coin() {
			u.Object["spec"] = map[string]any{"volumeClaimTemplates": []any{map[string]any{}}}
		}
		w.Live[id] = randomLive(r, applied(u))
		if live := w.Live[id]; live.Presence == plan.Present && coin() {
			result := live.Object.DeepCopy()
			if coin() {
				result.Object["data"] = map[string]any{"key": "new"}
			}
			w.rehearsed(id, result, false)
		} else if coin() {
			w.rehearsed(id, applied(u), live.Presence == plan.Absent)
		} else if r.IntN(4) == 0 {
			w.unanswered(id)
		} else if r.IntN(3) == 0 {
			w.Rehearsals[id] = plan.Rehearsal{Spared: true}
			randomHands(r, w.Live[id].Object)
		} else if coin() {
			w.refused(id, []cause.Code{cause.ImmutableField, cause.InvalidObject}[r.IntN(2)])
		}
		if r.IntN(6) == 0 {
			w.Claims[id] = plan.Kustomization("apps", "other")
		}
	}
	for id := range w.Record {
		w.Stakes[id] = randomStake(r, w)
	}
	w.Fleet = r.IntN(8)
	w.policy = plan.Policy{Prune: r.IntN(4) > 0, Force: coin(), GuardOff: r.IntN(3) == 0, FleetLimit: r.IntN(3) * 5}
	if coin() {
		w.policy.ProtectKinds = []schema.GroupKind{{Kind: "Secret"}}
	}
	return w
}

// randomRelease marks a deletion as approved, as this one or as another one.
func randomRelease(r *rand.Rand, w *world, uid string) string {
	switch r.IntN(8) {
	case 0:
		return plan.ReleaseMark(w.Origin, uid)
	case 1:
		return plan.ReleaseMark("sha256:another@1", uid)
	case 2:
		return plan.ReleaseMark(w.Origin, "another")
	}
	return ""
}

// randomStake says what would go with an object: mostly nothing.
func randomStake(r *rand.Rand, w *world) plan.Stake {
	s := plan.Stake{Looked: r.IntN(8) > 0, More: r.IntN(8) == 0, Agent: r.IntN(8) == 0}
	if r.IntN(8) == 0 {
		s.Doubt = "nobody may list it"
	}
	for id := range w.Record {
		if r.IntN(6) == 0 {
			s.Holds = append(s.Holds, id)
		}
	}
	if r.IntN(6) == 0 {
		s.Holds = append(s.Holds, object.ID{Kind: "Pod", Namespace: "shop", Name: "foreign"})
	}
	if r.IntN(6) == 0 {
		s.Claims = []object.ID{{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "data"}}
	}
	n := plan.Nested{Owner: plan.Kustomization("shop", "child"), All: r.IntN(2) == 0}
	for i := range r.IntN(3) {
		kind := []string{"ConfigMap", "PersistentVolumeClaim", "Deployment"}[r.IntN(3)]
		n.Entries = append(n.Entries, plan.Entry{ID: object.ID{Kind: kind, Namespace: "shop", Name: fmt.Sprint(i)}})
	}
	s.Nested = []plan.Nested{n}
	return s
}

// randomHands has others leave something on an object, now and then.
func randomHands(r *rand.Rand, u *unstructured.Unstructured) {
	if u == nil {
		return
	}
	switch r.IntN(8) {
	case 0:
		add(u, owned("kubectl-edit", metav1.ManagedFieldsOperationUpdate, `{"f:data":{"f:added":{}}}`))
	case 1:
		u.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "Merge"})
	case 2:
		labels := u.GetLabels()
		if labels != nil {
			labels["inventory.kustomizer.dev/name"], labels["inventory.kustomizer.dev/namespace"] = "other", "apps"
			u.SetLabels(labels)
		}
	}
}

func randomLive(r *rand.Rand, u *unstructured.Unstructured) plan.Live {
	switch r.IntN(7) {
	case 0:
		return plan.Live{}
	case 1:
		return plan.Live{Cause: cause.Cause{Code: cause.ServerUnavailable}}
	case 2:
		return plan.Live{Presence: plan.Absent}
	case 3:
		u.SetLabels(nil)
	case 4:
		u.SetUID(types.UID("a namesake"))
	case 5:
		now := metav1.Now()
		u.SetDeletionTimestamp(&now)
	}
	return plan.Live{Presence: plan.Present, Object: u}
}

// What holds for every plan, whatever the facts: FAULTS.md's "no wrong prune" and "unknown is not
// empty", and the brake.
func TestInvariantsOfEveryPlan(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	deleted, held, approved, torn, spared := 0, 0, 0, 0, 0
	blind, single := 0, 0
	for i := range 3000 {
		w := randomWorld(t, r)
		p := plan.Teardown(&w.Facts, w.policy)
		checkProofs(t, w, p)
		checkProtection(t, w, p, p.Spared)
		torn += len(p.Deletions())
		if p.Spared != nil {
			spared++
		}
		p = w.decide()
		check(t, w, p)
		if p.Brake != nil {
			held++
			w.policy.Approved = p.Brake.Hash
			released := w.decide()
			check(t, w, released)
			approved += len(released.Deletions())
		}
		deleted += len(p.Deletions())
		for _, s := range p.Steps {
			if s.Unrehearsed != "" {
				blind++
			}
			if s.Spared {
				single++
			}
		}
		if t.Failed() {
			t.Fatalf("world %d of seed %d", i, seed)
		}
	}
	if blind == 0 || single == 0 {
		t.Errorf("the worlds prove nothing: %d unrehearsed, %d whose rehearsal was spared", blind, single)
	}
	if deleted == 0 || held == 0 || approved == 0 || torn == 0 || spared == 0 {
		t.Errorf("the worlds prove nothing: %d deleted, %d held, %d approved; %d torn down, %d spared", deleted, held, approved, torn, spared)
	}
}

func check(t *testing.T, w *world, p *plan.Plan) {
	t.Helper()
	checkDeletions(t, w, p)
	wanted := map[object.ID]bool{}
	for _, want := range w.Wants {
		wanted[want.ID] = true
	}
	if len(p.Steps) != len(w.Wants) {
		t.Errorf("%d steps for %d objects", len(p.Steps), len(w.Wants))
	}
	for _, s := range p.Steps {
		writes := slices.Contains([]plan.Action{plan.Create, plan.Configure, plan.Replace}, s.Action)
		live := w.Live[s.ID]
		switch {
		case writes && live.Presence == plan.Unknown:
			t.Errorf("%s: %s though nobody knows whether it is there", s.ID, s.Action)
		case writes && w.Rehearsals[s.ID].Result == nil && s.Action != plan.Replace && !unrehearsed(w, s) && !spared(w, s):
			t.Errorf("%s: %s without a rehearsal", s.ID, s.Action)
		case writes && w.Claims[s.ID] != (plan.Owner{}):
			t.Errorf("%s: %s though it is another owner's", s.ID, s.Action)
		case (s.Action == plan.Configure || s.Action == plan.Replace) && s.Live == nil:
			t.Errorf("%s: %s of nothing", s.ID, s.Action)
		case s.Action == plan.Replace && (!w.policy.Force || w.Rehearsals[s.ID].Failed.Code != cause.ImmutableField):
			t.Errorf("%s: replaced without force or need", s.ID)
		case s.Action == plan.Replace && (s.ID.Kind == "Namespace" || s.ID.Kind == "PersistentVolumeClaim"):
			t.Errorf("%s: replaced", s.ID)
		}
	}
	for _, s := range p.Stale {
		if wanted[s.ID] {
			t.Errorf("%s is wanted and stale", s.ID)
		}
		if s.Action == plan.Forget && w.Live[s.ID].Presence == plan.Unknown {
			t.Errorf("%s: forgotten though nobody knows whether it is there", s.ID)
		}
	}
}

// unrehearsed: the server could not say, the step tells because of which webhook, and what lives was
// read all the same.
func unrehearsed(w *world, s plan.Step) bool {
	r := w.Rehearsals[s.ID]
	return r.Webhook != "" && s.Unrehearsed == r.Webhook && s.Reason != "" &&
		(s.Action == plan.Create) == (w.Live[s.ID].Presence == plan.Absent)
}

// spared: nothing else is in doubt, and it is ours to change beyond doubt.
func spared(w *world, s plan.Step) bool {
	e, remembered := w.Record[s.ID]
	live := w.Live[s.ID].Object
	return w.Rehearsals[s.ID].Spared && s.Spared && s.Action == plan.Configure && live != nil &&
		remembered && !e.Pending && !e.Retained && !e.Unproven && !e.Claimed && e.UID == string(live.GetUID()) &&
		self.Marks(live) && live.GetDeletionTimestamp() == nil && live.GetAnnotations() == nil &&
		live.GetLabels()["inventory.kustomizer.dev/name"] == "" && len(live.GetManagedFields()) == 1
}

func checkDeletions(t *testing.T, w *world, p *plan.Plan) {
	t.Helper()
	checkProofs(t, w, p)
	checkProtection(t, w, p, p.Brake)
	free := 0
	for _, s := range p.Deletions() {
		if s.Entry.Released != plan.ReleaseMark(w.Origin, string(s.Live.GetUID())) {
			free++
		}
		if !w.policy.Prune {
			t.Errorf("%s: deleted though prune is off", s.ID)
		}
	}
	if w.policy.GuardOff || p.Brake != nil && p.Brake.Released || free == 0 {
		return
	}
	switch {
	case len(w.Wants) == 0:
		t.Errorf("%d deletions because the render is empty", free)
	case p.Brake != nil:
		t.Errorf("%d deletions while the brake is on", free)
	case w.policy.FleetLimit > 0 && w.Fleet+free > w.policy.FleetLimit:
		t.Errorf("%d deletions beyond the fleet's limit", free)
	}
}

// checkProofs: what is deleted is proven to be ours, whoever asks for it.
func checkProofs(t *testing.T, w *world, p *plan.Plan) {
	t.Helper()
	for _, s := range p.Deletions() {
		e, remembered := w.Record[s.ID]
		live := w.Live[s.ID]
		switch {
		case !remembered:
			t.Errorf("%s: deleted, and never remembered", s.ID)
		case live.Presence != plan.Present:
			t.Errorf("%s: deleted, and not known to be there", s.ID)
		case !self.Marks(live.Object):
			t.Errorf("%s: deleted without our labels", s.ID)
		case e.Unproven:
			t.Errorf("%s: deleted without proof", s.ID)
		case !e.Pending && e.UID != string(live.Object.GetUID()):
			t.Errorf("%s: a namesake is deleted", s.ID)
		case w.Stakes[s.ID].Agent:
			t.Errorf("%s: deleted, and an agent lives in it", s.ID)
		}
	}
}

// checkProtection: no data and no other people's objects go without approval.
func checkProtection(t *testing.T, w *world, p *plan.Plan, brake *plan.Brake) {
	t.Helper()
	if w.policy.GuardOff || brake != nil && brake.Released {
		return
	}
	with := map[object.ID]bool{}
	for _, s := range p.Deletions() {
		with[s.ID] = true
	}
	for _, s := range p.Deletions() {
		if s.Entry.Released == plan.ReleaseMark(w.Origin, string(s.Live.GetUID())) {
			continue
		}
		stake := w.Stakes[s.ID]
		_, templates, _ := unstructured.NestedSlice(s.Live.Object, "spec", "volumeClaimTemplates")
		switch {
		case s.ID.Kind == "PersistentVolumeClaim", s.ID.Kind == "Secret" && len(w.policy.ProtectKinds) > 0, templates:
			t.Errorf("%s: data is deleted without approval", s.ID)
		case !stake.Looked, stake.Doubt != "", len(stake.Claims) > 0:
			t.Errorf("%s: deleted, and it is not known that no data goes with it", s.ID)
		case s.ID.Kind != "Namespace" && s.ID.Kind != "CustomResourceDefinition":
			continue
		}
		if stake.More || slices.ContainsFunc(stake.Holds, func(id object.ID) bool { return !with[id] }) {
			t.Errorf("%s: deleted without approval, and takes others with it", s.ID)
		}
	}
}

// A plan is a function of its facts: the order in which they are stored makes no difference.
func TestSameFactsGiveTheSamePlan(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		w := randomWorld(t, r)
		first := w.decide()
		slices.Reverse(w.Wants)
		second := w.decide()
		if a, b := strings.Join(actions(first), "\n"), strings.Join(actions(second), "\n"); a != b {
			t.Fatalf("first:\n%s\nthen:\n%s", a, b)
		}
		if (first.Brake == nil) != (second.Brake == nil) || first.Brake != nil && first.Brake.Hash != second.Brake.Hash {
			t.Fatalf("brakes %+v and %+v", first.Brake, second.Brake)
		}
	}
}
