// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"sync"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

// Fleet counts the deletions that one revision makes over all the owners that an agent works for. What
// a revision has deleted is on the owners' records, so that it survives the agent; what it would delete
// is counted as the owners are planned. The zero value is ready to use.
type Fleet struct {
	mu      sync.Mutex
	loaded  bool
	demands map[plan.Owner]demand
}

// demand is how many deletions an owner's latest revision makes.
type demand struct {
	digest string
	n      int
}

// decide makes a plan in the light of what the same revision deletes elsewhere, and counts what it
// would delete itself. Two plans can't both take what is left of the limit.
func (f *Fleet) decide(facts *plan.Facts, policy plan.Policy, digest string, pruned int) *plan.Plan {
	f.mu.Lock()
	defer f.mu.Unlock()
	facts.Fleet = pruned
	for owner, d := range f.demands {
		if owner != facts.Owner && d.digest == digest {
			facts.Fleet += d.n
		}
	}
	p := plan.Decide(facts, policy)
	if f.demands == nil {
		f.demands = map[plan.Owner]demand{}
	}
	f.demands[facts.Owner] = demand{digest: digest, n: pruned + plan.Demand(facts, p, policy)}
	return p
}

// load reads, once, what revisions have deleted before this process began.
func (f *Fleet) load(ctx context.Context, c *cluster.Cluster, namespace string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded {
		return nil
	}
	heads, err := record.Heads(ctx, c, namespace)
	if err != nil {
		return err
	}
	if f.demands == nil {
		f.demands = map[plan.Owner]demand{}
	}
	for owner, h := range heads {
		if _, known := f.demands[owner]; !known && h.Pruned > 0 {
			f.demands[owner] = demand{digest: h.Digest, n: h.Pruned}
		}
	}
	f.loaded = true
	return nil
}

// Forget drops what is remembered of an owner that is gone.
func (e *Engine) Forget(owner plan.Owner) {
	f := e.Fleet
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.demands, owner)
}
