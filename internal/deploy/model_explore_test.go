// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kustomizer/kustomizer/internal/plan"
)

const untilNothingIsNew = 1 << 30

func never() bool { return false }

// table explores one object. What it finds is checked on the way.
func (a modelAlphabet) table(t *testing.T) *modelTable {
	t.Helper()
	return a.explore(newModel(1, t.Errorf), never)
}

// One, two and three objects, until nothing new is found. `go test ./...` has three objects with a part
// of what can happen; `make model` has all of it.
func TestModelOfTwoInventories(t *testing.T) {
	t.Parallel()
	var full, small *modelTable
	var both sync.WaitGroup
	both.Go(func() { full = fullAlphabet().table(t) })
	both.Go(func() { small = smallAlphabet().table(t) })
	both.Wait()
	if t.Failed() {
		t.FailNow()
	}
	_, quotient := full.quotient()
	t.Logf("1 object: %d situations in %d rounds, %d classes", len(full.situations), full.rounds, quotient.size)
	t.Run("one object", func(t *testing.T) {
		t.Parallel()
		full.countKinds(t)
		full.settles(t)
		full.symmetric(t)
	})
	t.Run("two objects", func(t *testing.T) {
		t.Parallel()
		exploresAll(t, quotient, 2)
	})
	t.Run("three objects", func(t *testing.T) {
		t.Parallel()
		three := quotient
		if os.Getenv("KUSTOMIZER_SWEEP") != "all" {
			_, three = small.quotient()
		}
		exploresAll(t, three, 3)
	})
	t.Run("it is the sum of its objects", func(t *testing.T) {
		t.Parallel()
		small.isTheSum(t)
		full.sameRuns(t)
	})
	t.Run("the reductions lose nothing", func(t *testing.T) {
		t.Parallel()
		small.reducesWell(t)
	})
}

// exploresAll explores several objects, each of which has to come into each situation. What the invariants
// speak of is one object's, so that they hold in all that is reached as they hold for one.
func exploresAll(t *testing.T, s *modelSystem, objects int) {
	t.Helper()
	p := s.explore(objects, untilNothingIsNew)
	met := make([]bool, s.size)
	for code := range uint32(len(p.visited) * 64) {
		if p.has(code) {
			for _, n := range p.decode(code) {
				met[n], met[s.swapped[n]] = true, true
			}
		}
	}
	if n := slices.Index(met, false); n >= 0 {
		t.Errorf("%d objects: none of them comes into the situation %d", objects, n)
	}
	t.Logf("%d objects: %d states of %d classes in %d rounds", objects, p.states, s.size, p.rounds)
}

// countKinds sees that all that a run can do to an object is among what was explored.
func (table *modelTable) countKinds(t *testing.T) {
	kinds := map[string]int{}
	for _, s := range table.situations {
		for how, rows := range s.rows {
			for choice, row := range rows {
				after := table.situations[row.done()].local
				claimed, retained := after.entry(how.owner).claimed, after.entry(how.owner).retained
				for kind, is := range map[string]bool{
					"refused": row.refused, "written": row.writes, "deleted": row.deletes,
					"left to the other": !row.refused && claimed && choice == modelShared,
					"handed over":       !row.refused && retained && choice == modelOut && how.mode == modelPlain && after.entry(1-how.owner).on,
					"taken over":        row.writes && s.local.marks == int8(2-how.owner) && s.local.entry(1-how.owner).on,
				} {
					if is {
						kinds[kind]++
					}
				}
			}
		}
	}
	t.Logf("runs: %v", kinds)
	if len(kinds) != 6 {
		t.Errorf("this proves nothing: %v", kinds)
	}
}

// settles is I6 and I7 over several runs: after a run that nothing disturbed, the same run does nothing;
// and what keeps a run from writing is out of its way after one run of the other owner without the object.
func (table *modelTable) settles(t *testing.T) {
	for _, s := range table.situations {
		for how, rows := range s.rows {
			if how.mode == modelBlind {
				continue
			}
			for choice, row := range rows {
				if row.refused {
					other := s.rows[modelHow{1 - how.owner, modelPlain}][modelOut]
					if then := table.situations[other.done()].rows[how][choice]; how.mode == modelAdopt || other.refused || then.refused {
						t.Errorf("I6: nothing frees an object for %v, choice %d: %s", how, choice, s.local)
					}
					continue
				}
				again := table.situations[row.done()].rows[how][choice]
				if again.refused || again.writes || again.deletes || again.done() != row.done() {
					t.Errorf("I7: %v, choice %d, has something to do again: %s\nafter: %s\nagain: %s", how, choice,
						s.local, table.situations[row.done()].local, table.situations[again.done()].local)
				}
			}
		}
	}
}

