// SPDX-License-Identifier: Apache-2.0

package rehearse

import (
	"context"
	"slices"

	"github.com/kustomizer/kustomizer/internal/plan"
)

// spare notes the one object of the set that is in doubt, where there is just one, and it may be
// applied without a rehearsal. Where the plan may have to be shown to somebody, all is rehearsed.
func (r *run) spare(ctx context.Context) error {
	if !r.req.Spare || r.req.Policy.Prune && len(r.left()) > 0 { // what left may be deleted: that is no single change
		return nil
	}
	err := r.cluster.Each(ctx, len(r.facts.Wants), func(ctx context.Context, i int) error { return r.prove(ctx, &r.facts.Wants[i]) })
	if err != nil || len(r.proven) != len(r.facts.Wants)-1 {
		return err
	}
	i := slices.IndexFunc(r.facts.Wants, func(want plan.Want) bool { return !r.proven[want.ID] })
	want := r.facts.Wants[i]
	_, asked := r.facts.Rehearsals[want.ID] // it is known already that it can't be asked about
	if !asked && !r.scaled[want.ID] && plan.Sparable(r.req.Owner, want, r.req.Record[want.ID], r.live(want.ID), r.req.Policy) {
		r.facts.Rehearsals[want.ID] = plan.Rehearsal{Spared: true}
	}
	return nil
}

// prove notes an object that is proven to be as wanted.
func (r *run) prove(ctx context.Context, want *plan.Want) error {
	live := r.live(want.ID)
	if r.scaled[want.ID] && live.Presence == plan.Present {
		if err := r.yield(ctx, want); err != nil {
			return err
		}
	}
	if !plan.Settled(r.req.Owner, *want, r.req.Record[want.ID], live, r.req.Policy) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proven[want.ID] = true
	return nil
}
