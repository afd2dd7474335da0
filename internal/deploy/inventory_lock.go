// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

// The times of the run lock. Zero values stand for the defaults.
const (
	DefaultHeartbeat = 5 * time.Second
	DefaultPatience  = 15 * time.Second
)

// LockTimes govern how runs on the same inventory are kept apart.
type LockTimes struct {
	Heartbeat time.Duration // between two signs of life of the run that holds the lock
	// Patience is how long a sign of life of another run is waited for before its lock is taken
	// over. It is measured by our own clock only.
	Patience time.Duration
}

func (t LockTimes) orDefaults() LockTimes {
	if t.Heartbeat <= 0 {
		t.Heartbeat = DefaultHeartbeat
	}
	if t.Patience <= 0 {
		t.Patience = DefaultPatience
	}
	return t
}

// looksInPatience is how often the record is looked at while a sign of life is waited for.
const looksInPatience = 15

// runLock keeps runs on the same set apart. It lies in the head of the set's record, so that it is
// taken by a write that fails if anybody else wrote since the record was read, and it is a sign of
// life that lets a later run tell a run at work from one that was killed.
type runLock struct {
	times LockTimes
	name  string
	found func(record.Holder) // told of another holder, before it is waited for; may be nil
	lost  context.CancelCauseFunc

	mu     sync.Mutex // guards what follows; held while the record is read or the lock is written
	record *record.Record
	held   bool
	dead   record.Holder // another run that holds it, and gave no sign of life

	stop    context.CancelFunc
	beating sync.WaitGroup
}

// newRunLock makes a lock. It is taken by hold and has to be given back by release. The context
// that is returned ends when the lock is lost.
func newRunLock(ctx context.Context, times LockTimes, found func(record.Holder)) (*runLock, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	return &runLock{times: times.orDefaults(), name: holderName(), found: found, lost: cancel}, ctx
}

// holderName names this run, for people and apart from all others.
func holderName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	random := make([]byte, 4)
	_, _ = rand.Read(random) // never fails
	return fmt.Sprintf("process %d on %s, run %s", os.Getpid(), host, hex.EncodeToString(random))
}

// load reads the record. If another run holds it, load waits for a sign of life: with one the error
// is a [record.HeldError], without one the lock may be taken over.
func (l *runLock) load(ctx context.Context, read func(context.Context) (*record.Record, error)) (*record.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := read(ctx)
	if err == nil && !l.held && r.Holder().Name != "" && r.Holder() != l.dead {
		r, err = l.watch(ctx, r, read)
	}
	if err != nil {
		return nil, err
	}
	if l.held && r.Exists && r.Holder().Name != l.name {
		return nil, &record.HeldError{Owner: r.Owner, Holder: r.Holder()}
	}
	l.record = r
	return r, nil
}

// watch looks at a held record until the holder lets it go, moves, or was still for long enough.
func (l *runLock) watch(ctx context.Context, r *record.Record, read func(context.Context) (*record.Record, error)) (*record.Record, error) {
	before := r.Holder()
	if l.found != nil {
		l.found(before)
	}
	tick := time.NewTicker(l.times.Patience / looksInPatience)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < l.times.Patience; {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
		now, err := read(ctx)
		if err != nil {
			return nil, err
		}
		switch holder := now.Holder(); {
		case holder.Name == "":
			return now, nil
		case holder != before:
			return nil, &record.HeldError{Owner: now.Owner, Holder: holder}
		}
		r = now
	}
	l.dead = before
	return r, nil
}

// hold takes the lock, if it is not held already, and begins to give signs of life.
func (l *runLock) hold(ctx context.Context, c *cluster.Cluster, entries map[object.ID]plan.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held {
		return nil
	}
	if err := l.record.Hold(ctx, c, l.now(), entries); err != nil {
		return err
	}
	l.held = true
	ctx, l.stop = context.WithCancel(ctx)
	l.beating.Go(func() { l.beat(ctx, c) })
	return nil
}

func (l *runLock) now() record.Holder {
	return record.Holder{Name: l.name, Beat: time.Now().UTC().Format(time.RFC3339Nano)}
}

// beat gives signs of life. When another run has taken over, or none came through for so long that
// one may, the run ends.
func (l *runLock) beat(ctx context.Context, c *cluster.Cluster) {
	tick := time.NewTicker(l.times.Heartbeat)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := l.sign(ctx, c)
		var conflict *record.ConflictError
		switch {
		case err == nil:
			last = time.Now()
		case ctx.Err() != nil:
			return
		case errors.As(err, &conflict), time.Since(last) > l.times.Patience-l.times.Heartbeat:
			l.lost(fmt.Errorf("the run lock is lost: %w", err))
			return
		}
	}
}

func (l *runLock) sign(ctx context.Context, c *cluster.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, l.times.Heartbeat)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record.Hold(ctx, c, l.now(), nil)
}

// release gives the lock back, also that of a dead run which this one, having nothing to write, did
// not take over: else every later run would wait for it again. That it can't be given back is no
// failure of the run: the next one waits until it sees that nobody is alive.
func (l *runLock) release(ctx context.Context, c *cluster.Cluster) {
	l.lost(nil)
	if l.stop == nil && l.dead.Name == "" {
		return
	}
	if l.stop != nil {
		l.stop()
		l.beating.Wait()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	_ = l.record.Hold(ctx, c, record.Holder{}, nil) // see above
}
