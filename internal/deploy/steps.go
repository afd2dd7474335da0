// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/rehearse"
)

// takeOver makes the owner's what people's hands left on objects that are refused, if that may be all
// that is in the way. It changes who owns which fields, and no field. It says whether it did.
func (r *run) takeOver(ctx context.Context) bool {
	refused := r.plan.Refused()
	for _, s := range refused {
		if !s.CleanUp {
			return false
		}
	}
	for _, s := range refused {
		if r.writer.TakeOver(ctx, s) != nil {
			return false // what the server said before is what is to be told
		}
	}
	return len(refused) > 0
}

// recordUnion stores what was and what is about to be, before the first write.
func (r *run) recordUnion(ctx context.Context) error {
	if r.plan.Writes() {
		if err := r.hold(ctx); err != nil {
			return notRecorded(ctx, err)
		}
	}
	grown := !r.record.Exists && len(r.entries) > 0
	for _, s := range r.plan.Steps {
		if entry, grows := r.intention(s); grows {
			r.entries[s.ID] = entry
			grown = true
		}
	}
	grown = r.claim() || grown
	grown = r.handOver() || grown
	var err error
	switch {
	case grown:
		err = r.save(ctx)
	case r.unfinished():
		err = r.tell(ctx) // the run that stored it may have died before it told
	}
	return notRecorded(ctx, err)
}

// notRecorded says of an error that kept a set from being recorded that nothing was applied. That another
// run was faster is no such error.
func notRecorded(ctx context.Context, err error) error {
	var lost *record.ConflictError
	if err == nil || ctx.Err() != nil || errors.As(err, &lost) || apierrors.IsConflict(err) {
		return err
	}
	return &NotRecordedError{Err: err}
}

// unfinished says whether a run died, or failed, between recording and applying.
func (r *run) unfinished() bool {
	for _, e := range r.entries {
		if e.Pending {
			return true
		}
	}
	return false
}

// intention returns the entry to store before a step is made true, where there has to be one: for
// what is not on record as ours, and for what will have another UID than the one on record.
func (r *run) intention(s plan.Step) (plan.Entry, bool) {
	entry, known := r.entries[s.ID]
	ours := known && entry.Ours()
	switch s.Action {
	case plan.Create, plan.Replace, plan.Later:
		return plan.Entry{ID: s.ID, Version: s.Version(), UID: entry.UID, Pending: true}, !ours || !entry.Pending
	case plan.Configure:
		another := !entry.Pending && entry.UID != string(s.Live.GetUID())
		return plan.Entry{ID: s.ID, Version: s.Version(), UID: entry.UID, Pending: true}, !ours || another
	case plan.Unchanged:
		// It is as wanted, and its owner labels and fields are already ours: only the record of
		// it is missing.
		if !ours {
			return r.asApplied(s, s.Live), true
		}
	}
	return plan.Entry{}, false
}

func (r *run) save(ctx context.Context) error {
	if err := r.record.Save(ctx, r.engine.Cluster, r.head, r.entries); err != nil {
		return err
	}
	return r.tell(ctx)
}

func (r *run) tell(ctx context.Context) error {
	if r.req.Recorded == nil {
		return nil
	}
	return r.req.Recorded(ctx, maps.Clone(r.entries))
}

func (r *run) asApplied(s plan.Step, live *unstructured.Unstructured) plan.Entry {
	return plan.Entry{
		ID: s.ID, Version: s.Version(), UID: string(live.GetUID()),
		Desired: s.Want.Hash, Rendered: s.Want.Rendered, Live: plan.Fingerprint(live, r.req.Owner.Manager),
	}
}

// apply makes the plan's steps true and takes into the record what was done.
func (r *run) apply(ctx context.Context) error {
	result, err := apply.Stages(ctx, r.writer, r.plan, r.decideLater, r.established)
	r.plan.Steps = result.Steps
	r.changes = append(r.changes, result.Changes...)
	for _, c := range result.Changes {
		r.entries[c.ID] = c.Entry
	}
	for _, s := range result.Steps {
		if s.Action == plan.Unchanged && s.Live != nil {
			r.entries[s.ID] = r.asApplied(s, s.Live)
		}
	}
	r.claim()
	r.tookOver(result)
	if conflicts := r.plan.Conflicts(); len(conflicts) > 0 {
		return errors.Join(err, &ConflictError{Steps: conflicts})
	}
	return errors.Join(err, result.Err())
}

func (r *run) decideLater(ctx context.Context, ids []object.ID) ([]plan.Step, error) {
	if err := rehearse.Later(ctx, r.engine.Cluster, r.facts, ids, r.rehearse); err != nil {
		return nil, err
	}
	var steps []plan.Step
	for i := range r.facts.Wants {
		want := &r.facts.Wants[i]
		for _, id := range ids {
			if want.ID == id {
				steps = append(steps, plan.DecideWant(r.facts, want, r.req.Policy))
			}
		}
	}
	return steps, nil
}

