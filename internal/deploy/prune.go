// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
)

const (
	// judgements is how often an object that keeps changing is judged before its deletion is left
	// to the next run.
	judgements = 4
)

// prune deletes what the plan deletes, and settles.
func (r *run) prune(ctx context.Context) Outcome {
	if waits, err := r.releaseForOthers(ctx); err != nil {
		return r.end(ctx, Failed, err)
	} else if len(waits) > 0 {
		out := r.end(ctx, Waiting, nil)
		out.Awaits = waits
		return out
	}
	if err := r.release(ctx, r.plan.Brake); err != nil {
		return r.outcome(Failed, err)
	}
	result, leaving := r.deletions(ctx, false)
	if r.plan.Brake == nil {
		r.head.Pruned += len(result.Changes)
	}
	for _, s := range r.plan.Stale {
		switch s.Action {
		case plan.Forget:
			delete(r.entries, s.ID)
		case plan.Keep:
			r.retain(s)
		}
	}
	if err := errors.Join(result.Err(), leaving.err); err != nil {
		return r.end(ctx, Failed, &PruneError{Err: err})
	}
	switch {
	case len(leaving.want.Objects) > 0:
		out := r.end(ctx, Waiting, nil)
		out.Wait, out.Leaving, out.More = leaving.want, leaving.report(), leaving.more
		return out
	case r.plan.Brake != nil && !r.plan.Brake.Released:
		return r.end(ctx, Held, &HeldError{Owner: r.req.Owner, Brake: *r.plan.Brake})
	}
	return r.end(ctx, Done, nil)
}

// release writes down which deletions a person has approved, before the first of them: they may take
// several runs, and the approval is for all of them together.
func (r *run) release(ctx context.Context, b *plan.Brake) error {
	if b == nil || !b.Released {
		return nil
	}
	for i := range r.plan.Stale {
		s := &r.plan.Stale[i]
		if s.Action != plan.Delete || !slices.Contains(b.Objects, s.ID) {
			continue
		}
		s.Entry.Released = plan.ReleaseMark(r.facts.Origin, string(s.Live.GetUID()))
		r.entries[s.ID] = s.Entry
	}
	return r.save(ctx)
}

// leaving is what was deleted and is still there.
type leaving struct {
	want    observe.Want
	objects map[object.ID]*unstructured.Unstructured
	more    bool  // there is more to delete once it is gone
	err     error // why it is not known whether something is gone
}

// report says what holds the objects.
func (l leaving) report() observe.Report {
	if len(l.want.Objects) == 0 {
		return observe.Report{}
	}
	return observe.Assess(l.objects, l.want)
}

// deletions makes the plan's deletions true, phase by phase: what is left of one is waited for before
// the next one begins. Objects that an earlier run deleted are waited for only where something depends
// on their end, or where all are to be gone.
func (r *run) deletions(ctx context.Context, all bool) (apply.Result, leaving) {
	var out apply.Result
	gone := leaving{want: observe.Want{Selector: r.req.Owner.Selector()}, objects: map[object.ID]*unstructured.Unstructured{}}
	for phase := object.PhaseCustom; phase <= object.PhaseDefinitions; phase++ {
		result := r.deletePhase(ctx, phase)
		out.Changes = append(out.Changes, result.Changes...)
		out.Failures = append(out.Failures, result.Failures...)
		gone.more = r.deletesAfter(phase)
		deleted := result.Changes
		if all || gone.more {
			deleted = slices.Concat(deleted, r.leavingIn(phase))
		}
		r.proveGone(ctx, deleted, &gone)
		if gone.more && (len(gone.want.Objects) > 0 || gone.err != nil || len(out.Failures) > 0) {
			break
		}
	}
	r.changes = append(r.changes, out.Changes...)
	return out, gone
}

// deletesAfter says whether anything is deleted in later phases.
func (r *run) deletesAfter(phase object.Phase) bool {
	return slices.ContainsFunc(r.plan.Deletions(), func(s plan.Step) bool { return object.PhaseOf(s.ID) > phase })
}

