// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// modelAlphabet is what can happen.
type modelAlphabet struct {
	choices []modelChoice
	modes   []modelMode
	acts    []modelAct
}

// fullAlphabet is all of it.
func fullAlphabet() modelAlphabet {
	a := smallAlphabet()
	a.choices = append(a.choices, modelShared)
	a.acts = append(a.acts, modelKeep)
	return a
}

// smallAlphabet leaves out that both owners may want the same, and that prune can be disabled on an
// object: a fifth of the situations.
func smallAlphabet() modelAlphabet {
	return modelAlphabet{
		choices: []modelChoice{modelOut, modelOwn},
		modes:   []modelMode{modelPlain, modelAdopt, modelKeeping, modelBlind},
		acts:    []modelAct{modelDelete, modelEdit, modelStrip, modelForeign, modelCopied1, modelCopied2},
	}
}

// moves lists all runs on a number of objects.
func (a modelAlphabet) moves(objects int) []modelMove {
	sets := [][]modelChoice{nil}
	for range objects {
		var longer [][]modelChoice
		for _, set := range sets {
			for _, c := range a.choices {
				longer = append(longer, append(slices.Clone(set), c))
			}
		}
		sets = longer
	}
	var out []modelMove
	for owner := range 2 {
		for _, mode := range a.modes {
			for _, set := range sets {
				out = append(out, modelMove{owner: owner, mode: mode, choices: set})
			}
		}
	}
	return out
}

// modelNumber stands for a situation, or for a class of situations.
type modelNumber = uint16

// modelRow is what one run does to one object, whatever it does to others: the model's run taken apart.
// Where a pair has two different numbers the first is that of a run that ended before it wrote, or deleted, this
// object, and the second of one that ended after.
type modelRow struct {
	refused                                bool // it keeps the whole run from writing
	writes, deletes                        bool
	written, writeFailed, deleted, settled [2]modelNumber
}

// done is what a run leaves that nothing disturbed.
func (r modelRow) done() modelNumber { return r.settled[1] }

// numbers lists where the row's numbers are.
func (r *modelRow) numbers() []*modelNumber {
	var out []*modelNumber
	for _, pair := range []*[2]modelNumber{&r.written, &r.writeFailed, &r.deleted, &r.settled} {
		out = append(out, &pair[0], &pair[1])
	}
	return out
}

// take puts what a run on one object visits into its row.
func (r *modelRow) take(phase modelPhase, some int, n modelNumber) {
	pair := map[modelPhase]*[2]modelNumber{
		modelWritten: &r.written, modelWriteFailed: &r.writeFailed, modelDeleted: &r.deleted, modelDeleteFailed: &r.settled,
	}[phase]
	switch {
	case phase == modelRefused:
		r.refused = true
	case pair == nil:
	case some == 0:
		pair[0], pair[1] = n, n
	default:
		pair[1] = n
		r.writes = r.writes || phase == modelWritten
		r.deletes = r.deletes || phase == modelDeleted
	}
}

// modelHow names a run by what it has in common for all objects.
type modelHow struct {
	owner int
	mode  modelMode
}

// modelSituation is what can happen to an object in one situation.
type modelSituation struct {
	local  modelLocal
	rows   map[modelHow]map[modelChoice]modelRow
	people map[modelAct]modelNumber
}

// modelTable holds all situations of one object that can be reached, the first of them being that it
// never was there.
type modelTable struct {
	situations []modelSituation
	number     map[modelLocal]modelNumber
	rounds     int
}

// explore finds all situations of one object, until nothing new is found, and checks the invariants on
// the way. Each situation is made a state again before it is gone on from: nobody asks of a UID more than
// whether it is the living object's, and the test of the sum goes on from states as they were
// left. With until, it ends when that says so.
func (a modelAlphabet) explore(m *model, until func() bool) *modelTable {
	t := &modelTable{number: map[modelLocal]modelNumber{}}
	reach := func(s modelState) modelNumber {
		l := m.local(s, 0)
		n, known := t.number[l]
		if !known {
			n = modelNumber(len(t.situations))
			t.number[l] = n
			t.situations = append(t.situations, modelSituation{local: l})
			m.nothingForgotten(s)
		}
		return n
	}
	reach(m.start())
	moves := a.moves(1)
	for next, round := 0, 0; next < len(t.situations) && !until(); next++ {
		if next == round {
			t.rounds, round = t.rounds+1, len(t.situations)
		}
		s := m.concrete(t.situations[next].local)
		rows, people := map[modelHow]map[modelChoice]modelRow{}, map[modelAct]modelNumber{}
		for _, move := range moves {
			var row modelRow
			m.run(s, move, func(phase modelPhase, some int, after modelState) { row.take(phase, some, reach(after)) })
			how := modelHow{move.owner, move.mode}
			if rows[how] == nil {
				rows[how] = map[modelChoice]modelRow{}
			}
			rows[how][move.choices[0]] = row
		}
		for _, act := range a.acts {
			after := s.clone()
			if after.act(act, 0) {
				people[act] = reach(after)
			}
		}
		t.situations[next].rows, t.situations[next].people = rows, people
	}
	return t
}

