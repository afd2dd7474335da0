// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

// The model explores what two inventories can do to a few objects: in every state that can be
// reached, every run of either, killed at every point, and what people may do in between. Deciding,
// recording and handing over are the engine's own code; the cluster, and the order of the steps, are
// the model's. Between two writes of a stage there is no order, so a run is killed after any of them.

// modelObject is an object of the cluster. The zero value is one that is not there.
type modelObject struct {
	uid     int
	marks   int  // whose labels it carries: 1 or 2; 0: nobody's
	content int  // who wrote it
	applied bool // by a run, and not with copied labels by hand
}

// modelState is all that outlives a run.
type modelState struct {
	live    []modelObject
	records [2]map[object.ID]plan.Entry
	uids    int
}

func (s modelState) clone() modelState {
	s.live = slices.Clone(s.live)
	for i := range s.records {
		s.records[i] = maps.Clone(s.records[i])
	}
	return s
}

// modelKey names a state of an object.
type modelKey struct {
	index int
	modelObject
}

// model explores states.
type model struct {
	t      *testing.T
	owners [2]plan.Owner
	ids    []object.ID
	seen   map[string]bool
	made   map[modelKey]*unstructured.Unstructured // never changed once made
	prints map[modelKey]string
	next   []modelState

	runs, deletions, conflicts, handovers int
}

// For one object until nothing new is found; for two and three, which meet only where a conflict of
// one holds back the other, three rounds deep.
func TestModelOfTwoInventoriesKeepsTheInvariants(t *testing.T) {
	t.Parallel()
	for objects, depth := range map[int]int{1: 99, 2: 3, 3: 3} {
		t.Run(fmt.Sprintf("%d objects", objects), func(t *testing.T) {
			t.Parallel()
			m := newModel(t, objects)
			rounds := 0
			for ; rounds < depth && len(m.next) > 0; rounds++ {
				states := m.next
				m.next = nil
				for _, s := range states {
					m.explore(s)
					if t.Failed() {
						t.Fatalf("from the state %s", m.key(s))
					}
				}
			}
			t.Logf("%d states, %d runs, %d rounds, %d deletions, %d conflicts, %d hand-overs", len(m.seen), m.runs, rounds, m.deletions, m.conflicts, m.handovers)
			if m.deletions == 0 || m.conflicts == 0 || depth > 2 && m.handovers == 0 || objects == 1 && len(m.next) > 0 {
				t.Error("this proves nothing")
			}
		})
	}
}

func newModel(t *testing.T, objects int) *model {
	m := &model{
		t: t, owners: [2]plan.Owner{plan.Inventory("ns", "a"), plan.Inventory("ns", "b")},
		seen: map[string]bool{}, made: map[modelKey]*unstructured.Unstructured{}, prints: map[modelKey]string{},
	}
	for i := range objects {
		m.ids = append(m.ids, object.ID{Kind: "ConfigMap", Namespace: "ns", Name: fmt.Sprintf("o%d", i)})
	}
	m.reach(modelState{live: make([]modelObject, objects), records: [2]map[object.ID]plan.Entry{{}, {}}})
	return m
}

