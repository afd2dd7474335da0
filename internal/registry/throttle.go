// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// mostThrottle is how long a registry can keep us away with one answer.
const mostThrottle = 15 * time.Minute

// Throttle remembers until when each registry wants to be left alone, over all clients that share it.
type Throttle struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// NewThrottle returns a throttle that holds nobody back yet.
func NewThrottle() *Throttle { return &Throttle{until: map[string]time.Time{}} }

// hold notes what a response with status 429 or 503 says about when to come back, and returns the
// wait. Without a usable Retry-After there is none.
func (t *Throttle) hold(host string, resp *http.Response, now time.Time) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	wait := retryAfter(resp.Header.Get("Retry-After"), now)
	if wait > 0 {
		t.mu.Lock()
		t.until[host] = now.Add(wait)
		t.mu.Unlock()
	}
	return wait
}

// left returns how long a host still wants to be left alone.
func (t *Throttle) left(host string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	until, held := t.until[host]
	if !held {
		return 0
	}
	if !now.Before(until) {
		delete(t.until, host)
		return 0
	}
	return until.Sub(now)
}

// retryAfter reads seconds or an HTTP date; anything else, and the past, is no wait.
func retryAfter(value string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		seconds = min(seconds, int64(mostThrottle/time.Second))
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return max(0, min(wait, mostThrottle))
}

func throttled(host string, wait time.Duration) error {
	wait = wait.Round(time.Second)
	return &refusedError{code: Throttled, detail: fmt.Sprintf("%s asked not to be called", host), retryAfter: wait}
}
