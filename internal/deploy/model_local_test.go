// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/kustomizer/kustomizer/internal/plan"
)

// modelLocal is the situation of one object: what of the cluster and of both records is about it, as far
// as it matters to anybody. UIDs are told apart by whether they are the living object's: nothing else is
// ever asked of them. It is comparable, and a state is the situations of its objects.
type modelLocal struct {
	there          bool
	marks, content int8
	byRun, kept    bool // applied by a run; prune is disabled
	first, second  modelEntry
}

// modelEntry is what a record says of an object.
type modelEntry struct {
	on, pending, retained, claimed bool
	uid                            modelUID
	desired                        int8 // the content that was sent, where it is remembered
	settled                        bool // what lives is what came back then
}

// modelUID says which object an entry is about.
type modelUID int8

const (
	modelNoUID    modelUID = iota
	modelSameUID           // the one that lives
	modelOtherUID          // another, that is gone
)

func (l modelLocal) entry(owner int) modelEntry {
	if owner == 0 {
		return l.first
	}
	return l.second
}

// String says it in one line.
func (l modelLocal) String() string {
	text := "not there"
	if l.there {
		text = fmt.Sprintf("there with labels of %d, content %d", l.marks, l.content)
		if l.byRun {
			text += ", applied"
		}
		if l.kept {
			text += ", prune disabled"
		}
	}
	for owner := range 2 {
		if e := l.entry(owner); e.on {
			text += fmt.Sprintf("; on record of %d: %s", owner+1, e)
		}
	}
	return text
}

// String says it in one line.
func (e modelEntry) String() string {
	text := [...]string{"no UID", "its UID", "another UID"}[e.uid]
	for _, flag := range []struct {
		set  bool
		name string
	}{{e.pending, "pending"}, {e.retained, "retained"}, {e.claimed, "claimed"}, {e.settled, "as applied"}} {
		if flag.set {
			text += ", " + flag.name
		}
	}
	if e.desired > 0 {
		text += fmt.Sprintf(", sent %d", e.desired)
	}
	return text
}

// local is the situation of an object in a state.
func (m *model) local(s modelState, i int) modelLocal {
	live := s.live[i]
	l := modelLocal{there: live.uid > 0, marks: int8(live.marks), content: int8(live.content), byRun: live.applied, kept: live.kept}
	l.first, l.second = m.entryOf(s, i, 0), m.entryOf(s, i, 1)
	return l
}

func (m *model) entryOf(s modelState, i, owner int) modelEntry {
	live := s.live[i]
	e, ok := s.records[owner][m.ids[i]]
	out := modelEntry{on: ok, pending: e.Pending, retained: e.Retained, claimed: e.Claimed}
	switch {
	case e.UID == "":
	case live.uid > 0 && e.UID == strconv.Itoa(live.uid):
		out.uid = modelSameUID
		out.settled = e.Live != "" && e.Live == m.fingerprint(i, live)
	default:
		out.uid = modelOtherUID
	}
	for _, content := range []int{owner + 1, 3} {
		if e.Desired != "" && e.Desired == m.want(i, owner, content).Hash {
			out.desired = int8(content)
		}
	}
	return out
}

// The UIDs of a state that is made from situations.
const modelLivingUID, modelGoneUID = 1, 2

// concrete makes a state of situations.
func (m *model) concrete(locals ...modelLocal) modelState {
	s := m.start()
	s.uids = modelGoneUID
	for i, l := range locals {
		if l.there {
			s.live[i] = modelObject{uid: modelLivingUID, marks: int(l.marks), content: int(l.content), applied: l.byRun, kept: l.kept}
		}
		for owner := range 2 {
			if e := l.entry(owner); e.on {
				s.records[owner][m.ids[i]] = m.entry(i, owner, e)
			}
		}
	}
	return s
}

func (m *model) entry(i, owner int, e modelEntry) plan.Entry {
	out := plan.Entry{ID: m.ids[i], Version: "v1", Pending: e.pending, Retained: e.retained, Claimed: e.claimed}
	switch e.uid {
	case modelSameUID:
		out.UID = strconv.Itoa(modelLivingUID)
	case modelOtherUID:
		out.UID = strconv.Itoa(modelGoneUID)
	}
	if content := int(e.desired); content > 0 {
		// What came back was what was sent, so that is what may live again.
		out.Desired, out.Live = m.want(i, owner, content).Hash, m.fingerprint(i, modelObject{}.byApply(owner, content))
	}
	return out
}

// swapped is the situation with the owners' parts exchanged.
func (l modelLocal) swapped() modelLocal {
	swap := func(n int8) int8 {
		if n == 1 || n == 2 {
			return 3 - n
		}
		return n
	}
	l.marks, l.content = swap(l.marks), swap(l.content)
	l.first, l.second = l.second, l.first
	l.first.desired, l.second.desired = swap(l.first.desired), swap(l.second.desired)
	return l
}

// modelStateKey names a state, not telling which object is which.
type modelStateKey [3]modelLocal

// key is the situations of a state's objects, in an order that depends on nothing else.
func (m *model) key(s modelState) modelStateKey {
	var key modelStateKey
	for i := range s.live {
		key[i] = m.local(s, i)
	}
	slices.SortFunc(key[:len(s.live)], modelLocal.compare)
	return key
}

// code packs a situation into a number.
func (l modelLocal) code() uint64 {
	var code uint64
	add := func(value, bits int) { code = code<<bits | uint64(value) }
	flag := func(set bool) {
		if set {
			add(1, 1)
		} else {
			add(0, 1)
		}
	}
	flag(l.there)
	add(int(l.marks), 2)
	add(int(l.content), 2)
	flag(l.byRun)
	flag(l.kept)
	for owner := range 2 {
		e := l.entry(owner)
		flag(e.on)
		flag(e.pending)
		flag(e.retained)
		flag(e.claimed)
		add(int(e.uid), 2)
		add(int(e.desired), 2)
		flag(e.settled)
	}
	return code
}

func (l modelLocal) compare(other modelLocal) int {
	a, b := l.code(), other.code()
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
