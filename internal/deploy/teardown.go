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
	Policy          plan.Policy // all but Prune, Force and Adopt is used
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

// PlanTeardown decides what a teardown would do. It writes nothing. Without a record it is unknown what
// would go; the error is then a [NoRecordError].
func (e *Engine) PlanTeardown(ctx context.Context, req TeardownRequest) (*plan.Plan, error) {
	r := newTeardown(e, req)
	if err := r.prepareTeardown(ctx, req); err != nil {
		return nil, err
	}
	if !r.record.Exists {
		return nil, &NoRecordError{Owner: req.Owner, Namespace: req.RecordNamespace}
	}
	return r.plan, nil
}

// NoRecordError says that nothing is on record of an owner.
type NoRecordError struct {
	Owner     plan.Owner
	Namespace string // where the record was looked for
}

// Error implements error.
func (e *NoRecordError) Error() string {
	return fmt.Sprintf("there is no record of %s in the namespace %s", e.Owner, e.Namespace)
}

func newTeardown(e *Engine, req TeardownRequest) *run {
	r := &run{engine: e, req: Request{
		Owner: req.Owner, RecordNamespace: req.RecordNamespace, Policy: req.Policy, Imported: req.Imported,
		Approve: req.Approve, Changed: req.Changed, Peer: req.Peer, Revision: req.Revision, lock: req.lock,
	}}
	r.req.Policy.Prune = true
	return r
}

// Teardown deletes what an owner's record proves to be the owner's, and then the record. When its
// state is Done the owner may go.
func (e *Engine) Teardown(ctx context.Context, req TeardownRequest) TeardownOutcome {
	ctx = cluster.Calling(ctx, req.Owner.String())
	r := newTeardown(e, req)
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
	keep := req.Keep
	if keep == "" && !r.req.Policy.Prune {
		keep = "its record is damaged or was made in another cluster"
	}
	r.req.Policy.Prune = true
	// What goes in any case, or stays in any case, need not be looked into.
	r.req.Policy.GuardOff = r.req.Policy.GuardOff || req.TakeProtected || keep != ""
	facts, err := rehearse.Rehearse(ctx, r.engine.Cluster, rehearse.Request{
		Owner: req.Owner, Record: maps.Clone(r.entries), Policy: r.req.Policy, Origin: "deletion@" + r.record.Head.Digest,
		Claimants: r.engine.claimantsFor(req.Owner), RecordOf: record.OwnerOf,
		// Nested Kustomizations go, and judge by themselves what goes with them.
		Nested: func(context.Context, *unstructured.Unstructured) ([]plan.Nested, error) { return nil, nil },
	})
	if err != nil {
		return err
	}
	r.facts = facts
	r.writer = &apply.Writer{Cluster: r.engine.Cluster, Owner: req.Owner, Done: req.Changed}
	r.plan = plan.Teardown(facts, r.req.Policy)
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
	if err := r.release(ctx, r.plan.Spared); err != nil {
		return TeardownOutcome{Outcome: r.outcome(Failed, err)}
	}
	result, leaving := r.deletions(ctx, true)
	err = errors.Join(result.Err(), leaving.err)
	if req.Keep == "" {
		err = errors.Join(err, r.unknown(req))
	}
	if err != nil && !req.GiveUp {
		return TeardownOutcome{Outcome: r.end(ctx, Failed, &PruneError{Err: err})}
	}
	if (req.AwaitGone || leaving.more) && len(leaving.want.Objects) > 0 && !req.GiveUp {
		out := r.endTeardown(ctx, leaving.want)
		out.Wait, out.Leaving, out.More = leaving.want, leaving.report(), leaving.more
		return TeardownOutcome{Outcome: out}
	}
	if b := r.plan.Spared; req.HoldProtected && b != nil && !b.Released {
		return TeardownOutcome{Outcome: r.end(ctx, Held, &HeldError{Owner: req.Owner, Brake: *b})}
	}
	left := r.left(result)
	if req.AwaitGone || leaving.more {
		left = append(left, r.stuck(leaving.want)...)
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

// unknown names the objects of which nobody can say whether they are there, or what would go with them:
// they are looked at again as long as there is time.
func (r *run) unknown(req TeardownRequest) error {
	var errs []error
	for _, s := range r.plan.Stale {
		// Protected only because something could not be found out.
		doubtful := !req.HoldProtected && r.facts.Stakes[s.ID].Doubt != ""
		if s.Action == plan.Keep && (s.Live == nil || doubtful) {
			errs = append(errs, fmt.Errorf("%s: %s", s.ID, s.Reason))
		}
	}
	return errors.Join(errs...)
}

// left lists what stays: what was decided to be kept, and what could not be deleted.
func (r *run) left(result apply.Result) []plan.Step {
	why, deleted := map[object.ID]string{}, map[object.ID]bool{}
	for _, f := range result.Failures {
		why[f.ID] = "deleting it failed: " + f.Cause.String()
	}
	for _, c := range result.Changes {
		deleted[c.ID] = true
	}
	var out []plan.Step
	for _, s := range r.plan.Stale {
		reason, failed := why[s.ID]
		switch {
		case failed:
			s.Reason = reason
		case s.Action == plan.Delete && !deleted[s.ID]:
			s.Reason = "it was not deleted, because what needs it is still there"
		case s.Action != plan.Keep || s.Other != (plan.Owner{}) || s.Live != nil && s.Live.GetDeletionTimestamp() != nil:
			continue
		}
		out = append(out, s)
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
