// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// story is a window with a clock that only the test moves.
type story struct {
	*window
	clock time.Time
}

func newStory() *story { return &story{newWindow(), time.Unix(1_000_000, 0)} }

// good lets requests be answered one after the other, each after so long.
func (s *story) good(n int, of purpose, took time.Duration) { s.goodOf(n, sort{purpose: of}, took) }

func (s *story) goodOf(n int, sort sort, took time.Duration) {
	for range n {
		began := s.clock
		s.clock = s.clock.Add(took)
		s.learn(answer{sort: sort, began: began, ended: s.clock, busy: s.size})
	}
}

// throttled has a crowd of requests that began together told to come again later.
func (s *story) throttled(n int) {
	began := s.clock
	for range n {
		s.clock = s.clock.Add(time.Millisecond)
		s.learn(answer{sort: sort{purpose: write}, began: began, ended: s.clock, busy: n, throttled: true})
	}
}

func (s *story) want(t *testing.T, size int, after string) {
	t.Helper()
	if s.size != size {
		t.Errorf("after %s: a window of %d, want %d", after, s.size, size)
	}
}

func TestWindowGrowsWhileAllIsWell(t *testing.T) {
	t.Parallel()
	s := newStory()
	s.want(t, 8, "nothing")
	s.good(growAfter-1, write, time.Millisecond)
	s.want(t, 8, "19 good answers")
	s.good(1, write, time.Millisecond)
	s.want(t, 9, "20 good answers")
	s.good(100*growAfter, write, time.Millisecond)
	s.want(t, mostSize, "thousands of good answers")
}

func TestWindowGrowsOnlyWhereItWasTheLimit(t *testing.T) {
	t.Parallel()
	s := newStory()
	for range 100 * growAfter {
		s.learn(answer{sort: sort{purpose: write}, began: s.clock, ended: s.clock, busy: 2})
	}
	s.want(t, 8, "good answers to two requests at a time")
	for range 100 * growAfter {
		s.learn(answer{sort: sort{purpose: write}, began: s.clock, ended: s.clock, busy: 8, failed: true})
	}
	s.want(t, 8, "requests without an answer")
}

func TestWindowHalvesOnceForACrowd(t *testing.T) {
	t.Parallel()
	s := newStory()
	s.good(16*growAfter, write, time.Millisecond)
	s.want(t, 24, "good answers")
	s.throttled(24)
	s.want(t, 12, "a crowd of 24 that was told to come later")
	s.throttled(12)
	s.want(t, 6, "another crowd")
	for range 5 {
		s.throttled(3)
	}
	s.want(t, leastSize, "crowd after crowd")
	s.good(growAfter, write, time.Millisecond)
	s.want(t, 2, "good answers again")
}

func TestWindowHalvesWhenTheServerBecomesSlow(t *testing.T) {
	t.Parallel()
	s := newStory()
	s.good(5*sampleSize, rehearse, 30*time.Millisecond)
	s.want(t, 13, "good answers")
	s.good(sampleSize, write, 200*time.Millisecond)
	s.want(t, 14, "writes, which usually take longer than dry-runs")
	s.good(sampleSize, unsorted, 2*time.Second)
	s.want(t, 15, "reads, of which each takes as long as it takes")
	s.good(sampleSize, rehearse, 80*time.Millisecond)
	s.want(t, 16, "dry-runs that take less than three times as long")
	s.good(sampleSize, rehearse, 150*time.Millisecond)
	s.want(t, 8, "dry-runs that take more than three times as long")
	s.good(3*sampleSize, rehearse, 10*time.Second)
	s.want(t, calm, "dry-runs that take ages")
	s.good(1000*sampleSize, rehearse, 10*time.Second)
	s.want(t, mostSize, "dry-runs that always take ages")
}

// The API server hands out the addresses of Services one after the other.
func TestAKindThatTakesLongCrowdsNoServer(t *testing.T) {
	t.Parallel()
	s := newStory()
	s.goodOf(4*sampleSize, sort{write, "/configmaps"}, 25*time.Millisecond)
	s.goodOf(4*sampleSize, sort{write, "/services"}, 150*time.Millisecond)
	s.want(t, 16, "writes of a kind of which each takes six times as long")
	s.goodOf(sampleSize, sort{write, "/services"}, 500*time.Millisecond)
	s.want(t, 8, "writes that take more than three times as long as those of the same kind")
}

