// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leadership knows at any moment whether the Leases are still this process's. A process that was
// paused, or whose machine was, goes on where it stood: before it learns from its electors that it
// leads no longer it could write what another agent has long gone beyond. So each write asks here.
type leadership struct {
	names []string
	times LeaseOptions

	mu           sync.Mutex
	renewed      map[string]time.Time // when the latest successful renewal of each Lease was sent
	predecessors map[string]bool      // from whom a Lease was taken because they renewed it no longer
}

func newLeadership(names []string, times LeaseOptions) *leadership {
	times.setDefaults()
	return &leadership{names: names, times: times, renewed: map[string]time.Time{}, predecessors: map[string]bool{}}
}

// errNotLeading says why a write was not sent.
var errNotLeading = errors.New("the Leases were not renewed in time: another agent may lead by now")

// holds says whether nobody else can have taken a Lease yet. Others count a Lease's duration from
// when they see its renewal, which is after it was sent; a retry period is left for the write to
// arrive.
func (l *leadership) holds(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range l.names {
		at, ok := l.renewed[name]
		if !ok || now.Sub(at) > l.times.Duration-l.times.RetryPeriod {
			return false
		}
	}
	return true
}

// guard returns a configuration whose writes are sent only while the Leases are held.
func (l *leadership) guard(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &guardedTransport{next: next, held: l} })
	return cfg
}

type guardedTransport struct {
	next http.RoundTripper
	held *leadership
}

// RoundTrip implements [http.RoundTripper].
func (g *guardedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet {
		return g.next.RoundTrip(req)
	}
	if !g.held.holds(time.Now()) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, errNotLeading
	}
	return g.next.RoundTrip(g.guarded(req))
}

// guarded returns a request that can be held up until its body is sent, without which it does nothing: whoever
// is paused before that, and goes on when another agent leads, does not send it.
func (g *guardedTransport) guarded(req *http.Request) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	out := *req
	out.Body = &guardedBody{req.Body, g.held}
	if again := req.GetBody; again != nil {
		out.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err != nil {
				return nil, err
			}
			return &guardedBody{body, g.held}, nil
		}
	}
	return &out
}

// guardedBody is the body of a write, to be read while the Leases are held.
type guardedBody struct {
	io.ReadCloser
	held *leadership
}

// Read implements [io.Reader].
func (b *guardedBody) Read(p []byte) (int, error) {
	if !b.held.holds(time.Now()) {
		return 0, errNotLeading
	}
	return b.ReadCloser.Read(p)
}

// watchedLease is a Lease of which leadership learns.
type watchedLease struct {
	resourcelock.Interface
	name string
	held *leadership

	holder string // as last read; used by one elector only, and by that in turn
}

// Get implements [resourcelock.Interface]. A Lease of somebody from whom another one was taken is
// free: who let one go without renewing it leads no longer, so there is no need to wait again.
func (w *watchedLease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := w.Interface.Get(ctx)
	if err != nil {
		return nil, nil, err
	}
	w.holder = record.HolderIdentity
	if w.held.succeeded(w.holder) {
		record.HolderIdentity = ""
	}
	return record, raw, nil
}

// Create implements [resourcelock.Interface].
func (w *watchedLease) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	sent := time.Now()
	err := w.Interface.Create(ctx, record)
	w.wrote(record, sent, err)
	return err
}

// Update implements [resourcelock.Interface].
func (w *watchedLease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity != w.Identity() {
		w.held.release(w.name) // no write after others may have it
	}
	sent := time.Now()
	err := w.Interface.Update(ctx, record)
	w.wrote(record, sent, err)
	return err
}

func (w *watchedLease) wrote(record resourcelock.LeaderElectionRecord, sent time.Time, err error) {
	if err != nil || record.HolderIdentity != w.Identity() {
		return
	}
	from := w.holder
	if from == w.Identity() {
		from = ""
	}
	w.held.renew(w.name, sent, from)
	w.holder = record.HolderIdentity
}

func (l *leadership) renew(name string, sent time.Time, from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed[name] = sent
	if from != "" {
		l.predecessors[from] = true
	}
}

func (l *leadership) release(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.renewed, name)
}

func (l *leadership) succeeded(holder string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.predecessors[holder]
}
