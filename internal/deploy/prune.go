// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

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
	// readsAtOnce bounds the reads that prove deletions.
	readsAtOnce = 8
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
	result := r.deletions(ctx)
	for _, s := range r.plan.Stale {
		switch s.Action {
		case plan.Forget:
			delete(r.entries, s.ID)
		case plan.Keep:
			r.retain(s)
		}
	}
	leaving, err := r.proveGone(ctx, result.Changes)
	if err := errors.Join(result.Err(), err); err != nil {
		return r.end(ctx, Failed, &PruneError{Err: err})
	}
	switch {
	case len(leaving.Objects) > 0:
		out := r.end(ctx, Waiting, nil)
		out.Wait = leaving
		return out
	case r.plan.Brake != nil && !r.plan.Brake.Released:
		return r.end(ctx, Held, &HeldError{Owner: r.req.Owner, Brake: *r.plan.Brake})
	}
	return r.end(ctx, Done, nil)
}

// deletions makes the plan's deletions true. What changed since it was judged is judged again.
func (r *run) deletions(ctx context.Context) apply.Result {
	result := apply.Prune(ctx, r.writer, r.plan)
	for range judgements - 1 {
		again, rest := r.judgeAgain(ctx, result.Failures)
		result.Failures = rest
		if len(again.Stale) == 0 {
			break
		}
		more := apply.Prune(ctx, r.writer, again)
		result.Changes = append(result.Changes, more.Changes...)
		result.Failures = append(result.Failures, more.Failures...)
	}
	r.changes = append(r.changes, result.Changes...)
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
// The others, which finalizers still hold, are returned to be waited for.
func (r *run) proveGone(ctx context.Context, deleted []apply.Change) (observe.Want, error) {
	want := observe.Want{Selector: r.req.Owner.Selector()}
	var mu sync.Mutex
	var errs []error
	var group errgroup.Group
	group.SetLimit(readsAtOnce)
	for _, c := range deleted {
		group.Go(func() error {
			version := c.Object.GroupVersionKind().Version
			live, err := r.engine.Cluster.Get(ctx, c.ID, version)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case apierrors.IsNotFound(err) || cluster.CauseOf(err).Code == cause.KindMissing:
				delete(r.entries, c.ID)
			case err != nil:
				errs = append(errs, fmt.Errorf("seeing whether %s is gone: %w", c.ID, err))
			case live.GetUID() != c.Object.GetUID():
				delete(r.entries, c.ID) // a namesake that somebody made since; not ours
			default:
				want.Objects = append(want.Objects, observe.Target{ID: c.ID, Version: version, UID: live.GetUID(), Absent: true})
			}
			return nil
		})
	}
	_ = group.Wait() // the functions report through what they share
	return want, errors.Join(errs...)
}