// modelSystem is what several objects do together: a table without what does not matter to them.
type modelSystem struct {
	size    int             // numbers are below it
	hows    []modelHow      // the runs
	rows    [][][]modelRow  // by number and run: one for each choice that makes a difference
	people  [][]modelNumber // by number: what it can become by hand
	swapped []modelNumber   // by number: with the owners exchanged; nil: not known
}

// system is the table as a system, each situation for itself.
func (table *modelTable) system() *modelSystem {
	out := &modelSystem{size: len(table.situations)}
	out.hows = slices.SortedFunc(maps.Keys(table.situations[0].rows), func(a, b modelHow) int {
		return cmp.Or(a.owner-b.owner, int(a.mode-b.mode))
	})
	for _, s := range table.situations {
		var rows [][]modelRow
		for _, how := range out.hows {
			rows = append(rows, compactRows(slices.Collect(maps.Values(s.rows[how]))))
		}
		out.rows = append(out.rows, rows)
		people := slices.Sorted(maps.Values(s.people))
		out.people = append(out.people, slices.Compact(people))
	}
	return out
}

// compactRows sorts rows and drops those that are there twice.
func compactRows(rows []modelRow) []modelRow {
	slices.SortFunc(rows, func(a, b modelRow) int { return cmp.Compare(a.sortKey(), b.sortKey()) })
	return slices.Compact(rows)
}

func (r modelRow) sortKey() string { return string(r.appendTo(nil)) }

// appendTo appends a text that no other row has.
func (r modelRow) appendTo(key []byte) []byte {
	for _, flag := range []bool{r.refused, r.writes, r.deletes} {
		if flag {
			key = append(key, 1)
		} else {
			key = append(key, 0)
		}
	}
	for _, n := range r.numbers() {
		key = append(key, byte(*n>>8), byte(*n))
	}
	return key
}

// modelSeen is what the invariants speak of in a situation: the object in the cluster, and whether it is
// on record. Situations that differ in it are never one class.
type modelSeen struct {
	there           bool
	marks, content  int8
	byRun           bool
	onRecord, other bool
}

// quotient puts situations into one class that nothing can tell apart: the invariants speak of them
// alike, and whatever happens to them, which runs they hold back included, leads to the same classes. It
// is the coarsest such partition, found by refining that by what is seen until it is stable. That is a
// bisimulation, and runs on several objects are made of what they do to each, so that a state of several
// objects can be reached if and only if its classes can.
func (table *modelTable) quotient() (classes []modelNumber, out *modelSystem) {
	full := table.system()
	classes = make([]modelNumber, full.size)
	seen := map[modelSeen]modelNumber{}
	for i, s := range table.situations {
		key := modelSeen{s.local.there, s.local.marks, s.local.content, s.local.byRun, s.local.first.on, s.local.second.on}
		if _, known := seen[key]; !known {
			seen[key] = modelNumber(len(seen))
		}
		classes[i] = seen[key]
	}
	for size := len(seen); ; {
		parts := map[string]modelNumber{}
		refined := make([]modelNumber, full.size)
		out = &modelSystem{hows: full.hows}
		for i := range full.size {
			rows, people, key := full.mapped(i, classes)
			n, known := parts[key]
			if !known {
				n = modelNumber(len(parts))
				parts[key] = n
				out.rows, out.people = append(out.rows, rows), append(out.people, people)
			}
			refined[i] = n
		}
		out.size = len(parts)
		if len(parts) == size {
			out.swapped = table.swapped(classes, size)
			return classes, out
		}
		classes, size = refined, len(parts)
	}
}

// mapped returns what can happen to a number, in terms of classes, and a text of it.
func (s *modelSystem) mapped(i int, classes []modelNumber) (rows [][]modelRow, people []modelNumber, key string) {
	text := []byte{byte(classes[i] >> 8), byte(classes[i])}
	for _, full := range s.rows[i] {
		var few []modelRow
		for _, row := range full {
			if !row.refused {
				for _, n := range row.numbers() {
					*n = classes[*n]
				}
			}
			few = append(few, row)
		}
		few = compactRows(few)
		rows = append(rows, few)
		for _, row := range few {
			text = row.appendTo(text)
		}
		text = append(text, '|')
	}
	for _, n := range s.people[i] {
		people = append(people, classes[n])
	}
	slices.Sort(people)
	people = slices.Compact(people)
	return rows, people, string(text) + fmt.Sprint(people)
}

// swapped maps each class to that with the owners exchanged. It is nil if that is none: then the owners
// are not alike.
func (table *modelTable) swapped(classes []modelNumber, size int) []modelNumber {
	out := make([]modelNumber, size)
	known := make([]bool, size)
	for i, s := range table.situations {
		n, there := table.number[s.local.swapped()]
		if !there || known[classes[i]] && out[classes[i]] != classes[n] {
			return nil
		}
		out[classes[i]], known[classes[i]] = classes[n], true
	}
	return out
}
