// SPDX-License-Identifier: Apache-2.0

// Package observe says what the cluster knows about the objects that we own: whether they are
// there, ready, or gone. It follows each kind by one list and one watch, selected by the label of
// their owner, and reduces objects to small records as they arrive.
package observe

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/health"
	"github.com/kustomizer/kustomizer/internal/object"
)

// Target is one object that is waited for.
type Target struct {
	ID      object.ID
	Version string // API version to read it at; empty for the one the server prefers

	// UID, when set, is the object that is meant: a namesake is not taken for it.
	UID types.UID
	// MinResourceVersion, when set, is the state that our apply has left: an older one tells
	// nothing about it.
	MinResourceVersion string
	// Absent turns the question round: the object is waited for until it is gone.
	Absent bool
	// MayVanish is set for a Job with ttlSecondsAfterFinished: when it is gone, it has finished.
	MayVanish bool
}

// Want is a set of objects that are waited for together.
type Want struct {
	Objects   []Target
	Selector  string // label selector that all of them carry; without it, each is read by itself
	Namespace string // where they are, if all of them are in one namespace
}

// NotReady is an object that is not as it is waited for, and why.
type NotReady struct {
	ID     object.ID
	Status health.Status
}

// Report is a verdict on all objects of a [Want], each list in apply order.
type Report struct {
	Ready   []object.ID // as waited for: ready, or gone
	Pending []NotReady
	Failed  []NotReady
}

// Done says whether there is nothing left to wait for.
func (r Report) Done() bool { return len(r.Pending) == 0 && len(r.Failed) == 0 }

func (r Report) equal(other Report) bool {
	return slices.Equal(r.Ready, other.Ready) && slices.Equal(r.Pending, other.Pending) && slices.Equal(r.Failed, other.Failed)
}

// Assess judges objects that are at hand, without a request. What is not among them is pending,
// wherever it is waited for to be there or to be gone: that it is not at hand proves nothing.
func Assess(objs map[object.ID]*unstructured.Unstructured, want Want) Report {
	t := newTable(want)
	for _, target := range want.Objects {
		if u := objs[target.ID]; u != nil {
			t.see(u, false)
		} else {
			t.hidden(target.ID)
		}
	}
	report, _ := t.report()
	return report
}

// Snapshot judges the objects once, by one list per kind. Objects that a list does not show are
// read by themselves, since the label may be missing rather than the object. What could not be
// read is pending; the error is only ever that of the context.
func Snapshot(ctx context.Context, c *cluster.Cluster, want Want) (Report, error) {
	w := newWaiter(c, want, defaultPace())
	var kinds errgroup.Group
	kinds.SetLimit(requestsAtOnce)
	for _, k := range w.kinds {
		kinds.Go(func() error {
			if _, _, err := w.list(ctx, k); err != nil {
				w.unreadable(k, err)
			}
			return nil
		})
	}
	_ = kinds.Wait() // the goroutines return no error
	w.pollDue(ctx)
	report, _ := w.table.report()
	return report, ctx.Err()
}
