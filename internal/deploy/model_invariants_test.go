// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"slices"
	"strconv"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// The invariants of the model. They are written against its state alone and not against the engine's
// reasons, so that a wrong reason is noticed.

// nothingForgotten is I1: what a run has applied and carries an owner's labels is on that owner's record.
func (m *model) nothingForgotten(s modelState) {
	for i, live := range s.live {
		if live.uid == 0 || live.marks == 0 || !live.applied {
			continue
		}
		if _, ok := s.records[live.marks-1][m.ids[i]]; !ok {
			m.broken("I1: %s is %d's and not on its record: %s", m.ids[i].Name, live.marks, m.key(s))
		}
	}
}

// mayWrite checks that nothing is written that is another owner's, by its labels and its record, unless
// that is asked for, and nothing that is not known.
func (m *model) mayWrite(s modelState, move modelMove, step plan.Step) {
	i := m.index[step.ID]
	live := s.live[i]
	theirs := s.records[1-move.owner][step.ID]
	switch {
	case move.mode == modelBlind:
		m.broken("I3: %s is written by a run that could not read it", step.ID.Name)
	case move.choices[i] == modelOut:
		m.broken("I2: %s is written, and not in the set", step.ID.Name)
	case live.marks == 2-move.owner && theirs.Ours() && theirs.ID != (object.ID{}) && move.mode != modelAdopt:
		m.broken("D16: %s is written by %d, and is the other's: %+v, %+v", step.ID.Name, move.owner+1, live, theirs)
	}
}

// mayGo is I2: what is deleted is the owner's by its record, its labels, its UID and an apply, it is not
// in the set, nobody has asked for it to stay, and the other owner does not want it.
func (m *model) mayGo(s modelState, move modelMove, step plan.Step) {
	i := m.index[step.ID]
	live := s.live[i]
	ours, onRecord := s.records[move.owner][step.ID]
	theirs, claimed := s.records[1-move.owner][step.ID]
	switch name := step.ID.Name; {
	case move.mode == modelBlind:
		m.broken("I3: %s is deleted by a run that could not read it", name)
	case move.mode == modelKeeping:
		m.broken("I2: %s is deleted, and prune is off", name)
	case move.choices[i] != modelOut:
		m.broken("I2: %s is deleted, and wanted", name)
	case live.uid == 0 || live.marks != move.owner+1 || !live.applied:
		m.broken("I2: %s is deleted, which is not %d's: %+v", name, move.owner+1, live)
	case live.kept:
		m.broken("I2: %s is deleted, and prune is disabled on it", name)
	case !onRecord || ours.Claimed || ours.Unproven:
		m.broken("I2: %s is deleted, without proof: %+v", name, ours)
	case !ours.Pending && ours.UID != strconv.Itoa(live.uid):
		m.broken("I2: %s is deleted, which is a namesake: %+v", name, ours)
	case claimed && !theirs.Retained && !theirs.Unproven:
		m.broken("I2: %s is deleted, which the other has: %+v", name, theirs)
	}
}

// converged is I6, of one run that was not killed: what is wanted is there and on record, and what is
// not wanted is gone, unless it is not the owner's to delete. What another owner keeps because it wants
// the same is left to it.
func (m *model) converged(s modelState, move modelMove, p *plan.Plan) {
	if move.mode == modelBlind {
		return
	}
	kept := map[object.ID]bool{}
	for _, step := range slices.Concat(p.Steps, p.Stale) {
		kept[step.ID] = step.Action == plan.Keep || step.Action == plan.Skip
	}
	for i, id := range m.ids {
		live := s.live[i]
		e, onRecord := s.records[move.owner][id]
		same := onRecord && e.UID == strconv.Itoa(live.uid)
		wanted := move.choices[i] != modelOut
		is := live.uid > 0 && live.marks == move.owner+1 && live.content == move.choices[i].content(move.owner)
		switch {
		case wanted && kept[id] && (!e.Claimed || live.content != move.choices[i].content(move.owner) || live.marks != 2-move.owner):
			m.broken("I6: %s is left to the other by %d, which does not have it so: %+v, on record is %+v", id.Name, move.owner+1, live, e)
		case wanted && !kept[id] && (!is || !e.Ours() || e.Pending || !same):
			m.broken("I6: %s is not as %d wants it after its run: %+v, on record is %+v", id.Name, move.owner+1, live, e)
		case !wanted && !kept[id] && (onRecord || live.uid > 0 && live.marks == move.owner+1 && live.applied):
			m.broken("I6: %s is still %d's after a run without it: %+v, on record is %+v", id.Name, move.owner+1, live, e)
		case !wanted && kept[id] && live.uid == 0:
			m.broken("I6: %s is gone and still on %d's record: %+v", id.Name, move.owner+1, e)
		}
	}
}
