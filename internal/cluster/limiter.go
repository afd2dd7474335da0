// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// longestRetry is how long a request waits, at most, because the server said to come again later.
// The client does that by itself, ten times. Told to wait longer, the request fails: whoever made it
// knows better what to do meanwhile.
const longestRetry = 30 * time.Second

// limiter shares the requests that may be under way on one connection among those who use it. Those
// who wait are served in turn, one request each, so that a set of thousands leaves room for small
// ones; every second turn is that of callers for whom a person waits, if there are any. A request that
// was told to come again later waits for that without keeping anybody's place.
type limiter struct {
	now func() time.Time

	mu     sync.Mutex // guards what follows
	window *window
	busy   int
	asked  line // of those whom a person waits for
	others line
	// askedLast says whose the last turn was.
	askedLast bool
}

// caller is whose request it is.
type caller struct {
	name  string
	asked bool // a person waits for it
}

// line is callers who wait, the next one first.
type line []*queue

type queue struct {
	caller  string
	waiting []chan struct{} // closed when it is their turn
}

func newLimiter(now func() time.Time) *limiter { return &limiter{now: now, window: newWindow()} }

// size returns how many requests may be under way now.
func (l *limiter) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.window.size
}

// enter waits for its turn. It returns how many requests are under way then.
func (l *limiter) enter(ctx context.Context, c caller) (int, error) {
	l.mu.Lock()
	if l.busy < l.window.size && len(l.asked) == 0 && len(l.others) == 0 {
		defer l.mu.Unlock()
		l.busy++
		return l.busy, nil
	}
	turn := make(chan struct{})
	l.line(c).join(c.name, turn)
	l.mu.Unlock()
	select {
	case <-turn:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.busy, nil
	case <-ctx.Done():
		l.forgo(c, turn)
		return 0, context.Cause(ctx)
	}
}

func (l *limiter) line(c caller) *line {
	if c.asked {
		return &l.asked
	}
	return &l.others
}

// forgo gives up a place among those who wait, or the turn that came just then.
func (l *limiter) forgo(c caller, turn chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.line(c).leave(c.name, turn) {
		l.busy--
		l.serve()
	}
}

// serve lets those who wait in.
func (l *limiter) serve() {
	for l.busy < l.window.size && len(l.asked)+len(l.others) > 0 {
		l.askedLast = len(l.asked) > 0 && (!l.askedLast || len(l.others) == 0)
		close(l.line(caller{asked: l.askedLast}).next())
		l.busy++
	}
}

// join gets in line.
func (l *line) join(caller string, turn chan struct{}) {
	for _, q := range *l {
		if q.caller == caller {
			q.waiting = append(q.waiting, turn)
			return
		}
	}
	*l = append(*l, &queue{caller, []chan struct{}{turn}})
}

// leave gives up a place. It says whether there still was one.
func (l *line) leave(caller string, turn chan struct{}) bool {
	i := slices.IndexFunc(*l, func(q *queue) bool {
		return q.caller == caller && slices.Contains(q.waiting, turn)
	})
	if i < 0 {
		return false
	}
	q := (*l)[i]
	q.waiting = slices.DeleteFunc(q.waiting, func(c chan struct{}) bool { return c == turn })
	if len(q.waiting) == 0 {
		*l = slices.Delete(*l, i, i+1)
	}
	return true
}

// next takes one request of the first caller, who goes to the end of the line with the others.
func (l *line) next() chan struct{} {
	q := (*l)[0]
	turn := q.waiting[0]
	*l = (*l)[1:]
	if q.waiting = q.waiting[1:]; len(q.waiting) > 0 {
		*l = append(*l, q)
	}
	return turn
}

// learn takes an answer into account.
func (l *limiter) learn(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.learn(a)
	l.serve()
}

// leave makes room for another request.
func (l *limiter) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy--
	l.serve()
}

// limited sends requests through a limiter. Watches, which last, don't count.
type limited struct {
	next  http.RoundTripper
	limit *limiter
}

