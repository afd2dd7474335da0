// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/rehearse"
)

// TeardownRequest says how an owner's objects go when the owner goes.
type TeardownRequest struct {
	Owner           plan.Owner
	RecordNamespace string
	Policy          plan.Policy // Protected and Overrides are used
	Imported        []plan.Entry
	// Keep: nothing is deleted, all of it is left behind, for this reason.
	Keep string
	// TakeProtected: objects of protected kinds go as well.
	TakeProtected bool
	// AwaitGone: it is done only when everything deleted is gone.
	AwaitGone bool
	// GiveUp: no more time; what could not be deleted is left behind and written down.
	GiveUp bool
	// HoldProtected: objects of protected kinds that stay are no leftovers. They stay on record,
	// until their deletion is approved.
	HoldProtected bool
	Revision      string // what the source has now: see Peer
	// Approve, Changed and Peer are those of [Request].
	Approve func(ctx context.Context, p *plan.Plan) error
	Changed func(apply.Change)
	Peer    func(ks *unstructured.Unstructured) (until time.Time, is bool)

	lock *runLock
}

// TeardownOutcome is an outcome together with what stays in the cluster.
type TeardownOutcome struct {
	Outcome
	Left       []plan.Step
	LeftRecord string // ConfigMap that lists what stays, where anything does
}

// Teardown deletes what an owner's record proves to be the owner's, and then the record. When its
// state is Done the owner may go.
func (e *Engine) Teardown(ctx context.Context, req TeardownRequest) TeardownOutcome {
	r := &run{engine: e, req: Request{
		Owner: req.Owner, RecordNamespace: req.RecordNamespace, Policy: req.Policy, Imported: req.Imported,
		Approve: req.Approve, Changed: req.Changed, Peer: req.Peer, Revision: req.Revision, lock: req.lock,
	}}
	r.req.Policy.Prune = true
	if err := r.prepareTeardown(ctx, req); err != nil {
		if req.GiveUp && !transient(err) {
			r.notes = append(r.notes, fmt.Sprintf("all objects stay, and their record: %v", err))
			return TeardownOutcome{Outcome: r.outcome(Done, nil)}
		}
		return TeardownOutcome{Outcome: r.outcome(Failed, err)}
	}
	if err := r.approveTeardown(ctx); err != nil {
		return TeardownOutcome{Outcome: r.outcome(Failed, err)}
	}
	return r.teardown(ctx, req)
}

// approveTeardown has the plan approved, and takes the run lock.
func (r *run) approveTeardown(ctx context.Context) error {
	if r.req.Approve != nil {
		if err := r.req.Approve(ctx, r.plan); err != nil {
			return err
		}
	}
	return r.hold(ctx)
}

// transient says whether it makes sense to try again what failed, time or not.
func transient(err error) bool {
	code := cluster.CauseOf(err).Code
	return errors.Is(err, context.Canceled) || code == cause.ServerUnavailable || code == cause.Throttled || code == cause.Conflict
}

// prepareTeardown decides what goes and what stays.
func (r *run) prepareTeardown(ctx context.Context, req TeardownRequest) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	r.head = r.record.Head
	facts, err := rehearse.Rehearse(ctx, r.engine.Cluster, rehearse.Request{
		Owner: req.Owner, Record: maps.Clone(r.entries), Policy: r.req.Policy, Claimants: r.engine.claimantsFor(req.Owner),
	})
	if err != nil {
		return err
	}
	r.facts = facts
	r.writer = &apply.Writer{Cluster: r.engine.Cluster, Owner: req.Owner, Done: req.Changed}
	r.plan = plan.Teardown(facts, r.req.Policy, req.TakeProtected)
	keep := req.Keep
	if keep == "" && !r.req.Policy.Prune {
		keep = "its record is damaged or was made in another cluster"
	}
	if keep != "" {
		leaveAll(r.plan, keep)
	}
	return nil
}

func leaveAll(p *plan.Plan, why string) {
	for i := range p.Stale {
		if p.Stale[i].Action == plan.Delete {
			p.Stale[i].Action, p.Stale[i].Reason = plan.Keep, why
		}
	}
}

