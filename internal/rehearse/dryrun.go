// SPDX-License-Identifier: Apache-2.0

package rehearse

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// split returns the definitions of the set and everything else: only once it is known which
// namespaces exist can be said which of the rest can be asked about.
func (r *run) split() (definitions, rest []*plan.Want) {
	for i := range r.facts.Wants {
		want := &r.facts.Wants[i]
		if object.StageOf(want.ID) == object.StageDefinitions {
			definitions = append(definitions, want)
		} else {
			rest = append(rest, want)
		}
	}
	return definitions, rest
}

// dryRun asks the server about each object that the facts at hand leave in doubt.
func (r *run) dryRun(ctx context.Context, wants []*plan.Want) error {
	doubtful := slices.DeleteFunc(slices.Clone(wants), func(want *plan.Want) bool {
		return r.proven[want.ID] || r.facts.Rehearsals[want.ID].Spared || r.unreachable(want.ID) || r.deferred(want.ID)
	})
	return r.cluster.Each(ctx, len(doubtful), func(ctx context.Context, i int) error { return r.ask(ctx, doubtful[i]) })
}

// unreachable says whether it is already known that the object can't be asked about.
func (r *run) unreachable(id object.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	live := r.facts.Live[id]
	return r.facts.Rehearsals[id].Failed != nil || live.Presence == plan.Unknown && live.Cause.Code != ""
}

// deferred says whether an object must wait for its namespace, and remembers that it does.
func (r *run) deferred(id object.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.facts.Rehearsals[id].Deferred {
		return true
	}
	if id.Namespace == "" || r.late {
		return false
	}
	namespace := r.facts.Rehearsals[object.ID{Kind: "Namespace", Name: id.Namespace}]
	if namespace.Created {
		r.facts.Rehearsals[id] = plan.Rehearsal{Deferred: true}
	}
	return namespace.Created
}

func (r *run) ask(ctx context.Context, want *plan.Want) error {
	entry := r.req.Record[want.ID]
	if r.scaled[want.ID] {
		if err := r.yield(ctx, want); err != nil {
			return err
		}
	}
	live := r.live(want.ID)
	if plan.Settled(r.req.Owner, *want, entry, live, r.req.Policy) {
		return nil
	}
	opts := cluster.ApplyOptions{Manager: r.req.Owner.Manager, DryRun: true}
	if live.Presence == plan.Present {
		opts.UID = live.Object.GetUID()
	}
	applied, err := r.cluster.Apply(ctx, want.Object, opts)
	if ctx.Err() != nil {
		return fmt.Errorf("rehearsing %s: %w", want.ID, context.Cause(ctx))
	}
	return r.answer(ctx, want, applied, err)
}

// answer turns the server's answer to a dry-run into a fact.
func (r *run) answer(ctx context.Context, want *plan.Want, applied cluster.Applied, err error) error {
	if webhook, unsupported := cluster.DryRunUnsupported(err); unsupported {
		return r.unanswered(ctx, want, webhook)
	}
	out := plan.Rehearsal{Result: applied.Object, Created: applied.Created}
	if err != nil {
		why := cluster.CauseOf(err)
		why.Detail = object.Mask(want.Object, why.Detail)
		out = plan.Rehearsal{Failed: &why}
	}
	r.mu.Lock()
	r.facts.Rehearsals[want.ID] = out
	r.mu.Unlock()
	seen := r.live(want.ID).Presence
	switch {
	case out.Created:
		r.setLive(want.ID, plan.Live{Presence: plan.Absent})
	case err == nil && seen != plan.Present, seen == plan.Unknown && out.Failed.Code == cause.ImmutableField:
		return r.read(ctx, want.ID, want.Object.GroupVersionKind().Version)
	}
	return nil
}

// unanswered takes note of an object that the server can't be asked about. What lives is read all the
// same: whose it is, and whether anything is to be done, is judged by that.
func (r *run) unanswered(ctx context.Context, want *plan.Want, webhook string) error {
	if r.live(want.ID).Presence == plan.Unknown {
		if err := r.read(ctx, want.ID, want.Object.GroupVersionKind().Version); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts.Rehearsals[want.ID] = plan.Rehearsal{Webhook: webhook, Created: r.facts.Live[want.ID].Presence == plan.Absent}
	return nil
}

// yield leaves the replicas of an autoscaled workload to its autoscaler.
func (r *run) yield(ctx context.Context, want *plan.Want) error {
	if r.live(want.ID) == (plan.Live{}) {
		if err := r.read(ctx, want.ID, want.Object.GroupVersionKind().Version); err != nil {
			return err
		}
	}
	live := r.live(want.ID)
	if live.Presence != plan.Present {
		return nil
	}
	want.Object = plan.YieldReplicas(want.Object, live.Object, r.req.Owner.Manager, r.req.Policy.Overrides)
	hash, err := plan.HashOf(want.Object)
	if hash != want.Hash {
		want.Rendered, want.Hash = cmp.Or(want.Rendered, want.Hash), hash
	}
	return err
}

// findClaims looks up who owns the objects of the set that carry another owner's labels.
func (r *run) findClaims(ctx context.Context) error {
	foreign := map[object.ID][]plan.Owner{}
	for _, want := range r.facts.Wants {
		live := r.facts.Live[want.ID]
		if live.Presence != plan.Present {
			continue
		}
		if owners := foreignOwners(live.Object, r.req.Owner); len(owners) > 0 {
			foreign[want.ID] = owners
		}
	}
	if len(foreign) == 0 || r.req.Claims == nil {
		return nil
	}
	claims, err := r.req.Claims(ctx, foreign)
	if err != nil {
		return fmt.Errorf("finding out who owns objects of the set: %w", err)
	}
	r.facts.Claims = claims
	return nil
}

func foreignOwners(u *unstructured.Unstructured, self plan.Owner) []plan.Owner {
	return slices.DeleteFunc(plan.OwnersOf(u, self.LabelGroup), self.Same)
}

// findClaimants looks up who else has the objects that would be deleted. It asks only if there are
// any.
func (r *run) findClaimants(ctx context.Context) error {
	going := slices.DeleteFunc(r.left(), func(id object.ID) bool {
		return plan.DecideStale(r.facts, r.req.Record[id], r.req.Policy).Action != plan.Delete
	})
	if len(going) == 0 || r.req.Claimants == nil {
		return nil
	}
	var err error
	r.facts.Claimants, r.facts.Unseen, err = r.req.Claimants(ctx, going)
	if err != nil {
		return fmt.Errorf("finding out who else has what left the set: %w", err)
	}
	return nil
}

// left returns what is on record and not in the set.
func (r *run) left() []object.ID {
	wanted := map[object.ID]bool{}
	for _, want := range r.facts.Wants {
		wanted[want.ID] = true
	}
	var out []object.ID
	for id := range r.req.Record {
		if !wanted[id] {
			out = append(out, id)
		}
	}
	return out
}

// finish makes the facts final: what was neither read nor asked about stays unknown, and says so.
func (r *run) finish() {
	for _, want := range r.facts.Wants {
		asked := r.facts.Rehearsals[want.ID]
		if _, known := r.facts.Live[want.ID]; !known && !asked.Deferred && asked.Failed == nil {
			r.facts.Live[want.ID] = plan.Live{Cause: cause.Cause{Code: cause.Unknown, Detail: "it was not looked at"}}
		}
	}
}