// RoundTrip implements [http.RoundTripper].
func (t limited) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Query().Get("watch") == "true" {
		return t.next.RoundTrip(req)
	}
	busy, err := t.limit.enter(req.Context(), callerOf(req.Context()))
	if err != nil {
		return nil, err
	}
	a := answer{sort: sortOf(req), began: t.limit.now(), busy: busy}
	resp, err := t.next.RoundTrip(req)
	a.ended = t.limit.now()
	if err != nil {
		a.failed = true
		t.limit.learn(a)
		t.limit.leave()
		return nil, err
	}
	a.throttled, a.failed = throttles(resp), resp.StatusCode >= http.StatusInternalServerError
	t.limit.learn(a)
	boundRetry(resp)
	resp.Body = endingBody{resp.Body, sync.OnceFunc(t.limit.leave)}
	return resp, nil
}

func sortOf(req *http.Request) sort {
	switch {
	case req.Method == http.MethodGet:
		return sort{}
	case req.URL.Query().Has("dryRun"):
		return sort{rehearse, resourceOf(req.URL.Path)}
	default:
		return sort{write, resourceOf(req.URL.Path)}
	}
}

// resourceOf returns what of a request's path all objects of a kind share: group, resource and, where
// there is one, subresource. It is empty where the path is none of an API's.
func resourceOf(path string) string {
	parts := strings.Split(path, "/")
	at := slices.IndexFunc(parts, func(p string) bool { return p == "api" || p == "apis" })
	if at < 0 {
		return ""
	}
	if parts[at] == "apis" {
		at++
	} else {
		parts[at] = "" // the group that has no name
	}
	parts = parts[at:] // group, version, resource, name, subresource: what is before is the server's own
	if len(parts) > 4 && parts[2] == "namespaces" && (parts[0] != "" || parts[4] != "status" && parts[4] != "finalize") {
		parts = append(parts[:2:2], parts[4:]...)
	}
	switch {
	case len(parts) > 4:
		return parts[0] + "/" + parts[2] + "/" + parts[4]
	case len(parts) > 2:
		return parts[0] + "/" + parts[2]
	default:
		return ""
	}
}

// throttles says whether the server asked to come again later.
func throttles(resp *http.Response) bool {
	return resp.StatusCode == http.StatusTooManyRequests ||
		resp.StatusCode >= http.StatusInternalServerError && resp.Header.Get(retryAfter) != ""
}

const retryAfter = "Retry-After"

// boundRetry keeps the client from waiting for too long.
func boundRetry(resp *http.Response) {
	seconds, err := strconv.Atoi(resp.Header.Get(retryAfter))
	if err == nil && time.Duration(seconds) > longestRetry/time.Second {
		resp.Header.Del(retryAfter)
	}
}

type callerKey struct{}

// Calling marks the requests of a context as those of a caller: callers who share a connection are
// served in turn.
func Calling(ctx context.Context, name string) context.Context {
	c := callerOf(ctx)
	c.name = name
	return context.WithValue(ctx, callerKey{}, c)
}

// Asked marks the requests of a context as ones that a person waits for. Half of all turns are theirs
// where others wait as well.
func Asked(ctx context.Context) context.Context {
	c := callerOf(ctx)
	c.asked = true
	return context.WithValue(ctx, callerKey{}, c)
}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// Each does something n times, as many at a time as requests may be under way on the connection.
// After an error no other begins, what is under way is told so by its context, and the first error
// is returned. Those who do it stay for the next: a stack that has grown for one request fits all.
func (c *Cluster) Each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work, ended := make(chan int), make(chan error)
	defer close(work)
	var first error
	for begun, running, workers := 0, 0, 0; begun < n || running > 0; {
		for ; begun < n && running < c.limit.size(); begun, running = begun+1, running+1 {
			if workers == running {
				workers++
				go func() {
					for i := range work {
						ended <- do(ctx, i)
					}
				}()
			}
			work <- begun // one is idle, or will be at once
		}
		err := <-ended
		running--
		if err != nil && first == nil {
			first, n = err, begun
			cancel(err)
		}
	}
	return first
}