// established waits until the definitions that were written are served, and has kinds discovered
// anew.
func (r *run) established(ctx context.Context, changed []apply.Change) error {
	want := observe.Want{Selector: r.req.Owner.Selector()}
	var kinds []schema.GroupVersionKind
	for _, c := range changed {
		if c.ID.Kind == "CustomResourceDefinition" {
			want.Objects = append(want.Objects, r.target(c.ID, c.Object))
			kinds = append(kinds, defined(c.Object)...)
		}
	}
	if len(want.Objects) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, definitionsTimeout)
	defer cancel()
	report, err := observe.Until(ctx, r.engine.Cluster, want, nil)
	if err == nil && len(report.Failed) > 0 {
		err = fmt.Errorf("%s: %s", report.Failed[0].ID, report.Failed[0].Status.Cause)
	}
	if err == nil {
		err = r.served(ctx, kinds)
	}
	if err != nil {
		return fmt.Errorf("waiting for definitions to be served: %w", err)
	}
	return nil
}

// defined lists the kinds that a definition defines.
func defined(definition *unstructured.Unstructured) []schema.GroupVersionKind {
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	var out []schema.GroupVersionKind
	for _, v := range versions {
		m, _ := v.(map[string]any)
		if name, ok := m["name"].(string); ok && m["served"] == true {
			out = append(out, schema.GroupVersionKind{Group: group, Version: name, Kind: kind})
		}
	}
	return out
}

// served waits until discovery shows the kinds: it lags behind a definition's condition.
func (r *run) served(ctx context.Context, kinds []schema.GroupVersionKind) error {
	tick := time.NewTicker(discoveryPace)
	defer tick.Stop()
	for {
		r.engine.Cluster.Forget()
		var missing error
		for _, res := range r.engine.Cluster.ResolveAll(ctx, kinds) {
			missing = cmp.Or(res.Err, missing)
		}
		if missing == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return missing
		case <-tick.C:
		}
	}
}

func (r *run) target(id object.ID, live *unstructured.Unstructured) observe.Target {
	_, vanishes, _ := unstructured.NestedFieldNoCopy(live.Object, "spec", "ttlSecondsAfterFinished")
	return observe.Target{
		ID: id, Version: live.GroupVersionKind().Version,
		UID: live.GetUID(), MinResourceVersion: live.GetResourceVersion(),
		MayVanish: vanishes && id.Kind == "Job",
	}
}

// health judges the set from the objects at hand. It says whether the run ends here.
func (r *run) health(ctx context.Context) (Outcome, bool) {
	if !r.req.Wait {
		return Outcome{}, false
	}
	want, objects := r.healthWant()
	r.report = observe.Assess(objects, want)
	switch {
	case len(r.report.Failed) > 0:
		return r.end(ctx, Sick, &NotHealthyError{Report: r.report}), true
	case len(r.report.Pending) > 0:
		out := r.end(ctx, Waiting, nil)
		out.Wait = want
		return out, true
	}
	return Outcome{}, false
}

// healthWant lists what should be healthy, with the newest state of it at hand.
func (r *run) healthWant() (observe.Want, map[object.ID]*unstructured.Unstructured) {
	want := observe.Want{Selector: r.req.Owner.Selector()}
	objects := map[object.ID]*unstructured.Unstructured{}
	for _, s := range r.plan.Steps {
		if s.Live != nil {
			objects[s.ID] = s.Live
		}
	}
	for _, c := range r.changes {
		objects[c.ID] = c.Object
	}
	for _, s := range r.plan.Steps {
		if live := objects[s.ID]; live != nil && s.Action != plan.Skip && s.Action != plan.Conflict {
			want.Objects = append(want.Objects, r.target(s.ID, live))
		}
	}
	return want, objects
}

// end settles the record and returns the outcome; a failure to settle is a failure of the run.
func (r *run) end(ctx context.Context, state State, err error) Outcome {
	if settled := r.settle(ctx); settled != nil {
		return r.outcome(Failed, errors.Join(err, settled))
	}
	return r.outcome(state, err)
}

// settle stores the record as it now is. It is made even when the run was cancelled, so that what
// was done is remembered as done.
func (r *run) settle(ctx context.Context) error {
	if r.record.Exists && r.head == r.record.Head && maps.Equal(r.record.Entries, r.entries) {
		return nil
	}
	if !r.record.Exists && len(r.entries) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin(len(r.entries)))
	defer cancel()
	return r.save(ctx)
}
