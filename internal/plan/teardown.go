// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"
)

// Teardown makes the plan for an owner that goes as a whole. The thresholds of the brake don't
// apply: that all goes is what was asked for. Objects of protected kinds stay unless the request
// names them.
func Teardown(f *Facts, policy Policy, takeProtected bool) *Plan {
	p := &Plan{Owner: f.Owner, Order: policy.Order}
	policy.Prune = true
	for _, entry := range f.Record {
		s := DecideStale(f, entry, policy)
		if s.Action == Delete && Protected(s.ID, s.Live) && !takeProtected {
			s.Action, s.Reason = Hold, "a "+s.ID.Kind+" is deleted only where that was asked for by name"
		}
		if s.Action == Delete && f.Unseen != "" {
			s.Action, s.Reason = Hold, f.Unseen
		}
		p.Stale = append(p.Stale, s)
	}
	releaseProtected(f, p, policy.Approved)
	slices.SortFunc(p.Stale, func(a, b Step) int { return -policy.Order.Compare(a.ID, b.ID) })
	return p
}

// releaseProtected lets go of the objects of protected kinds if a person approved exactly these.
// Otherwise they stay, and the plan says how they are released.
func releaseProtected(f *Facts, p *Plan, approved string) {
	held := p.filter(p.Stale, Hold)
	if len(held) == 0 {
		return
	}
	b := &Brake{Reason: cmp.Or(protectedReason(held), f.Unseen), Hash: approvalHash(f.Origin, held)}
	b.Released = approved != "" && approved == b.Hash
	for i := range p.Stale {
		s := &p.Stale[i]
		if s.Action != Hold {
			continue
		}
		b.Objects = append(b.Objects, s.ID)
		s.Action = Keep
		if b.Released {
			s.Action, s.Reason = Delete, ""
		}
	}
	p.Spared = b
}
