// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"maps"
	"slices"
)

// A replay leads a few objects, side by side, through as many of the model's situations as it can. It is
// planned from the table, before anything is done: so it is the same each time.

// replayRun is a run, and how it ends.
type replayRun struct {
	modelHow
	phase   modelPhase
	choices []modelChoice
	within  []bool // which objects it writes, or deletes, before it ends
}

// replayStep is a run, or what people do to objects, and what there is to be found after it.
type replayStep struct {
	run  *replayRun
	acts map[int]modelAct // by object
	want []modelNumber
}

// replayPlan is what is still to be shown.
type replayPlan struct {
	table   *modelTable
	classes []modelNumber
	open    map[modelNumber]bool // classes, and then situations
	met     map[modelNumber]bool // situations
	deep    bool                 // all classes were shown: each situation is now a class of its own
	kinds   map[replayKind]bool  // endings that were shown

	next     [][]modelNumber // by situation: what can follow
	distance []int           // by situation: to the nearest that is open
}

type replayKind struct {
	modelHow
	phase modelPhase
}

// replayPhases are the ways in which a run can be made to end.
func replayPhases() []modelPhase {
	return []modelPhase{modelRefused, modelWritten, modelWriteFailed, modelDeleted, modelDeleteFailed, modelDone}
}

// replayModes are the modes that are replayed. A run that can't read is held by tests of its own.
func replayModes() []modelMode { return []modelMode{modelPlain, modelAdopt, modelKeeping} }

// pair is where a row says what a phase leaves, and whether the phase does anything to the object.
func (r *modelRow) pair(phase modelPhase) (pair [2]modelNumber, acts bool) {
	switch phase {
	case modelWritten:
		return r.written, r.writes
	case modelWriteFailed:
		return r.writeFailed, r.writes
	case modelDeleted:
		return r.deleted, r.deletes
	default:
		return r.settled, r.deletes
	}
}

func newReplayPlan(table *modelTable) *replayPlan {
	p := &replayPlan{table: table, open: map[modelNumber]bool{}, met: map[modelNumber]bool{}, kinds: map[replayKind]bool{}, distance: make([]int, len(table.situations))}
	p.classes, _ = table.quotient()
	for _, s := range table.situations {
		var next []modelNumber
		for how, rows := range s.rows {
			for _, row := range rows {
				if row.refused || !slices.Contains(replayModes(), how.mode) {
					continue
				}
				for _, n := range row.numbers() {
					next = append(next, *n)
				}
			}
		}
		next = slices.AppendSeq(next, maps.Values(s.people))
		slices.Sort(next)
		p.next = append(p.next, slices.Compact(next))
	}
	p.openReachable()
	p.measure()
	return p
}

