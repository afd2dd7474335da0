// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// crowd is an API server that takes only so many requests at a time, as its priority and fairness does
// with a busy tenant: the others it tells to come again later.
type crowd struct {
	room int

	mu       sync.Mutex
	busy     int
	refused  int
	together []int // how many requests were there when each came, itself included
}

func (c *crowd) hook(r testkit.Request) testkit.Fault {
	if r.Verb != "patch" || r.Resource != "configmaps" {
		return testkit.Fault{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.together = append(c.together, c.busy+1)
	if c.busy >= c.room {
		c.refused++
		return testkit.Fault{Status: http.StatusTooManyRequests}
	}
	c.busy++
	return testkit.Fault{Delay: 20 * time.Millisecond, After: c.left}
}

func (c *crowd) left() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
}

// FAULTS.md F34: an API server that refuses more than it can take is sent less, and nothing is lost.
func TestABusyServerIsSentLess(t *testing.T) {
	w := newWorld(t)
	server := &crowd{room: 2}
	proxy := testkit.FaultProxy(t, w.Env, w.agent, server.hook)
	out := w.engineOf(proxy.Config).Run(t.Context(), w.request(configMapsOf(40)...))
	if out.State != deploy.Done || len(out.Changes) != 40 {
		t.Fatalf("%s with %d changes: %v", out.State, len(out.Changes), out.Err)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	// The first 8 come at once: 6 are refused. After that there are two, now and then a third.
	if server.refused < 4 || server.refused > 20 {
		t.Errorf("%d requests were refused", server.refused)
	}
	if n := len(server.together); n != 2*40+server.refused {
		t.Errorf("%d requests for 40 dry-runs, 40 applies and %d refusals", n, server.refused)
	}
	quiet(w, w.request(configMapsOf(40)...))
}
