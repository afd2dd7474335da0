// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

// The model says what two inventories can do to a few objects: in any state, any run of either, killed
// or failed at any point, and what people may do in between. Deciding, recording and handing over are
// the engine's own code; the cluster, and the order of the steps, are the model's, and are compared with
// the API server and the engine's order in model_replay_test.go. Between two writes of a stage there is
// no order, so a run ends after any choice of them. docs/design/0004-model.md has it in words.

// modelObject is an object of the cluster. The zero value is one that is not there.
type modelObject struct {
	uid     int
	marks   int  // whose labels it carries: 1 or 2; 0: nobody's
	content int  // what it says: 1 or 2 as only that owner wants it, 3 as either may; 0: as somebody else
	applied bool // a run's apply owns a field of it: by hand, labels can be copied, but not that
	kept    bool // prune is disabled on it
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

// modelChoice says what a run wants of one object.
type modelChoice int

const (
	modelOut    modelChoice = iota // it is not in the set
	modelOwn                       // as only this owner wants it
	modelShared                    // as both may want it
)

// content returns what an object says that an owner wants so.
func (c modelChoice) content(owner int) int {
	if c == modelShared {
		return 3
	}
	return owner + 1
}

// modelMode says how a run goes about it.
type modelMode int

const (
	modelPlain   modelMode = iota
	modelAdopt             // what is another owner's is taken over
	modelKeeping           // prune is off
	modelBlind             // no object can be read
	modelModes             // how many there are
)

func (m modelMode) String() string {
	return [...]string{"apply", "adopting", "without prune", "blind"}[m]
}

// modelMove is a run of an owner.
type modelMove struct {
	owner   int
	mode    modelMode
	choices []modelChoice // by object
}

func (m modelMove) String() string {
	return fmt.Sprintf("%s of %d with %v", m.mode, m.owner+1, m.choices)
}

// modelPhase says how far a run came.
type modelPhase int

const (
	modelRefused     modelPhase = iota // it wrote nothing
	modelRecorded                      // killed after the record was written
	modelWritten                       // killed after some of the writes
	modelWriteFailed                   // ended after some of the writes, and what was done is on record
	modelDeleted                       // killed after some of the deletions
	modelDeleteFailed
	modelDone
)

// model is what does not change while states are explored.
type model struct {
	owners [2]plan.Owner
	ids    []object.ID
	index  map[object.ID]int
	rules  modelRules
	broken func(format string, args ...any) // told of each invariant that does not hold

	made   map[modelKey]*unstructured.Unstructured // never changed once made
	prints map[modelKey]string
	wants  map[modelKey]plan.Want
}

// modelKey names a state of an object.
type modelKey struct {
	index int
	modelObject
}

// modelRules breaks a rule of the engine's, to show that the invariants notice. The zero value breaks
// none.
type modelRules struct {
	facts       func(*plan.Facts) // what a run finds
	plan        func(*plan.Plan)  // what it decides
	recordLate  bool              // the record is written with what was done, and not before
	overwrites  bool              // the record before the first write has only what is in the set
	shrinkEarly bool              // what is going to be deleted leaves the record before
	dropFailed  bool              // what could not be deleted leaves the record
	neverSettle bool              // the record is not written at the end
	partly      bool              // an object that is another's does not keep the others from being written
}

func newModel(objects int, broken func(string, ...any)) *model {
	m := &model{
		owners: [2]plan.Owner{plan.Inventory("ns", "a"), plan.Inventory("ns", "b")},
		index:  map[object.ID]int{}, broken: broken,
		made: map[modelKey]*unstructured.Unstructured{}, prints: map[modelKey]string{}, wants: map[modelKey]plan.Want{},
	}
	for i := range objects {
		m.ids = append(m.ids, object.ID{Kind: "ConfigMap", Namespace: "ns", Name: fmt.Sprintf("o%d", i)})
		m.index[m.ids[i]] = i
	}
	return m
}

// start is an empty cluster.
func (m *model) start() modelState {
	return modelState{live: make([]modelObject, len(m.ids)), records: [2]map[object.ID]plan.Entry{{}, {}}}
}

// fingerprint is that of an object under the manager that both owners have.
func (m *model) fingerprint(i int, o modelObject) string {
	o.uid, o.kept = 0, false
	key := modelKey{i, o}
	hash, known := m.prints[key]
	if !known {
		hash = plan.Fingerprint(m.object(i, o), plan.InventoryManager)
		m.prints[key] = hash
	}
	return hash
}

// want is an object as an owner sends it.
func (m *model) want(i, owner, content int) plan.Want {
	key := modelKey{i, modelObject{marks: owner + 1, content: content}}
	want, known := m.wants[key]
	if !known {
		var err error
		if want, err = plan.NewWant(m.object(i, key.modelObject)); err != nil {
			m.broken("%v", err)
		}
		m.wants[key] = want
	}
	return want
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
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"by": strconv.Itoa(o.content)},
	}}
	u.SetNamespace("ns")
	u.SetName(m.ids[i].Name)
	if o.marks > 0 {
		u.SetLabels(m.owners[o.marks-1].Labels())
	}
	if o.kept {
		u.SetAnnotations(map[string]string{plan.InventoryLabelGroup + "/prune": "disabled"})
	}
	if o.uid > 0 {
		u.SetUID(types.UID(strconv.Itoa(o.uid)))
	}
	if o.applied {
		labels, data := `"f:metadata":{"f:labels":{"f:inventory.kustomizer.dev/name":{},"f:inventory.kustomizer.dev/namespace":{}}}`, `"f:data":{"f:by":{}}`
		fields := "{" + labels + "," + data + "}"
		switch {
		case o.marks == 0:
			fields = "{" + data + "}"
		case o.content == 0:
			fields = "{" + labels + "}"
		}
		u.SetManagedFields([]metav1.ManagedFieldsEntry{{
			Manager: plan.InventoryManager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1",
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
		}})
	}
	return u
}

