// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// modelProduct explores several objects by what a table says of each.
//
// A run on several objects is made of what it does to each: the engine decides about each object from
// facts about that object, the record before the first write and the one at the end are one write each,
// and the run ends after any choice of the writes of a stage, which no order holds together. Objects meet
// in one place: one that is refused keeps the whole run from writing. The test of the sum
// compares that with runs of the engine's code on two and three objects.
type modelProduct struct {
	*modelSystem
	objects int
	stages  modelEnds
	visited []uint64 // a bit for each state
	states  int
	rounds  int
}

// explore goes on until nothing new is found, or for so many rounds. The states of a round are gone on
// from in parallel: which of them finds a state first makes no difference to which are found.
func (s *modelSystem) explore(objects, rounds int) *modelProduct {
	total := 1
	for range objects {
		total *= s.size
	}
	p := &modelProduct{modelSystem: s, objects: objects, stages: s.ends(), visited: make([]uint64, total/64+1)}
	next := []uint32{}
	p.reach([]modelNumber{0, 0, 0}[:objects], &next)
	for len(next) > 0 && p.rounds < rounds {
		p.rounds++
		p.states += len(next)
		next = p.round(next)
	}
	p.states += len(next)
	return p
}

// round goes on from states and returns those that are new.
func (p *modelProduct) round(states []uint32) []uint32 {
	const atOnce = 64
	var at atomic.Int64
	found := make([][]uint32, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for w := range found {
		workers.Go(func() {
			for {
				from := int(at.Add(atOnce)) - atOnce
				if from >= len(states) {
					return
				}
				for _, code := range states[from:min(from+atOnce, len(states))] {
					p.successors(p.decode(code), func(after []modelNumber) { p.reach(after, &found[w]) })
				}
			}
		})
	}
	workers.Wait()
	return slices.Concat(found...)
}

// reach takes a state in, if it is new.
func (p *modelProduct) reach(state []modelNumber, next *[]uint32) {
	code := p.canonical(state)
	bit := uint64(1) << (code % 64)
	word := &p.visited[code/64]
	if atomic.LoadUint64(word)&bit == 0 && atomic.OrUint64(word, bit)&bit == 0 {
		*next = append(*next, code)
	}
}

// canonical is one number for all states that differ only in which object is which and, where the owners
// are alike, which owner is which. All objects have the same table, so the first changes nothing that can
// happen. Nor does the second where exchanging the owners maps the table onto itself: the test of the
// reductions checks that for every situation.
func (p *modelProduct) canonical(state []modelNumber) uint32 {
	code := p.encode(state)
	if p.swapped == nil {
		return code
	}
	var other [3]modelNumber
	for i, n := range state {
		other[i] = p.swapped[n]
	}
	return min(code, p.encode(other[:len(state)]))
}

func (p *modelProduct) encode(state []modelNumber) uint32 {
	var sorted [3]modelNumber
	copy(sorted[:], state)
	if len(state) > 1 && sorted[0] > sorted[1] {
		sorted[0], sorted[1] = sorted[1], sorted[0]
	}
	if len(state) > 2 {
		if sorted[1] > sorted[2] {
			sorted[1], sorted[2] = sorted[2], sorted[1]
		}
		if sorted[0] > sorted[1] {
			sorted[0], sorted[1] = sorted[1], sorted[0]
		}
	}
	code := uint32(0)
	for _, n := range sorted[:len(state)] {
		code = code*uint32(p.size) + uint32(n)
	}
	return code
}

func (p *modelProduct) decode(code uint32) []modelNumber {
	out := make([]modelNumber, p.objects)
	for i := range out {
		out[len(out)-1-i] = modelNumber(code % uint32(p.size))
		code /= uint32(p.size)
	}
	return out
}

// has says whether a state was reached.
func (p *modelProduct) has(code uint32) bool { return p.visited[code/64]&(1<<(code%64)) != 0 }

// successors visits all states that follow on one. The state that it shows is its own.
func (p *modelProduct) successors(state []modelNumber, visit func([]modelNumber)) {
	var after [3]modelNumber
	shown := after[:len(state)]
	for i, n := range state {
		copy(shown, state)
		for _, by := range p.people[n] {
			shown[i] = by
			visit(shown)
		}
	}
	for how := range p.hows {
		for stage := range modelStages {
			p.combine(state, how, stage, shown, visit)
		}
	}
}

// modelStages is in how many stages a run can end: written, write failed, deleted, settled.
const modelStages = 4

// modelEnds is, by class and run, what each stage can leave of the object, whatever is wanted of it.
type modelEnds [][][modelStages][]modelNumber

// ends takes the choices together: each object may be wanted or not, and written before the end or not,
// whatever becomes of the others, so that the states which a stage can leave are all combinations of what
// it can leave of each. A choice that is refused is left out: nothing is written then.
func (s *modelSystem) ends() modelEnds {
	out := make(modelEnds, s.size)
	for n, hows := range s.rows {
		for _, rows := range hows {
			var ends [modelStages][]modelNumber
			for _, row := range rows {
				if row.refused {
					continue
				}
				for stage, pair := range [modelStages][2]modelNumber{row.written, row.writeFailed, row.deleted, row.settled} {
					ends[stage] = append(ends[stage], pair[0], pair[1])
				}
			}
			for stage := range ends {
				slices.Sort(ends[stage])
				ends[stage] = slices.Compact(ends[stage])
			}
			out[n] = append(out[n], ends)
		}
	}
	return out
}

// combine visits all combinations of what a stage can leave of each object.
func (p *modelProduct) combine(state []modelNumber, how, stage int, shown []modelNumber, visit func([]modelNumber)) {
	if len(state) == 0 {
		visit(shown)
		return
	}
	rest := len(state) - 1
	for _, n := range p.stages[state[rest]][how][stage] {
		shown[rest] = n
		p.combine(state[:rest], how, stage, shown, visit)
	}
}
