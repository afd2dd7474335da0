// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

func TestTheSecondLeaseIsAwaitedUntilItCanHaveLapsed(t *testing.T) {
	t.Parallel()
	for name, times := range map[string]LeaseOptions{
		"Flux's times": {},
		"short times":  {Duration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 500 * time.Millisecond},
		"long times":   {Duration: 2 * time.Minute, RenewDeadline: time.Minute, RetryPeriod: 10 * time.Second},
	} {
		times.setDefaults()
		// A holder that died is seen to be dead a duration after it was looked at first, and then
		// at the next try.
		if at := times.Duration + times.RetryPeriod; times.patience() <= at {
			t.Errorf("%s: the first lease is given back after %s, when the second is free at %s", name, times.patience(), at)
		}
	}
}

// lease is a Lease in memory.
type lease struct {
	record resourcelock.LeaderElectionRecord
	fails  error
}

func (l *lease) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record := l.record
	return &record, []byte(record.HolderIdentity), nil
}

func (l *lease) Create(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.Update(context.Background(), r)
}

func (l *lease) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	if l.fails == nil {
		l.record = r
	}
	return l.fails
}

func (l *lease) RecordEvent(string) {}
func (l *lease) Identity() string   { return "me" }
func (l *lease) Describe() string   { return "lease" }

func of(holder string) resourcelock.LeaderElectionRecord {
	return resourcelock.LeaderElectionRecord{HolderIdentity: holder}
}

func TestLeadershipLastsAsLongAsBothLeasesDo(t *testing.T) {
	t.Parallel()
	held := newLeadership([]string{"first", "second"}, LeaseOptions{Duration: 10 * time.Second, RetryPeriod: time.Second})
	first := &watchedLease{Interface: &lease{}, name: "first", held: held}
	second := &watchedLease{Interface: &lease{}, name: "second", held: held}
	expect := func(when string, at time.Time, want bool) {
		t.Helper()
		if got := held.holds(at); got != want {
			t.Errorf("%s it leads: %t", when, got)
		}
	}
	now := time.Now()
	expect("with none", now, false)
	must(t, first.Update(t.Context(), of("me")))
	expect("with one", now, false)
	must(t, second.Create(t.Context(), of("me")))
	expect("with both", now, true)
	expect("before they lapse", now.Add(8*time.Second), true)
	expect("when they lapse", now.Add(11*time.Second), false)

	second.Interface.(*lease).fails = errors.New("conflict")
	_ = second.Update(t.Context(), of("me"))
	expect("after a failed renewal", now.Add(8*time.Second), true)
	_ = second.Update(t.Context(), of(""))
	expect("after giving one back", now, false)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhoLetOneLeaseLapseHasLostTheOther(t *testing.T) {
	t.Parallel()
	held := newLeadership([]string{"first", "second"}, LeaseOptions{})
	first := &watchedLease{Interface: &lease{record: of("dead")}, name: "first", held: held}
	second := &watchedLease{Interface: &lease{record: of("dead")}, name: "second", held: held}
	holder := func(w *watchedLease) string {
		record, _, err := w.Get(t.Context())
		must(t, err)
		return record.HolderIdentity
	}
	if got := holder(second); got != "dead" {
		t.Errorf("before the first lease is taken the second is %q's", got)
	}
	holder(first)
	must(t, first.Update(t.Context(), of("me")))
	if got := holder(second); got != "" {
		t.Errorf("after the first lease was taken from it the second is %q's", got)
	}
	must(t, second.Update(t.Context(), of("me")))
	must(t, second.Update(t.Context(), of("me")))
	if got := holder(second); got != "me" {
		t.Errorf("its own lease is %q's", got)
	}
	second.Interface.(*lease).record = of("flux")
	if got := holder(second); got != "flux" {
		t.Errorf("a lease of somebody else is %q's", got)
	}
}

func TestOnlyReadsAreSentWithoutTheLeases(t *testing.T) {
	t.Parallel()
	held := newLeadership([]string{"first"}, LeaseOptions{})
	var sent []string
	transport := &guardedTransport{held: held, next: roundTrip(func(req *http.Request) (*http.Response, error) {
		sent = append(sent, req.Method)
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})}
	send := func(method string) error {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost", io.NopCloser(strings.NewReader("{}")))
		must(t, err)
		resp, err := transport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	must(t, send(http.MethodGet))
	if err := send(http.MethodPatch); !errors.Is(err, errNotLeading) {
		t.Errorf("a write without a lease: %v", err)
	}
	held.renew("first", time.Now(), "")
	must(t, send(http.MethodPatch))
	if got := strings.Join(sent, " "); got != "GET PATCH" {
		t.Errorf("sent was %s", got)
	}
}

// TestAWriteIsHeldUpUntilItsBodyIsSent has a Lease get lost when a write has begun.
func TestAWriteIsHeldUpUntilItsBodyIsSent(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"the Lease is held": false, "the Lease is lost meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			held := newLeadership([]string{"lease"}, LeaseOptions{})
			held.renew("lease", time.Now(), "")
			var sent []string
			guard := guardedTransport{held: held, next: roundTrip(func(req *http.Request) (*http.Response, error) {
				again, err := req.GetBody()
				if err != nil {
					return nil, err
				}
				if lost {
					held.release("lease")
				}
				for _, body := range []io.Reader{req.Body, again} {
					text, readErr := io.ReadAll(body)
					sent, err = append(sent, string(text)), readErr
				}
				return nil, err
			})}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "http://localhost", strings.NewReader("content"))
			must(t, err)
			_, err = guard.RoundTrip(req) //nolint:bodyclose // there is no answer
			if got := strings.Join(sent, "+"); lost != errors.Is(err, errNotLeading) || lost != (got == "+") || !lost && got != "content+content" {
				t.Errorf("sent was %q, with the error %v", got, err)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
