// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kustomizer/kustomizer/internal/cluster"
)

// requestsAtOnce bounds how many reads of single objects, or lists of a snapshot, run side by side.
const requestsAtOnce = 4

// pace holds the times that govern a wait.
type pace struct {
	read      time.Duration // between two reads of an object that can't be watched
	retry     time.Duration // before the first retry of a list or watch; doubles up to retryMax
	retryMax  time.Duration
	idle      time.Duration // a watch without any event, bookmarks included, is begun anew after it
	failGrace time.Duration // how long an object stays failed before that is believed
	look      time.Duration // between two looks at a workload's pods; doubles up to lookMax
	lookMax   time.Duration
	request   time.Duration // a read or a look at pods takes no longer
}

func defaultPace() pace {
	return pace{
		read: 2 * time.Second, retry: 200 * time.Millisecond, retryMax: 10 * time.Second, idle: 3 * time.Minute,
		failGrace: 2 * time.Second, look: time.Second, lookMax: 10 * time.Second, request: 10 * time.Second,
	}
}

// Until follows the objects until all are as waited for, or one has failed, or the context ends. It
// calls onChange, which may be nil, whenever the verdict on any object has changed, and returns the
// last report in any case; its error is only ever that of the context. A failure is believed after
// two seconds, since controllers correct a status left by an earlier generation with a delay.
//
// Each kind takes one list and one watch. What can't be listed or watched is read every two
// seconds. While a workload is not ready, its pods are listed now and then to learn the cause.
func Until(ctx context.Context, c *cluster.Cluster, want Want, onChange func(Report)) (Report, error) {
	return until(ctx, newWaiter(c, want, defaultPace()), onChange)
}

// waiter fills a table from a cluster.
type waiter struct {
	cluster *cluster.Cluster
	want    Want
	pace    pace
	table   *table
	kinds   []kind
}

func newWaiter(c *cluster.Cluster, want Want, p pace) *waiter {
	t := newTable(want)
	return &waiter{cluster: c, want: want, pace: p, table: t, kinds: kindsOf(t, want)}
}

func until(ctx context.Context, w *waiter, onChange func(Report)) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, k := range w.kinds {
		running.Go(func() { w.follow(ctx, k) })
	}
	running.Go(func() { w.poll(ctx) })
	running.Go(func() { w.lookAtPods(ctx) })
	return w.evaluate(ctx, onChange)
}

// evaluate turns changes of the table into reports until there is nothing left to wait for.
func (w *waiter) evaluate(ctx context.Context, onChange func(Report)) (Report, error) {
	var last Report
	var failedSince time.Time
	for reported := false; ; {
		began := time.Now()
		report, complete := w.table.report()
		if complete && (!reported || !report.equal(last)) {
			reported, last = true, report
			if onChange != nil {
				onChange(report)
			}
		}
		if failedSince = since(failedSince, len(report.Failed) > 0, began); report.Done() || w.believed(failedSince) {
			return report, nil
		}
		// A large set takes a while to judge: changes that come thick and fast are taken together.
		if err := pause(ctx, min(5*time.Since(began), 100*time.Millisecond)); err == nil {
			w.nextChange(ctx, failedSince)
		}
		if ctx.Err() != nil {
			report, _ = w.table.report()
			return report, fmt.Errorf("waiting for %d of %d objects: %w", len(report.Pending)+len(report.Failed), len(w.table.order), context.Cause(ctx))
		}
	}
}

func since(start time.Time, holds bool, now time.Time) time.Time {
	switch {
	case !holds:
		return time.Time{}
	case start.IsZero():
		return now
	default:
		return start
	}
}

func (w *waiter) believed(failedSince time.Time) bool {
	return !failedSince.IsZero() && time.Since(failedSince) >= w.pace.failGrace
}

// nextChange returns when the table has changed, a failure has stood long enough, or the context
// has ended.
func (w *waiter) nextChange(ctx context.Context, failedSince time.Time) {
	var grace <-chan time.Time
	if !failedSince.IsZero() {
		timer := time.NewTimer(time.Until(failedSince.Add(w.pace.failGrace)))
		defer timer.Stop()
		grace = timer.C
	}
	select {
	case <-ctx.Done():
	case <-grace:
	case <-w.table.changed:
	}
}

// pause waits for a while, or until the context ends.
func pause(ctx context.Context, d time.Duration) error {
	return pauseOr(ctx, d, nil)
}

// pauseOr waits for a while, until there is a token, or until the context ends.
func pauseOr(ctx context.Context, d time.Duration, token <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-token:
	case <-timer.C:
	}
	return ctx.Err()
}