func TestRequestsAreToldApartByTheirResource(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/api/v1/namespaces/shop/services/app":                           "/services",
		"/api/v1/namespaces/shop/services":                               "/services",
		"/api/v1/namespaces/shop/services/app/status":                    "/services/status",
		"/apis/apps/v1/namespaces/shop/deployments/app":                  "apps/deployments",
		"/apis/apps/v1/namespaces/shop/deployments/app/scale":            "apps/deployments/scale",
		"/apis/rbac.authorization.k8s.io/v1/clusterroles/namespaces":     "rbac.authorization.k8s.io/clusterroles",
		"/api/v1/namespaces/shop":                                        "/namespaces",
		"/api/v1/namespaces/shop/finalize":                               "/namespaces/finalize",
		"/api/v1/namespaces":                                             "/namespaces",
		"/k8s/clusters/c-1/apis/apps/v1/namespaces/shop/deployments/app": "apps/deployments",
		"/k8s/clusters/c-1/api/v1/namespaces/shop/configmaps/settings":   "/configmaps",
		"/apis/example.com/v1/namespaces/shop/status/app":                "example.com/status",
		"/apis/authentication.k8s.io/v1/selfsubjectreviews":              "authentication.k8s.io/selfsubjectreviews",
		"/api/v1/namespaces/apis/services/app":                           "/services",
		"/version":                                                       "",
		"/apis":                                                          "",
		"/api/v1":                                                        "",
	} {
		if got := resourceOf(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestQuickAnswersAreNeverSlow(t *testing.T) {
	t.Parallel()
	s := newStory()
	s.good(sampleSize, write, time.Millisecond)
	s.good(sampleSize, write, 15*time.Millisecond)
	s.want(t, 10, "answers that are quick, and less so")
}

// crowded returns a limiter all of whose room is taken by one caller.
func crowded(t *testing.T, name string) *limiter {
	t.Helper()
	l := newLimiter(time.Now)
	for range firstSize {
		if _, err := l.enter(t.Context(), caller{name: name}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// waits has requests of a caller wait for their turn.
func waits(l *limiter, c caller, n int) []chan struct{} {
	out := make([]chan struct{}, n)
	for i := range out {
		out[i] = make(chan struct{})
		l.mu.Lock()
		l.line(c).join(c.name, out[i])
		l.mu.Unlock()
	}
	return out
}

func served(turns []chan struct{}) int {
	n := 0
	for _, turn := range turns {
		select {
		case <-turn:
			n++
		default:
		}
	}
	return n
}

func TestAHugeSetLeavesRoomForSmallOnes(t *testing.T) {
	t.Parallel()
	const smallOnes = 100
	l := crowded(t, "huge")
	huge := waits(l, caller{name: "huge"}, 5000)
	var small [][]chan struct{}
	for i := range smallOnes {
		small = append(small, waits(l, caller{name: fmt.Sprint("small-", i)}, 2))
	}
	for round := 1; round <= 2; round++ {
		for range smallOnes + 1 {
			l.leave()
		}
		if n := served(huge); n != round {
			t.Errorf("round %d: %d requests of the huge set were served", round, n)
		}
		for i, turns := range small {
			if n := served(turns); n != round {
				t.Errorf("round %d: %d requests of the small set %d were served", round, n, i)
			}
		}
	}
	for range 10 {
		l.leave()
	}
	if n := served(huge); n != 12 {
		t.Errorf("with nobody else waiting, %d requests of the huge set were served, want 12", n)
	}
}

func TestWhatAPersonWaitsForHasEverySecondTurn(t *testing.T) {
	t.Parallel()
	l := crowded(t, "busy")
	one, two := waits(l, caller{name: "one"}, 10), waits(l, caller{name: "two"}, 10)
	asked := waits(l, callerOf(Calling(Asked(t.Context()), "asked")), 6)
	also := waits(l, callerOf(Asked(Calling(t.Context(), "also asked"))), 6)
	for turn, want := range [][4]int{{0, 0, 1, 0}, {1, 0, 1, 0}, {1, 0, 1, 1}, {1, 1, 1, 1}} {
		l.leave()
		was := [4]int{served(one), served(two), served(asked), served(also)}
		if was != want {
			t.Errorf("turn %d: served %v of those that nobody and those that somebody waits for, want %v", turn, was, want)
		}
	}
	for range 20 {
		l.leave()
	}
	if served(asked) != 6 || served(also) != 6 || served(one) != 6 || served(two) != 6 {
		t.Errorf("after 24 turns: %d and %d of those that somebody waits for, %d and %d of the others, want 6 of each",
			served(asked), served(also), served(one), served(two))
	}
}

func TestWhoGivesUpLeavesNoGap(t *testing.T) {
	t.Parallel()
	l := crowded(t, "one")
	ended, cancel := context.WithCancelCause(t.Context())
	given := errors.New("enough")
	cancel(given)
	if _, err := l.enter(ended, caller{name: "two"}); !errors.Is(err, given) {
		t.Errorf("got %v, want the reason for which its context ended", err)
	}
	three := caller{name: "three"}
	late := waits(l, three, 1)
	l.leave()
	if served(late) != 1 || l.busy != firstSize || len(l.others) != 0 {
		t.Errorf("a place went to somebody who had gone: %d busy, %d wait", l.busy, len(l.others))
	}
	l.forgo(three, late[0]) // its turn came, and its context ended at the same time
	if l.busy != firstSize-1 {
		t.Errorf("%d busy, want %d", l.busy, firstSize-1)
	}
}

// answering is the end of the way to a server that answers with a status.
type answering func(req *http.Request) *http.Response

func (f answering) RoundTrip(req *http.Request) (*http.Response, error) { return f(req), nil }

func TestOneToldToComeLaterKeepsNobodysPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		after string
		kept  bool
	}{{"1", true}, {"30", true}, {"31", false}, {"3600", false}} {
		l := newLimiter(time.Now)
		send := limited{limit: l, next: answering(func(*http.Request) *http.Response {
			return &http.Response{
				StatusCode: http.StatusTooManyRequests, Header: http.Header{retryAfter: {c.after}}, Body: io.NopCloser(strings.NewReader("later")),
			}
		})}
		resp, err := send.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodPatch, "/", http.NoBody))
		if err != nil {
			t.Fatal(err)
		}
		if l.size() != firstSize/2 || l.busy != 1 {
			t.Errorf("%s: a window of %d with %d busy", c.after, l.size(), l.busy)
		}
		resp.Body.Close()
		resp.Body.Close()
		if l.busy != 0 {
			t.Errorf("%s: %d busy when the answer is read", c.after, l.busy)
		}
		if got := resp.Header.Get(retryAfter) != ""; got != c.kept {
			t.Errorf("%s: it is waited for: %v, want %v", c.after, got, c.kept)
		}
	}
}

func TestWatchesTakeNoPlace(t *testing.T) {
	t.Parallel()
	l := newLimiter(time.Now)
	busy := -1
	send := limited{limit: l, next: answering(func(*http.Request) *http.Response {
		busy = l.busy
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
	})}
	for query, want := range map[string]int{"?watch=true": 0, "": 1} {
		resp, err := send.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+query, http.NoBody))
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); busy != want {
			t.Errorf("%q: %d busy, want %d", query, busy, want)
		}
	}
}

func TestEachKeepsToTheWindowAndStopsAtAnError(t *testing.T) {
	t.Parallel()
	c := &Cluster{limit: newLimiter(time.Now)}
	var mu sync.Mutex
	running, most := 0, 0
	together := make(chan struct{})
	err := c.Each(t.Context(), 100, func(context.Context, int) error {
		mu.Lock()
		running++
		if most = max(most, running); most == firstSize {
			select {
			case <-together:
			default:
				close(together)
			}
		}
		mu.Unlock()
		<-together
		mu.Lock()
		defer mu.Unlock()
		running--
		return nil
	})
	if err != nil || most != firstSize {
		t.Errorf("%d at a time, want %d: %v", most, firstSize, err)
	}

	var begun atomic.Int32
	broken := errors.New("broken")
	err = c.Each(t.Context(), 100, func(ctx context.Context, i int) error {
		if begun.Add(1); i == 0 {
			return broken
		}
		<-ctx.Done() // told by the error of the first
		return context.Cause(ctx)
	})
	if n := begun.Load(); !errors.Is(err, broken) || n > firstSize {
		t.Errorf("%d were begun: %v", n, err)
	}
}
