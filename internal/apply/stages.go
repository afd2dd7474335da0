// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Result is what was done, and what could not be.
type Result struct {
	Changes  []Change
	Failures []*Failure
	// Steps are the plan's steps as they stand after the run: those that were to be decided
	// later are decided.
	Steps []plan.Step
}

// Err joins the failures.
func (r Result) Err() error {
	errs := make([]error, len(r.Failures))
	for i, f := range r.Failures {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// Decider decides about objects of a stage that could not be rehearsed before.
type Decider func(ctx context.Context, ids []object.ID) ([]plan.Step, error)

// Established waits until definitions are served.
type Established func(ctx context.Context, changed []Change) error

// Stages makes the steps true, stage by stage. At the start of a stage, and before anything of it
// is written, what had to wait for earlier stages is decided; if the server refuses any of it,
// nothing of that stage is written. A failed write stops the stage: what is under way is finished,
// no further stage begins.
func Stages(ctx context.Context, w *Writer, p *plan.Plan, decide Decider, established Established) (Result, error) {
	out := Result{Steps: slices.Clone(p.Steps)}
	for stage := object.StageDefinitions; stage <= object.StageWebhooks; stage++ {
		steps, err := stageSteps(ctx, &out, func(id object.ID) bool { return p.Order.StageOf(id) == stage }, decide)
		if err != nil {
			return out, err
		}
		if refused := refusals(steps); len(refused) > 0 {
			out.Failures = append(out.Failures, refused...)
			return out, nil
		}
		before := len(out.Changes)
		w.writeStage(ctx, p.Order, steps, &out)
		if len(out.Failures) > 0 {
			return out, nil
		}
		if ctx.Err() != nil {
			return out, fmt.Errorf("applying: %w", context.Cause(ctx)) // some of it was not even tried
		}
		if changed := out.Changes[before:]; stage == object.StageDefinitions && len(changed) > 0 {
			if err := established(ctx, changed); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// stageSteps returns the decided steps of a stage, and puts late decisions into the result.
func stageSteps(ctx context.Context, out *Result, in func(object.ID) bool, decide Decider) ([]plan.Step, error) {
	var late []object.ID
	for _, s := range out.Steps {
		if s.Action == plan.Later && in(s.ID) {
			late = append(late, s.ID)
		}
	}
	if len(late) > 0 {
		decided, err := decide(ctx, late)
		if err != nil {
			return nil, fmt.Errorf("rehearsing what depends on earlier stages: %w", err)
		}
		replaceSteps(out.Steps, decided)
	}
	var steps []plan.Step
	for _, s := range out.Steps {
		if in(s.ID) {
			steps = append(steps, s)
		}
	}
	return steps, nil
}

func replaceSteps(steps, decided []plan.Step) {
	for _, d := range decided {
		if i := slices.IndexFunc(steps, func(s plan.Step) bool { return s.ID == d.ID }); i >= 0 {
			steps[i] = d
		}
	}
}

func refusals(steps []plan.Step) []*Failure {
	var out []*Failure
	for _, s := range steps {
		if s.Action == plan.Refuse || s.Action == plan.Conflict {
			out = append(out, &Failure{ID: s.ID, Cause: s.Cause, Err: errors.New(s.Reason)})
		}
	}
	return out
}

// writeStage writes a stage wave by wave, and then, one by one, what could not be rehearsed: whatever
// comes of that, all else of the stage is done.
func (w *Writer) writeStage(ctx context.Context, order object.Order, steps []plan.Step, out *Result) {
	byWave := map[int][]plan.Step{}
	var alone []plan.Step
	for _, s := range steps {
		switch {
		case s.Action != plan.Create && s.Action != plan.Configure && s.Action != plan.Replace:
		case s.Unrehearsed != "":
			alone = append(alone, s)
		default:
			wave := order.WaveOf(s.ID)
			byWave[wave] = append(byWave[wave], s)
		}
	}
	var waves [][]plan.Step
	for _, wave := range slices.Sorted(maps.Keys(byWave)) {
		waves = append(waves, byWave[wave])
	}
	for _, wave := range slices.AppendSeq(waves, slices.Chunk(alone, 1)) {
		if len(out.Failures) == 0 {
			w.writeWave(ctx, wave, out)
		}
	}
}

// writeWave writes objects side by side. After a failure no further write begins.
func (w *Writer) writeWave(ctx context.Context, steps []plan.Step, out *Result) {
	var mu sync.Mutex
	var failed atomic.Bool
	_ = w.Cluster.Each(ctx, len(steps), func(ctx context.Context, i int) error { // it reports through the result
		if failed.Load() || ctx.Err() != nil {
			return nil
		}
		change, failure := w.do(ctx, steps[i])
		mu.Lock()
		defer mu.Unlock()
		if failure != nil {
			failed.Store(true)
			out.Failures = append(out.Failures, failure)
			return nil
		}
		if change.Action == plan.Unchanged {
			replaceSteps(out.Steps, []plan.Step{unchanged(steps[i], change)})
			return nil
		}
		out.Changes = append(out.Changes, change)
		w.done(change)
		return nil
	})
	sortResult(out)
}

// unchanged returns a step that turned out to have nothing to do.
func unchanged(s plan.Step, c Change) plan.Step {
	s.Action, s.Reason, s.Unrehearsed, s.Spared, s.Corrects = plan.Unchanged, "", "", false, false
	s.Live, s.Now = c.Object, c.Entry.Live
	return s
}

func sortResult(out *Result) {
	slices.SortStableFunc(out.Changes, func(a, b Change) int { return object.CompareApplyOrder(a.ID, b.ID) })
	slices.SortStableFunc(out.Failures, func(a, b *Failure) int { return object.CompareApplyOrder(a.ID, b.ID) })
}