// symmetric sees that exchanging the owners maps what can happen onto itself, for each situation: that is
// what allows to explore one of two states that differ in nothing else.
func (table *modelTable) symmetric(t *testing.T) {
	other := func(n modelNumber) modelNumber { return table.number[table.situations[n].local.swapped()] }
	for i, s := range table.situations {
		mirror := table.situations[other(modelNumber(i))]
		for how, rows := range s.rows {
			for choice, row := range rows {
				if !row.refused {
					for _, n := range row.numbers() {
						*n = other(*n)
					}
				}
				if mirror.rows[modelHow{1 - how.owner, how.mode}][choice] != row {
					t.Errorf("the owners are not alike in %s", s.local)
				}
			}
		}
	}
}

// isTheSum: what several objects do is what each of them does, held back together: the engine's own code on two and
// three objects at once, with states gone on from as they were left, reaches what the product of tables
// reaches; and from states deep inside, each run has the same successors.
func (table *modelTable) isTheSum(t *testing.T) {
	for objects, rounds := range map[int]int{2: 3, 3: 2} {
		m := newModel(objects, t.Errorf)
		direct := smallAlphabet().direct(m, rounds)
		p := table.system().explore(objects, rounds)
		if len(direct) != p.states {
			t.Errorf("%d objects, %d rounds: %d states by the engine's code, %d by the tables", objects, rounds, len(direct), p.states)
		}
		for key := range direct {
			if !p.has(p.canonical(table.numbers(key, objects))) {
				t.Errorf("%d objects: the tables don't know %v", objects, key[:objects])
			}
		}
		t.Logf("%d objects, %d rounds: %d states", objects, rounds, len(direct))
	}
}

// numbers are those of a state's situations.
func (table *modelTable) numbers(key modelStateKey, objects int) []modelNumber {
	var out []modelNumber
	for _, l := range key[:objects] {
		out = append(out, table.number[l])
	}
	return out
}

// direct explores several objects without any table.
func (a modelAlphabet) direct(m *model, rounds int) map[modelStateKey]bool {
	seen := map[modelStateKey]bool{}
	var next []modelState
	reach := func(s modelState) {
		if key := m.key(s); !seen[key] {
			seen[key] = true
			next = append(next, s.clone())
			m.nothingForgotten(s)
		}
	}
	reach(m.start())
	for range rounds {
		states := next
		next = nil
		for _, s := range states {
			for _, move := range a.moves(len(m.ids)) {
				m.run(s, move, func(_ modelPhase, _ int, after modelState) { reach(after) })
			}
			for i := range s.live {
				for _, act := range a.acts {
					after := s.clone()
					if after.act(act, i) {
						reach(after)
					}
				}
			}
		}
	}
	return seen
}

// sameRuns compares runs on three objects, in situations drawn by lot, with what the table says of each.
func (table *modelTable) sameRuns(t *testing.T) {
	m := newModel(3, t.Errorf)
	lot := rand.New(rand.NewPCG(1, 2))
	moves := fullAlphabet().moves(len(m.ids))
	refused := 0
	for range 2000 {
		var locals []modelLocal
		for range m.ids {
			locals = append(locals, table.situations[lot.IntN(len(table.situations))].local)
		}
		move := moves[lot.IntN(len(moves))]
		want, got := map[modelStateKey]bool{}, map[modelStateKey]bool{}
		m.run(m.concrete(locals...), move, func(phase modelPhase, _ int, s modelState) {
			if phase == modelRefused {
				refused++
				return
			}
			got[m.key(s)] = true
		})
		table.compose(locals, move, func(key modelStateKey) { want[key] = true })
		if !maps.Equal(want, got) {
			t.Fatalf("%s leaves %d states by the engine's code and %d by the tables, from %v", move, len(got), len(want), locals)
		}
	}
	if refused == 0 || refused == 2000 {
		t.Errorf("this proves nothing: %d runs of 2000 are refused", refused)
	}
}

// compose visits what a run on several objects leaves, by the table.
func (table *modelTable) compose(locals []modelLocal, move modelMove, visit func(modelStateKey)) {
	var rows []*modelRow
	writes, deletes := 0, 0
	for i, l := range locals {
		row := table.situations[table.number[l]].rows[modelHow{move.owner, move.mode}][move.choices[i]]
		if row.refused {
			return
		}
		if row.writes {
			writes |= 1 << i
		}
		if row.deletes {
			deletes |= 1 << i
		}
		rows = append(rows, &row)
	}
	show := func(numbers []modelNumber) {
		var key modelStateKey
		for i, n := range numbers {
			key[i] = table.situations[n].local
		}
		slices.SortFunc(key[:len(numbers)], modelLocal.compare)
		visit(key)
	}
	shown := make([]modelNumber, len(locals))
	endings(writes, rows, shown, show, func(r *modelRow) *[2]modelNumber { return &r.written })
	endings(writes, rows, shown, show, func(r *modelRow) *[2]modelNumber { return &r.writeFailed })
	endings(deletes, rows, shown, show, func(r *modelRow) *[2]modelNumber { return &r.deleted })
	endings(deletes, rows, shown, show, func(r *modelRow) *[2]modelNumber { return &r.settled })
}