// applied is what an object becomes by an owner's apply.
func (o modelObject) byApply(owner, content int) modelObject {
	return modelObject{uid: o.uid, marks: owner + 1, content: content, applied: true, kept: o.kept}
}

// facts are what a run finds.
func (m *model) facts(s modelState, move modelMove) *plan.Facts {
	owner := move.owner
	f := &plan.Facts{
		Owner: m.owners[owner], Record: maps.Clone(s.records[owner]), Live: map[object.ID]plan.Live{},
		Rehearsals: map[object.ID]plan.Rehearsal{}, Claims: map[object.ID]plan.Owner{},
	}
	var stale []object.ID
	for i, id := range m.ids {
		live := s.live[i]
		switch {
		case move.mode == modelBlind:
			f.Live[id] = plan.Live{Cause: cause.Cause{Code: cause.Unknown}}
		case live.uid > 0:
			f.Live[id] = plan.Live{Presence: plan.Present, Object: m.object(i, live)}
		default:
			f.Live[id] = plan.Live{Presence: plan.Absent}
		}
		if move.choices[i] == modelOut {
			stale = append(stale, id)
			continue
		}
		content := move.choices[i].content(owner)
		f.Wants = append(f.Wants, m.want(i, owner, content))
		if move.mode != modelBlind {
			f.Rehearsals[id] = plan.Rehearsal{Result: m.object(i, live.byApply(owner, content)), Created: live.uid == 0}
		}
		if other := live.marks; other > 0 && other != owner+1 {
			if e, ok := s.records[other-1][id]; ok && e.Ours() {
				f.Claims[id] = m.owners[other-1]
			}
		}
	}
	f.Claimants = m.others(s, owner).claimants(stale)
	if m.rules.facts != nil {
		m.rules.facts(f)
	}
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

// decide makes a run's plan.
func (m *model) decide(s modelState, move modelMove) *run {
	policy := plan.Policy{Prune: move.mode != modelKeeping, GuardOff: true, Adopt: move.mode == modelAdopt}
	f := m.facts(s, move)
	p := plan.Decide(f, policy)
	if m.rules.plan != nil {
		m.rules.plan(p)
	}
	return &run{req: Request{Owner: m.owners[move.owner], Policy: policy}, facts: f, plan: p, entries: maps.Clone(f.Record)}
}

// run is one run in every way in which it can end: visit is told of all states that it can leave, with
// how far it came and which of the writes, or deletions, were made.
func (m *model) run(s modelState, move modelMove, visit func(modelPhase, int, modelState)) {
	r := m.decide(s, move)
	if refusal(r.plan) != nil && !m.rules.partly {
		visit(modelRefused, 0, s)
		return
	}
	if m.rules.overwrites {
		clear(r.entries)
	}
	for _, step := range r.plan.Steps {
		if entry, grows := r.intention(step); grows || m.rules.overwrites {
			r.entries[step.ID] = entry
		}
	}
	r.claim()
	r.handOver()
	if m.rules.shrinkEarly {
		for _, step := range r.plan.Deletions() {
			delete(r.entries, step.ID)
		}
	}
	s = s.clone()
	if !m.rules.recordLate {
		s.records[move.owner] = maps.Clone(r.entries)
	}
	visit(modelRecorded, 0, s)
	s = m.apply(s, move, r, visit)
	s = m.prune(s, move, r, visit)
	if !m.rules.neverSettle {
		s.records[move.owner] = r.entries
	}
	visit(modelDone, 0, s)
	m.converged(s, move, r.plan)
}

// apply makes the steps true. The run may be killed after any of them, and it may end there, as after
// a write that failed: then what was done is put on record.
func (m *model) apply(s modelState, move modelMove, r *run, visit func(modelPhase, int, modelState)) modelState {
	var writes []plan.Step
	for _, step := range r.plan.Steps {
		if step.Action == plan.Create || step.Action == plan.Configure {
			m.mayWrite(s, move, step)
			writes = append(writes, step)
		}
	}
	if len(writes) > 0 && refusal(r.plan) != nil {
		m.broken("I4: %d objects are written by a run that is refused", len(writes))
	}
	var after modelState
	before := r.entries
	for some := range 1 << len(writes) {
		after = s.clone()
		r.entries = maps.Clone(before)
		for n, step := range writes {
			if some&(1<<n) != 0 {
				i := m.index[step.ID]
				if after.live[i].uid == 0 {
					after.uids++
					after.live[i] = modelObject{uid: after.uids}
				}
				after.live[i] = after.live[i].byApply(move.owner, move.choices[i].content(move.owner))
				r.entries[step.ID] = r.asApplied(step, m.object(i, after.live[i]))
			}
		}
		for _, step := range r.plan.Steps {
			if step.Action == plan.Unchanged {
				r.entries[step.ID] = r.asApplied(step, step.Live)
			}
		}
		r.claim()
		visit(modelWritten, some, after)
		visit(modelWriteFailed, some, m.settled(after, move, r))
	}
	return after
}

// settled is a state with what a run did on record.
func (m *model) settled(s modelState, move modelMove, r *run) modelState {
	s = s.clone()
	if !m.rules.neverSettle {
		s.records[move.owner] = maps.Clone(r.entries)
	}
	return s
}

// prune makes the deletions true. The run may be killed after any of them, and any may fail.
func (m *model) prune(s modelState, move modelMove, r *run, visit func(modelPhase, int, modelState)) modelState {
	going := r.plan.Deletions()
	for _, step := range going {
		m.mayGo(s, move, step)
	}
	for _, step := range r.plan.Stale {
		switch step.Action {
		case plan.Forget:
			delete(r.entries, step.ID)
		case plan.Keep:
			r.retain(step)
		}
	}
	var after modelState
	before := r.entries
	for some := range 1 << len(going) {
		after = s.clone()
		r.entries = maps.Clone(before)
		for n, step := range going {
			gone := some&(1<<n) != 0
			if gone {
				after.live[m.index[step.ID]] = modelObject{}
			}
			if gone || m.rules.dropFailed {
				delete(r.entries, step.ID)
			}
		}
		visit(modelDeleted, some, after)
		visit(modelDeleteFailed, some, m.settled(after, move, r))
	}
	return after
}

// modelAct is something that people do to an object.
type modelAct int

const (
	modelDelete  modelAct = iota
	modelEdit             // its content
	modelStrip            // the owner's labels off it
	modelKeep             // disable, or enable, prune
	modelForeign          // make it, anew where it is there, without labels
	modelCopied1          // the same, with copied labels of the first owner's
	modelCopied2          // of the second owner's
	modelActs             // how many there are
)

func (a modelAct) String() string {
	return [...]string{"delete", "edit", "strip", "keep", "make foreign", "make with labels of 1", "make with labels of 2"}[a]
}

// act does it, and says whether it could be done.
func (s *modelState) act(act modelAct, i int) bool {
	live := &s.live[i]
	if live.uid == 0 && act < modelForeign {
		return false
	}
	switch act {
	case modelDelete:
		*live = modelObject{}
	case modelEdit:
		live.content = 0
		live.applied = live.applied && live.marks > 0
	case modelStrip:
		live.marks = 0
		live.applied = live.applied && live.content > 0
	case modelKeep:
		live.kept = !live.kept
	default:
		s.uids++
		*live = modelObject{uid: s.uids, marks: int(act - modelForeign)}
	}
	return true
}
