// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Fault says what becomes of one request. The zero value forwards it.
type Fault struct {
	// Delay passes before anything else.
	Delay time.Duration
	// Before is called before the request is forwarded, refused or cut.
	Before func()
	// Status refuses the request with this status instead of forwarding it.
	Status int
	// Cut drops the client's connection; the request is not forwarded.
	Cut bool
	// After is called when the API server has answered, before the answer is
	// passed on.
	After func()
	// CutAfter drops the client's connection instead of passing on the answer.
	CutAfter bool
}

// Hook decides about each request. It is called from many goroutines, and
// filters help to choose: testkit.Verbs("patch")(r).
type Hook func(r Request) Fault

// Moment is before or after the API server has carried out a write.
type Moment string

// The moments at which [Proxy.KillAt] kills.
const (
	BeforeWrite Moment = "before"
	AfterWrite  Moment = "after"
)

// Proxy stands between a user and the API server. Its kubeconfig, which holds
// no credentials, is used in place of the user's; everything that comes through
// it is the user's, impersonation included.
type Proxy struct {
	Identity

	target  *url.URL
	forward *httputil.ReverseProxy
	hook    Hook
	counts  Filter

	mu     sync.Mutex
	writes Requests
	point  killPoint
	dead   bool // nothing passes, as if the client were gone
}

type killPoint struct {
	index  int // of the write, from 1
	moment Moment
	kill   func()
	done   chan struct{}
}

// FaultProxy starts a proxy for a user that ends with the test. A nil hook
// forwards everything.
func FaultProxy(t testing.TB, e *Env, user Identity, hook Hook) *Proxy {
	t.Helper()
	target, err := url.Parse(e.Server)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(user.Config)
	if err != nil {
		t.Fatalf("connecting the proxy: %v", err)
	}
	cert, err := e.authority.Serve()
	if err != nil {
		t.Fatalf("issuing the proxy's certificate: %v", err)
	}
	p := &Proxy{target: target, hook: hook, counts: Not(Resources("events", "leases"))}
	p.forward = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		FlushInterval:  -1, // watches pass at once
		ModifyResponse: p.answered,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	server := httptest.NewUnstartedServer(p)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	p.Identity = e.identity(t, user.UserName, server.URL, &clientcmdapi.AuthInfo{})
	return p
}

// CountOnly changes which writes [Proxy.KillAt] and [Proxy.Writes] count. At
// first all do but those of events and leases. Dry-runs and reviews never do.
func (p *Proxy) CountOnly(filter Filter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts = filter
}

// Writes returns the writes that came, in that order: a run without KillAt
// tells how many there are to kill at.
func (p *Proxy) Writes() Requests {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.writes)
}

// KillAt has kill called at the index-th write from now on, counted from 1:
// before it is forwarded, in which case it never is, or after the API server
// has answered. From then on every connection is dropped until [Proxy.Restore].
// The channel is closed when kill has returned.
func (p *Proxy) KillAt(index int, moment Moment, kill func()) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.point = killPoint{index: len(p.writes) + index, moment: moment, kill: kill, done: make(chan struct{})}
	return p.point.done
}

// Restore lets requests pass again, for the client that takes the killed one's place.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead, p.point = false, killPoint{}
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r, err := parseRequest(req)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.User = p.UserName
	kill := p.count(r)
	if kill != nil && kill.moment == BeforeWrite {
		kill.fire()
		panic(http.ErrAbortHandler)
	}
	var fault Fault
	if p.hook != nil {
		fault = p.hook(r)
	}
	if !fault.before(req.Context()) || p.isDead() {
		panic(http.ErrAbortHandler)
	}
	if fault.Status != 0 {
		refuse(w, fault.Status)
		return
	}
	ctx := context.WithValue(req.Context(), pendingKey{}, pending{fault: fault, kill: kill})
	p.forward.ServeHTTP(w, req.WithContext(ctx))
}

// count records a write and returns the kill point if the write is it.
func (p *Proxy) count(r Request) *killPoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		panic(http.ErrAbortHandler)
	}
	if !write(r.Verb, r.Group, r.Subresource, r.DryRun) || !p.counts(r) {
		return nil
	}
	p.writes = append(p.writes, r)
	if p.point.index != len(p.writes) {
		return nil
	}
	p.dead = p.point.moment == BeforeWrite
	point := p.point
	return &point
}

func (p *Proxy) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (k killPoint) fire() {
	k.kill()
	close(k.done)
}

// before does what comes before forwarding, and tells whether to go on.
func (f Fault) before(ctx context.Context) bool {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-ctx.Done():
			return false
		}
	}
	if f.Before != nil {
		f.Before()
	}
	return !f.Cut
}

// pending is what is still to be done when the answer comes.
type pending struct {
	fault Fault
	kill  *killPoint
}

type pendingKey struct{}

// answered is called with the API server's answer. With an error the client's
// connection is dropped.
func (p *Proxy) answered(resp *http.Response) error {
	next, _ := resp.Request.Context().Value(pendingKey{}).(pending)
	if next.fault.After != nil {
		next.fault.After()
	}
	if next.kill != nil {
		p.mu.Lock()
		p.dead = true
		p.mu.Unlock()
		next.kill.fire()
	}
	if next.fault.CutAfter || p.isDead() {
		return errors.New("connection cut")
	}
	return nil
}

// refuse answers as the API server does.
func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, statusBody(status))
}