// leavingIn returns objects of a phase that an earlier run, or somebody else, already deleted and that
// finalizers still hold.
func (r *run) leavingIn(phase object.Phase) []apply.Change {
	var out []apply.Change
	for _, s := range r.plan.Stale {
		if object.PhaseOf(s.ID) == phase && s.Action == plan.Keep && s.Live != nil && s.Live.GetDeletionTimestamp() != nil {
			out = append(out, apply.Change{ID: s.ID, Action: plan.Keep, Object: s.Live})
		}
	}
	return out
}

// deletePhase makes the deletions of one phase true. What changed since it was judged is judged again.
func (r *run) deletePhase(ctx context.Context, phase object.Phase) apply.Result {
	result := apply.Prune(ctx, r.writer, r.plan, phase)
	for range judgements - 1 {
		again, rest := r.judgeAgain(ctx, result.Failures)
		result.Failures = rest
		if len(again.Stale) == 0 {
			break
		}
		more := apply.Prune(ctx, r.writer, again, phase)
		result.Changes = append(result.Changes, more.Changes...)
		result.Failures = append(result.Failures, more.Failures...)
	}
	return result
}

// judgeAgain reads the objects whose deletion failed because they changed, and decides anew. It
// returns the deletions to try again, and the failures that stay.
func (r *run) judgeAgain(ctx context.Context, failures []*apply.Failure) (*plan.Plan, []*apply.Failure) {
	again := &plan.Plan{Owner: r.plan.Owner, Order: r.plan.Order}
	var rest []*apply.Failure
	for _, f := range failures {
		s := r.staleStep(f.ID)
		if s == nil || !apierrors.IsConflict(f.Err) {
			rest = append(rest, f)
			continue
		}
		live, err := r.engine.Cluster.Get(ctx, s.ID, s.Version())
		switch {
		case apierrors.IsNotFound(err):
			r.facts.Live[s.ID] = plan.Live{Presence: plan.Absent}
		case err != nil, live.GetUID() != s.Live.GetUID():
			rest = append(rest, f) // what was approved was the deletion of another object
			continue
		default:
			r.facts.Live[s.ID] = plan.Live{Presence: plan.Present, Object: live}
		}
		*s = plan.DecideStale(r.facts, s.Entry, r.req.Policy)
		if s.Action == plan.Delete {
			again.Stale = append(again.Stale, *s)
		}
	}
	return again, rest
}

func (r *run) staleStep(id object.ID) *plan.Step {
	for i := range r.plan.Stale {
		if r.plan.Stale[i].ID == id {
			return &r.plan.Stale[i]
		}
	}
	return nil
}

// retain keeps an entry of an object that stays in the cluster.
func (r *run) retain(s plan.Step) {
	if s.Live != nil && s.Live.GetDeletionTimestamp() == nil {
		s.Entry.Retained = true
	}
	r.entries[s.ID] = s.Entry
	r.notes = append(r.notes, fmt.Sprintf("%s is kept: %s", s.ID, s.Reason))
}

// proveGone reads each deleted object once more: only what is proven to be gone leaves the record.
// The others, which finalizers still hold, are to be waited for.
func (r *run) proveGone(ctx context.Context, deleted []apply.Change, left *leaving) {
	var mu sync.Mutex
	errs := []error{left.err}
	_ = r.engine.Cluster.Each(ctx, len(deleted), func(ctx context.Context, i int) error { // it reports through what is shared
		c := deleted[i]
		version := c.Object.GroupVersionKind().Version
		live, err := r.engine.Cluster.Get(ctx, c.ID, version)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case apierrors.IsNotFound(err) || cluster.CauseOf(err).Code == cause.KindMissing:
			r.drop(c)
		case err != nil:
			errs = append(errs, fmt.Errorf("seeing whether %s is gone: %w", c.ID, err))
		case live.GetUID() != c.Object.GetUID():
			r.drop(c) // a namesake that somebody made since; not ours
		default:
			left.want.Objects = append(left.want.Objects, observe.Target{ID: c.ID, Version: version, UID: live.GetUID(), Absent: true})
			left.objects[c.ID] = live
		}
		return nil
	})
	left.err = errors.Join(errs...)
}

// drop forgets an object that is proven to be gone.
func (r *run) drop(c apply.Change) {
	delete(r.entries, c.ID)
	if c.Action == plan.Keep { // an earlier run deleted it, so that it was to stay on record
		s := r.staleStep(c.ID)
		s.Action, s.Reason = plan.Forget, "it is gone"
	}
}
