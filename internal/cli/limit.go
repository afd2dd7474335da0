// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"sync"
	"time"
)

// limited is a context that ends after a time of work: the time that a person takes to answer a
// question does not count.
type limited struct {
	context.Context //nolint:containedctx // it is a context; this one says why it ended
	end             context.CancelCauseFunc
	done            chan struct{}

	mu      sync.Mutex // guards what follows
	err     error
	timer   *time.Timer
	left    time.Duration
	resumed time.Time
	cause   error
}

// withLimit returns a context that ends when so much time was worked, with the given cause.
func withLimit(parent context.Context, limit time.Duration, cause error) (*limited, context.CancelFunc) {
	inner, end := context.WithCancelCause(parent)
	l := &limited{Context: inner, end: end, done: make(chan struct{}), left: limit, cause: cause}
	stop := context.AfterFunc(inner, func() { l.finish(inner.Err(), nil) })
	l.resume()
	return l, func() {
		stop()
		l.finish(context.Canceled, context.Canceled)
	}
}

// Done implements [context.Context].
func (l *limited) Done() <-chan struct{} { return l.done }

// Err implements [context.Context].
func (l *limited) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// finish ends the context once.
func (l *limited) finish(err, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	l.err = err
	if cause != nil {
		l.end(cause)
	}
	close(l.done)
}

// pause stops the clock until resume.
func (l *limited) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil && l.timer.Stop() {
		l.left -= time.Since(l.resumed)
		l.timer = nil
	}
}

// resume lets the clock run.
func (l *limited) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil || l.err != nil {
		return
	}
	l.resumed = time.Now()
	l.timer = time.AfterFunc(l.left, func() { l.finish(context.DeadlineExceeded, l.cause) })
}
