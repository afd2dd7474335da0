// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/observe"
)

// waiters wait for objects outside of the workers, so that waiting holds none: when there is
// something to see, the resource is looked at again.
type waiters struct {
	ctx     context.Context //nolint:containedctx // of the process's leadership: ends all waiting
	cluster *cluster.Cluster
	wake    chan event.GenericEvent

	mu      sync.Mutex
	waiting map[types.NamespacedName]*waiter
	running sync.WaitGroup
}

// waiter waits for one resource's objects.
type waiter struct {
	cancel context.CancelFunc
	done   bool
	report observe.Report
}

func newWaiters(ctx context.Context, c *cluster.Cluster) *waiters {
	return &waiters{ctx: ctx, cluster: c, wake: make(chan event.GenericEvent, 256), waiting: map[types.NamespacedName]*waiter{}}
}

// start waits for objects of a resource until all are ready, one has failed or the deadline is
// there; then the resource is looked at again. It takes the place of an earlier wait.
func (w *waiters) start(key types.NamespacedName, want observe.Want, deadline time.Time) {
	w.stop(key)
	ctx, cancel := context.WithDeadline(w.ctx, deadline)
	mine := &waiter{cancel: cancel}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting[key] = mine
	w.running.Go(func() {
		defer cancel()
		report, _ := observe.Until(ctx, w.cluster, want, nil) // why it ended shows in the report
		w.mu.Lock()
		mine.done, mine.report = true, report
		current := w.waiting[key] == mine
		w.mu.Unlock()
		if current {
			w.rouse(key)
		}
	})
}

// rouse has a resource looked at again.
func (w *waiters) rouse(key types.NamespacedName) {
	// The event carries an object of its own: one that a pass still works on may be overwritten
	// while the event is read.
	named := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	select {
	case w.wake <- event.GenericEvent{Object: named}:
	case <-w.ctx.Done():
	}
}

// stop ends the wait for a resource's objects.
func (w *waiters) stop(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.waiting[key]; old != nil {
		old.cancel()
		delete(w.waiting, key)
	}
}

// finished returns what a wait that has ended last saw.
func (w *waiters) finished(key types.NamespacedName) (observe.Report, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	mine := w.waiting[key]
	if mine == nil || !mine.done {
		return observe.Report{}, false
	}
	return mine.report, true
}

// drain returns when all waiting has ended, after the context has.
func (w *waiters) drain() { w.running.Wait() }