// key tells states apart by what matters: not the UIDs themselves, but which are the same, and not
// which object is which.
func (m *model) key(s modelState) string {
	parts := make([]string, 0, len(m.ids))
	for i, id := range m.ids {
		live := s.live[i]
		part := fmt.Sprintf("live:%t,%d,%d,%t", live.uid > 0, live.marks, live.content, live.applied)
		for o := range m.owners {
			e, ok := s.records[o][id]
			same := e.UID != "" && live.uid > 0 && e.UID == fmt.Sprint(live.uid)
			settled := same && e.Live == m.fingerprint(i, live)
			part += fmt.Sprintf(" %d:%t,%t,%t,%t,%t,%t,%t", o+1, ok, e.Pending, e.Retained, e.Claimed, e.UID == "", same, settled)
		}
		parts = append(parts, part)
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

// reach takes a state in, if it is new, and sees that nothing of ours is forgotten in it.
func (m *model) reach(s modelState) {
	key := m.key(s)
	if m.seen[key] {
		return
	}
	m.seen[key] = true
	m.next = append(m.next, s.clone())
	for i, live := range s.live {
		if live.uid == 0 || live.marks == 0 || !live.applied {
			continue
		}
		if _, ok := s.records[live.marks-1][m.ids[i]]; !ok {
			m.t.Errorf("I1: %s is %d's and not on its record: %s", m.ids[i].Name, live.marks, key)
		}
	}
}

// explore does everything that can be done in a state.
func (m *model) explore(s modelState) {
	for owner := range m.owners {
		for set := range 1 << len(m.ids) {
			m.run(s, owner, set, false)
			m.run(s, owner, set, true)
		}
	}
	for i, live := range s.live {
		if live.uid == 0 {
			continue
		}
		by := func(change func(*modelState)) {
			after := s.clone()
			change(&after)
			m.reach(after)
		}
		by(func(a *modelState) { a.live[i] = modelObject{} })
		by(func(a *modelState) { a.live[i].content = 0 })
		if live.marks > 0 {
			by(func(a *modelState) { a.live[i].marks = 0 })
			by(func(a *modelState) { // a namesake, with copied labels
				a.uids++
				a.live[i] = modelObject{uid: a.uids, marks: live.marks}
			})
		}
	}
}

// fingerprint is that of an object under the manager that both owners have.
func (m *model) fingerprint(i int, o modelObject) string {
	key := modelKey{i, o}
	if _, ok := m.prints[key]; !ok {
		m.prints[key] = plan.Fingerprint(m.object(i, o), plan.InventoryManager)
	}
	return m.prints[key]
}

// object returns an object of the cluster as the API server does.
func (m *model) object(i int, o modelObject) *unstructured.Unstructured {
	key := modelKey{i, o}
	if m.made[key] == nil {
		m.made[key] = m.make(i, o)
	}
	return m.made[key]
}

func (m *model) make(i int, o modelObject) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"by": fmt.Sprint(o.content)},
	}}
	u.SetNamespace("ns")
	u.SetName(m.ids[i].Name)
	if o.marks > 0 {
		u.SetLabels(m.owners[o.marks-1].Labels())
	}
	if o.uid > 0 {
		u.SetUID(types.UID(fmt.Sprint(o.uid)))
	}
	if o.applied {
		fields := `{"f:metadata":{"f:labels":{"f:inventory.kustomizer.dev/name":{},"f:inventory.kustomizer.dev/namespace":{}}},"f:data":{"f:by":{}}}`
		u.SetManagedFields([]metav1.ManagedFieldsEntry{{
			Manager: plan.InventoryManager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1",
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
		}})
	}
	return u
}

// facts are what a run of an owner finds.
func (m *model) facts(s modelState, owner, set int) *plan.Facts {
	f := &plan.Facts{
		Owner: m.owners[owner], Record: maps.Clone(s.records[owner]), Live: map[object.ID]plan.Live{},
		Rehearsals: map[object.ID]plan.Rehearsal{}, Claims: map[object.ID]plan.Owner{},
	}
	var stale []object.ID
	for i, id := range m.ids {
		live := s.live[i]
		f.Live[id] = plan.Live{Presence: plan.Absent}
		if live.uid > 0 {
			f.Live[id] = plan.Live{Presence: plan.Present, Object: m.object(i, live)}
		}
		if set&(1<<i) == 0 {
			stale = append(stale, id)
			continue
		}
		want, err := plan.NewWant(m.object(i, modelObject{marks: owner + 1, content: owner + 1}))
		if err != nil {
			m.t.Fatal(err)
		}
		f.Wants = append(f.Wants, want)
		result := modelObject{uid: live.uid, marks: owner + 1, content: owner + 1, applied: true}
		f.Rehearsals[id] = plan.Rehearsal{Result: m.object(i, result), Created: live.uid == 0}
		if other := live.marks; other > 0 && other != owner+1 {
			if e, ok := s.records[other-1][id]; ok && e.Ours() {
				f.Claims[id] = m.owners[other-1]
			}
		}
	}
	f.Claimants = m.others(s, owner).claimants(stale)
	return f
}

// others are the sets beside an owner's.
func (m *model) others(s modelState, owner int) *sets {
	other := m.owners[1-owner]
	return &sets{
		records: map[plan.Owner]*record.Record{other: {Owner: other, Exists: true, Entries: s.records[1-owner]}},
		owners:  []plan.Owner{other},
	}
}

// run is one run of an owner on a set, and every way in which it can be killed.
func (m *model) run(s modelState, owner, set int, adopt bool) {
	m.runs++
	policy := plan.Policy{Prune: true, GuardOff: true, Adopt: adopt}
	f := m.facts(s, owner, set)
	r := &run{req: Request{Owner: m.owners[owner], Policy: policy}, facts: f, plan: plan.Decide(f, policy), entries: maps.Clone(f.Record)}
	if refusal(r.plan) != nil {
		m.conflicts++
		return
	}
	for _, step := range r.plan.Steps {
		if entry, grows := r.intention(step); grows {
			r.entries[step.ID] = entry
		}
	}
	r.claim()
	if r.handOver() {
		m.handovers++
	}
	s = s.clone()
	s.records[owner] = maps.Clone(r.entries)
	m.reach(s)
	s = m.apply(s, owner, r)
	s = m.prune(s, owner, r)
	s.records[owner] = maps.Clone(r.entries)
	m.reach(s)
	m.converged(s, owner, set, r.plan)
}

