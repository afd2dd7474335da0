// SPDX-License-Identifier: Apache-2.0

// Package apply makes a plan true: stage by stage by server-side apply, then the deletions. Its
// functions return what was done also when they fail.
package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// tries is how often something is done to an object whose status keeps changing.
const tries = 5

// Change is one thing that was done.
type Change struct {
	ID      object.ID
	Action  plan.Action // Create, Configure, Replace or Delete
	Correct bool        // what is wanted did not change: somebody else's change was put back
	// Unrehearsed is that of [plan.Step].
	Unrehearsed string
	Entry       plan.Entry // what to remember of the object; empty for a deletion
	// Object is the object as the API server answered, or as it was judged before its deletion.
	Object *unstructured.Unstructured
}

// Verb says in a word what was done, as it is shown to users.
func (c Change) Verb() string {
	switch {
	case c.Action == plan.Delete:
		return "deleted"
	case c.Correct:
		return "corrected"
	case c.Action == plan.Create:
		return "created"
	case c.Action == plan.Replace:
		return "replaced"
	default:
		return "configured"
	}
}

// Failure is one thing that could not be done.
type Failure struct {
	ID    object.ID
	Cause cause.Cause
	Err   error
}

// Error implements error.
func (f *Failure) Error() string { return fmt.Sprintf("%s: %s", f.ID, f.Cause) }

// Unwrap returns the API server's error.
func (f *Failure) Unwrap() error { return f.Err }

// Writer makes single decisions true.
type Writer struct {
	Cluster   *cluster.Cluster
	Owner     plan.Owner
	Overrides []string // see [plan.Policy]
	// Gone is how long a replaced object may take to disappear.
	Gone time.Duration
	// Done, which may be nil, is told of each change as it is made, one at a time.
	Done func(Change)
}

func (w *Writer) done(c Change) {
	if w.Done != nil {
		w.Done(c)
	}
}

// do makes one step true.
func (w *Writer) do(ctx context.Context, s plan.Step) (Change, *Failure) {
	var applied cluster.Applied
	var err error
	switch s.Action {
	case plan.Create:
		applied, err = w.apply(ctx, s, "")
	case plan.Configure:
		applied, err = w.configure(ctx, s)
	case plan.Replace:
		applied, err = w.replace(ctx, s)
	default:
		err = fmt.Errorf("%s is not something to do", s.Action)
	}
	if err != nil {
		return Change{}, failure(s, err)
	}
	if s.Action == plan.Create && !applied.Created {
		s.Action = plan.Configure // somebody was faster
	}
	if s.Action == plan.Configure && s.Result == nil && s.Live != nil && plan.SameState(s.Live, applied.Object, w.Owner.Manager) {
		s.Action = plan.Unchanged // nobody could tell before
	}
	return Change{
		ID: s.ID, Action: s.Action, Correct: s.Corrects, Unrehearsed: s.Unrehearsed,
		Entry: w.entry(s, applied.Object), Object: applied.Object,
	}, nil
}

func failure(s plan.Step, err error) *Failure {
	why := cluster.CauseOf(err)
	if s.Want != nil {
		why.Detail = object.Mask(s.Want.Object, why.Detail)
	}
	return &Failure{ID: s.ID, Cause: why, Err: err}
}

func (w *Writer) entry(s plan.Step, live *unstructured.Unstructured) plan.Entry {
	return plan.Entry{
		ID: s.ID, Version: s.Version(), UID: string(live.GetUID()),
		Desired: s.Want.Hash, Rendered: s.Want.Rendered, Live: plan.Fingerprint(live, w.Owner.Manager),
	}
}

func (w *Writer) apply(ctx context.Context, s plan.Step, uid types.UID) (cluster.Applied, error) {
	opts := cluster.ApplyOptions{Manager: w.Owner.Manager, UID: uid, Rehearsed: s.Result != nil}
	return w.Cluster.Apply(ctx, s.Want.Object, opts)
}

// configure applies to the object that was judged. Fields of overridden managers are taken over
// first, so that the apply removes those that are not wanted.
func (w *Writer) configure(ctx context.Context, s plan.Step) (cluster.Applied, error) {
	if s.CleanUp {
		if err := w.TakeOver(ctx, s); err != nil {
			return cluster.Applied{}, err
		}
	}
	return w.apply(ctx, s, s.Live.GetUID())
}

// TakeOver makes the fields of overridden managers the owner's, and changes nothing else. It rewrites
// the managed fields of the object that was judged as they are now: they change with each write of
// its status.
func (w *Writer) TakeOver(ctx context.Context, s plan.Step) error {
	return w.upToDate(ctx, s, func(live *unstructured.Unstructured) error {
		fields, changed := plan.MergeOverrides(live, w.Owner, w.Overrides)
		if !changed {
			return nil
		}
		patch, err := json.Marshal([]map[string]any{
			{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
			{"op": "replace", "path": "/metadata/managedFields", "value": fields},
		})
		if err != nil {
			return err
		}
		ref := cluster.Ref{ID: s.ID, Version: s.Version()}
		_, err = w.Cluster.Patch(ctx, ref, types.JSONPatchType, patch, w.Owner.Manager)
		return err
	})
}

// upToDate does something to the state in which an object was judged. After a conflict it is read
// again, and as long as it is the same object in the same state but for its status, that is what
// was judged.
func (w *Writer) upToDate(ctx context.Context, s plan.Step, do func(live *unstructured.Unstructured) error) error {
	live := s.Live
	err := do(live)
	for range tries - 1 {
		if !apierrors.IsConflict(err) {
			return err
		}
		fresh, readErr := w.Cluster.Get(ctx, s.ID, s.Version())
		if readErr != nil {
			return readErr
		}
		if fresh.GetUID() != live.GetUID() || fresh.GetDeletionTimestamp() != nil || !plan.SameContent(live, fresh) {
			return err
		}
		live = fresh
		err = do(live)
	}
	return err
}

// replace deletes an object whose change is refused in place, and creates it anew. That the new
// one would be accepted is proven first, under a name that nobody uses.
func (w *Writer) replace(ctx context.Context, s plan.Step) (cluster.Applied, error) {
	probe := s.Want.Object.DeepCopy()
	probe.SetName(strings.TrimRight(s.ID.Name[:min(len(s.ID.Name), 50)], "-.") + "-replacement")
	if _, err := w.Cluster.Apply(ctx, probe, cluster.ApplyOptions{Manager: w.Owner.Manager, DryRun: true}); err != nil {
		return cluster.Applied{}, fmt.Errorf("the replacement would be refused: %w", err)
	}
	err := w.upToDate(ctx, s, func(live *unstructured.Unstructured) error {
		return w.Cluster.Delete(ctx, s.ID, s.Version(), cluster.DeleteOptions{UID: live.GetUID(), ResourceVersion: live.GetResourceVersion()})
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return cluster.Applied{}, err
	}
	if err := w.awaitGone(ctx, s); err != nil {
		return cluster.Applied{}, err
	}
	return w.apply(ctx, s, "")
}

// awaitGone waits until the deleted object is gone, or a namesake has taken its place.
func (w *Writer) awaitGone(ctx context.Context, s plan.Step) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.Gone, fmt.Errorf("%s is still being deleted", s.ID))
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		u, err := w.Cluster.Get(ctx, s.ID, s.Version())
		if apierrors.IsNotFound(err) || err == nil && u.GetUID() != s.Live.GetUID() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