// openReachable opens the classes of all situations that a replay can come to.
func (p *replayPlan) openReachable() {
	seen := map[modelNumber]bool{0: true}
	for queue := []modelNumber{0}; len(queue) > 0; queue = queue[1:] {
		p.open[p.classes[queue[0]]] = true
		for _, n := range p.next[queue[0]] {
			if !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
}

// measure finds how far each situation is from one that is open.
func (p *replayPlan) measure() {
	const far = 1000
	for n := range p.distance {
		p.distance[n] = far
		if p.open[p.classes[n]] {
			p.distance[n] = 0
		}
	}
	for changed := true; changed; {
		changed = false
		for n, next := range p.next {
			for _, after := range next {
				if d := p.distance[after] + 1; d < p.distance[n] {
					p.distance[n], changed = d, true
				}
			}
		}
	}
}

// trace plans what is done to objects that are not there at first.
func (p *replayPlan) trace(objects, runs int) []replayStep {
	state := make([]modelNumber, objects)
	var out []replayStep
	p.show(state)
	for range runs {
		step := p.bestRun(state)
		p.kinds[replayKind{step.run.modelHow, step.run.phase}] = true
		state = step.want
		p.show(state)
		out = append(out, step)
		if acts := p.bestActs(state); len(acts.acts) > 0 {
			state = acts.want
			p.show(state)
			out = append(out, acts)
		}
	}
	return out
}

func (p *replayPlan) show(state []modelNumber) {
	before := len(p.open)
	for _, n := range state {
		p.met[n] = true
		delete(p.open, p.classes[n])
	}
	if len(p.open) == 0 && !p.deep {
		p.deepen()
	}
	if len(p.open) < before {
		p.measure()
	}
}

// deepen goes on with single situations.
func (p *replayPlan) deepen() {
	p.deep = true
	for n := range p.classes {
		p.classes[n] = modelNumber(n)
	}
	p.openReachable()
	for n := range p.met {
		delete(p.open, n)
	}
	p.measure()
}

// bestRun is the run after which the objects are nearest to what is open.
func (p *replayPlan) bestRun(state []modelNumber) replayStep {
	var best replayStep
	least := 1 << 30
	for owner := range 2 {
		for _, mode := range replayModes() {
			for _, phase := range replayPhases() {
				how := modelHow{owner, mode}
				step, possible := p.runTo(state, how, phase)
				if !possible {
					continue
				}
				score := p.score(step.want)
				if !p.kinds[replayKind{how, phase}] {
					score -= 1000
				}
				if score < least {
					best, least = step, score
				}
			}
		}
	}
	return best
}

// score is less the nearer objects are to what is open, what two of them come to counting once.
func (p *replayPlan) score(state []modelNumber) int {
	shown := map[modelNumber]bool{}
	score := 0
	for _, n := range state {
		score += 2 * p.distance[n]
		if class := p.classes[n]; p.open[class] && !shown[class] {
			shown[class] = true
			score -= 3
		}
	}
	return score
}

// runTo is the best run of a kind that ends in a phase, if one can.
func (p *replayPlan) runTo(state []modelNumber, how modelHow, phase modelPhase) (replayStep, bool) {
	run := &replayRun{modelHow: how, phase: phase}
	step := replayStep{run: run}
	taken := map[modelNumber]bool{}
	refused, acts, within := false, 0, 0
	for _, n := range state {
		choice, in, after := p.best(n, run, taken)
		row := p.table.situations[n].rows[how][choice]
		_, does := row.pair(phase)
		refused = refused || row.refused
		if does {
			acts++
		}
		if does && in {
			within++
		}
		taken[p.classes[after]] = true
		run.choices, run.within, step.want = append(run.choices, choice), append(run.within, in), append(step.want, after)
	}
	switch phase {
	case modelRefused:
		return step, refused
	case modelWritten, modelDeleted:
		return step, acts > 0
	case modelWriteFailed, modelDeleteFailed:
		return step, within < acts
	}
	return step, true
}

// best is what is best wanted of one object, and whether the run comes to it before it ends.
func (p *replayPlan) best(n modelNumber, run *replayRun, taken map[modelNumber]bool) (choice modelChoice, in bool, after modelNumber) {
	least := 1 << 30
	for _, c := range slices.Sorted(maps.Keys(p.table.situations[n].rows[run.modelHow])) {
		row := p.table.situations[n].rows[run.modelHow][c]
		if run.phase == modelRefused {
			if row.refused {
				return c, false, n
			}
			choice, after = c, n
			continue
		}
		if row.refused {
			continue
		}
		pair, acts := row.pair(run.phase)
		for i, to := range pair {
			if i == 1 && !acts || i == 0 && acts && run.phase == modelDone {
				continue
			}
			score := 3 * p.distance[to]
			if taken[p.classes[to]] && p.distance[to] == 0 {
				score++
			}
			if score < least {
				least, choice, in, after = score, c, i == 1, to
			}
		}
	}
	return choice, in, after
}

// bestActs is what people do to bring objects nearer to what is open.
func (p *replayPlan) bestActs(state []modelNumber) replayStep {
	step := replayStep{acts: map[int]modelAct{}, want: slices.Clone(state)}
	taken := map[modelNumber]bool{}
	for i, n := range state {
		for _, act := range slices.Sorted(maps.Keys(p.table.situations[n].people)) {
			after := p.table.situations[n].people[act]
			if p.distance[after] < p.distance[step.want[i]] && !taken[p.classes[after]] {
				step.acts[i], step.want[i] = act, after
			}
		}
		taken[p.classes[step.want[i]]] = true
	}
	return step
}