// reducesWell: the reductions lose nothing. Two objects in full, and three for some rounds, reach the same classes with
// each situation and each owner for itself as with classes and owners exchanged.
func (table *modelTable) reducesWell(t *testing.T) {
	classes, quotient := table.quotient()
	if quotient.swapped == nil {
		t.Fatal("the owners are not alike")
	}
	for objects, rounds := range map[int]int{2: untilNothingIsNew, 3: 3} {
		unreduced, reduced := table.system().explore(objects, rounds), quotient.explore(objects, rounds)
		want, got := map[uint32]bool{}, map[uint32]bool{}
		for code := range uint32(len(unreduced.visited) * 64) {
			if unreduced.has(code) {
				state := unreduced.decode(code)
				for i, n := range state {
					state[i] = classes[n]
				}
				want[reduced.canonical(state)] = true
			}
		}
		for code := range uint32(len(reduced.visited) * 64) {
			if reduced.has(code) {
				got[code] = true
			}
		}
		if !maps.Equal(want, got) {
			t.Errorf("%d objects: %d states without the reductions, %d with them", objects, len(want), len(got))
		}
		t.Logf("%d objects, %d and %d rounds: %d states, by the reductions %d", objects, unreduced.rounds, reduced.rounds, unreduced.states, reduced.states)
	}
}

// turn makes decisions of one kind, that an object is left, deletions.
func turn(reason string, action plan.Action) func(*plan.Plan) {
	return func(p *plan.Plan) {
		for i := range p.Stale {
			if s := &p.Stale[i]; s.Reason == reason && s.Live != nil {
				s.Action, s.Other = action, plan.Owner{}
			}
		}
	}
}

// brokenRules are what the engine must not do, one rule at a time, and the invariant that notices.
func brokenRules() map[string]struct {
	rules   modelRules
	notices string
} {
	type broken = struct {
		rules   modelRules
		notices string
	}
	return map[string]broken{
		"the record is written after the writes":      {modelRules{recordLate: true}, "I1"},
		"the record forgets what left the set":        {modelRules{overwrites: true}, "I1"},
		"the record shrinks before the deletion":      {modelRules{shrinkEarly: true}, "I1"},
		"a deletion that failed is forgotten":         {modelRules{dropFailed: true}, "I1"},
		"the record is not settled":                   {modelRules{neverSettle: true}, "I6"},
		"what is refused does not hold back the rest": {modelRules{partly: true}, "I4"},
		"labels don't matter":                         {modelRules{plan: turn("it no longer carries our owner labels", plan.Delete)}, "I2"},
		"UIDs don't matter":                           {modelRules{plan: turn("it is not the object we applied, but a namesake with our labels", plan.Delete)}, "I2"},
		"an apply need not have been made":            {modelRules{plan: turn("it carries our labels, but we never applied it", plan.Delete)}, "I2"},
		"prune is on though it is off":                {modelRules{plan: turn("prune is off", plan.Delete)}, "I2"},
		"prune is not disabled":                       {modelRules{plan: turn("prune is disabled on the object", plan.Delete)}, "I2"},
		"prune is off though it is on":                {modelRules{plan: turn("", plan.Forget)}, "I1"},
		"nobody else wants anything":                  {modelRules{facts: func(f *plan.Facts) { f.Claimants = nil }}, "I2"},
		"nobody else has anything":                    {modelRules{facts: func(f *plan.Facts) { f.Claims = nil }}, "D16"},
		"what is unknown is not there":                {modelRules{facts: unknownIsAbsent}, "I1"},
	}
}

func unknownIsAbsent(f *plan.Facts) {
	for id, live := range f.Live {
		if live.Presence == plan.Unknown {
			f.Live[id] = plan.Live{Presence: plan.Absent}
		}
	}
}

// A rule that is broken is noticed, by the invariant that is to notice.
func TestModelNoticesABrokenRule(t *testing.T) {
	t.Parallel()
	for name, c := range brokenRules() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var noticed []string
			notice := func(format string, args ...any) { noticed = append(noticed, fmt.Sprintf(format, args...)) }
			objects := 1
			if c.rules.partly {
				objects = 2
			}
			m := newModel(objects, notice)
			m.rules = c.rules
			if objects == 1 {
				fullAlphabet().explore(m, func() bool { return len(noticed) > 0 })
			} else {
				smallAlphabet().direct(m, 2)
			}
			if !slices.ContainsFunc(noticed, func(said string) bool { return strings.HasPrefix(said, c.notices+": ") }) {
				t.Errorf("%s was to notice, and what was noticed is %q", c.notices, noticed)
			}
		})
	}
}

// endings visits a stage's states, after each choice of its acts. That a run was killed right after the
// record was written is one of them: none of the writes was made.
func endings(acts int, rows []*modelRow, shown []modelNumber, visit func([]modelNumber), of func(*modelRow) *[2]modelNumber) {
	for some := acts; ; some = (some - 1) & acts {
		for i, row := range rows {
			shown[i] = of(row)[some>>i&1]
		}
		visit(shown)
		if some == 0 {
			return
		}
	}
}