func (r *run) teardown(ctx context.Context, req TeardownRequest) TeardownOutcome {
	waits, err := r.releaseForOthers(ctx)
	switch {
	case err != nil && !req.GiveUp:
		return TeardownOutcome{Outcome: r.end(ctx, Failed, err)}
	case err != nil:
		leaveAll(r.plan, err.Error())
	case len(waits) > 0 && !req.GiveUp:
		out := r.end(ctx, Waiting, nil)
		out.Awaits = waits
		return TeardownOutcome{Outcome: out}
	case len(waits) > 0:
		leaveAll(r.plan, strings.Join(waits, "; "))
	}
	result := r.deletions(ctx)
	waiting, err := r.proveGone(ctx, append(result.Changes, r.leaving()...))
	err = errors.Join(result.Err(), err)
	if req.Keep == "" {
		err = errors.Join(err, r.unknown())
	}
	if err != nil && !req.GiveUp {
		return TeardownOutcome{Outcome: r.end(ctx, Failed, &PruneError{Err: err})}
	}
	if req.AwaitGone && len(waiting.Objects) > 0 && !req.GiveUp {
		out := r.endTeardown(ctx, waiting)
		out.Wait = waiting
		return TeardownOutcome{Outcome: out}
	}
	if b := r.plan.Spared; req.HoldProtected && b != nil && !b.Released {
		return TeardownOutcome{Outcome: r.end(ctx, Held, &HeldError{Owner: req.Owner, Brake: *b})}
	}
	left := r.left(result.Failures)
	if req.AwaitGone {
		left = append(left, r.stuck(waiting)...)
	}
	return r.finish(ctx, left, req.GiveUp)
}

// endTeardown settles the record while the last objects go. Where the namespace that the record
// lies in is one of them, the record goes with it and can't be written any more.
func (r *run) endTeardown(ctx context.Context, waiting observe.Want) Outcome {
	for _, o := range waiting.Objects {
		if o.ID == (object.ID{Kind: "Namespace", Name: r.req.RecordNamespace}) {
			return r.outcome(Waiting, nil)
		}
	}
	return r.end(ctx, Waiting, nil)
}

// stuck lists what was deleted and is still there.
func (r *run) stuck(waiting observe.Want) []plan.Step {
	var out []plan.Step
	for _, o := range waiting.Objects {
		s := *r.staleStep(o.ID)
		s.Reason = "it is still being deleted"
		if held := s.Live.GetFinalizers(); len(held) > 0 {
			s.Reason += ": finalizers " + strings.Join(held, ", ")
		}
		out = append(out, s)
	}
	return out
}

// unknown names the objects of which nobody can say whether they are there: they are looked at
// again as long as there is time.
func (r *run) unknown() error {
	var errs []error
	for _, s := range r.plan.Stale {
		if s.Action == plan.Keep && s.Live == nil {
			errs = append(errs, fmt.Errorf("%s: %s", s.ID, s.Reason))
		}
	}
	return errors.Join(errs...)
}

// leaving returns objects that an earlier run, or somebody else, already deleted and that
// finalizers still hold.
func (r *run) leaving() []apply.Change {
	var out []apply.Change
	for _, s := range r.plan.Stale {
		if s.Action == plan.Keep && s.Live != nil && s.Live.GetDeletionTimestamp() != nil {
			out = append(out, apply.Change{ID: s.ID, Action: plan.Delete, Object: s.Live})
		}
	}
	return out
}

// left lists what stays: what was decided to be kept, and what could not be deleted.
func (r *run) left(failures []*apply.Failure) []plan.Step {
	why := map[object.ID]string{}
	for _, f := range failures {
		why[f.ID] = "deleting it failed: " + f.Cause.String()
	}
	var out []plan.Step
	for _, s := range r.plan.Stale {
		if reason, failed := why[s.ID]; failed {
			s.Reason = reason
			out = append(out, s)
		} else if s.Action == plan.Keep && s.Other == (plan.Owner{}) && (s.Live == nil || s.Live.GetDeletionTimestamp() == nil) {
			out = append(out, s)
		}
	}
	return out
}

// finish writes down what stays and removes the record. When there is no more time, or the namespace
// to write it down in goes itself, that neither can be done does not hold up the owner: the outcome
// still says what stays.
func (r *run) finish(ctx context.Context, left []plan.Step, giveUp bool) TeardownOutcome {
	out := TeardownOutcome{Left: left}
	var err error
	if len(left) > 0 {
		out.LeftRecord, err = record.SaveLeftovers(ctx, r.engine.Cluster, r.record, left)
	}
	if err == nil {
		err = r.record.Delete(ctx, r.engine.Cluster)
	}
	giveUp = giveUp || cluster.CauseOf(err).Code == cause.NamespaceGoing
	if err != nil && (!giveUp || transient(err)) {
		return TeardownOutcome{Outcome: r.outcome(Failed, err)}
	}
	if err != nil {
		r.notes = append(r.notes, err.Error())
	}
	out.Outcome = r.outcome(Done, nil)
	return out
}