// apply makes the steps true, killed after any of them.
func (m *model) apply(s modelState, owner int, r *run) modelState {
	var steps []plan.Step
	for _, step := range r.plan.Steps {
		if step.Action == plan.Create || step.Action == plan.Configure {
			steps = append(steps, step)
		}
	}
	s = m.anyOf(s, steps, func(a *modelState, i int) {
		if a.live[i].uid == 0 {
			a.uids++
			a.live[i].uid = a.uids
		}
		a.live[i] = modelObject{uid: a.live[i].uid, marks: owner + 1, content: owner + 1, applied: true}
	})
	for _, step := range r.plan.Steps {
		switch step.Action {
		case plan.Create, plan.Configure, plan.Unchanged:
			i := slices.Index(m.ids, step.ID)
			r.entries[step.ID] = r.asApplied(step, m.object(i, s.live[i]))
		}
	}
	r.claim()
	return s
}

// prune makes the deletions true, killed after any of them.
func (m *model) prune(s modelState, owner int, r *run) modelState {
	going := r.plan.Deletions()
	for _, step := range going {
		m.deletions++
		m.mayGo(s, owner, step, r)
	}
	s = m.anyOf(s, going, func(a *modelState, i int) { a.live[i] = modelObject{} })
	for _, step := range r.plan.Stale {
		switch step.Action {
		case plan.Forget, plan.Delete:
			delete(r.entries, step.ID)
		case plan.Keep:
			r.retain(step)
		}
	}
	return s
}

// anyOf does some of the steps, in every choice of them, and returns the state in which all are done.
func (m *model) anyOf(s modelState, steps []plan.Step, do func(*modelState, int)) modelState {
	for some := range 1 << len(steps) {
		after := s.clone()
		for n, step := range steps {
			if some&(1<<n) != 0 {
				do(&after, slices.Index(m.ids, step.ID))
			}
		}
		m.reach(after)
		if some == 1<<len(steps)-1 {
			return after
		}
	}
	return s
}

// mayGo checks that what is deleted is the owner's by its record, its labels and an apply, that it
// is not in the set, and that nobody else has it.
func (m *model) mayGo(s modelState, owner int, step plan.Step, r *run) {
	i := slices.Index(m.ids, step.ID)
	live, entry := s.live[i], step.Entry
	theirs, claimed := s.records[1-owner][step.ID]
	switch {
	case live.uid == 0 || live.marks != owner+1 || !live.applied:
		m.t.Errorf("I2: %s is deleted, which is not %d's: %+v", step.ID.Name, owner+1, live)
	case !entry.Pending && entry.UID != fmt.Sprint(live.uid):
		m.t.Errorf("I2: %s is deleted, which is a namesake: %+v", step.ID.Name, entry)
	case entry.Claimed || entry.Unproven:
		m.t.Errorf("I2: %s is deleted, without proof: %+v", step.ID.Name, entry)
	case slices.ContainsFunc(r.facts.Wants, func(w plan.Want) bool { return w.ID == step.ID }):
		m.t.Errorf("I2: %s is deleted, and wanted", step.ID.Name)
	case claimed && !theirs.Retained && !theirs.Unproven:
		m.t.Errorf("I2: %s is deleted, which the other has: %+v", step.ID.Name, theirs)
	}
}

// converged checks what a run that was not killed leaves: what is wanted is there and on record, and
// what is not wanted is gone, unless it is not the owner's to delete.
func (m *model) converged(s modelState, owner, set int, p *plan.Plan) {
	kept := map[object.ID]bool{}
	for _, step := range slices.Concat(p.Steps, p.Stale) {
		kept[step.ID] = step.Action == plan.Keep || step.Action == plan.Skip
	}
	for i, id := range m.ids {
		live := s.live[i]
		e, onRecord := s.records[owner][id]
		wanted := set&(1<<i) != 0
		is := live.uid > 0 && live.marks == owner+1 && live.content == owner+1
		switch {
		case wanted && !kept[id] && (!is || !e.Ours() || e.Pending || e.UID != fmt.Sprint(live.uid)):
			m.t.Errorf("I6: %s is not as %d wants it after its run: %+v, on record is %+v", id.Name, owner+1, live, e)
		case !wanted && !kept[id] && (onRecord || live.uid > 0 && live.marks == owner+1 && live.applied):
			m.t.Errorf("I6: %s is still %d's after a run without it: %+v, on record is %+v", id.Name, owner+1, live, e)
		}
	}
}
