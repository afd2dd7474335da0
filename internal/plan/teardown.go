// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"

	"github.com/kustomizer/kustomizer/internal/object"
)

// ProtectedReason begins the reason of a step that keeps an object because it is protected.
const ProtectedReason = "it is protected: "

// Teardown makes the plan for an owner that goes as a whole. The thresholds of the brake don't
// apply: that all goes is what was asked for. Objects whose deletion takes data or other people's
// objects with it stay, unless the guard is off or a person approved exactly these. So does all of which
// it is not known whether others claim it.
func Teardown(f *Facts, policy Policy) *Plan {
	p := &Plan{Owner: f.Owner, Order: policy.Order}
	policy.Prune = true
	for _, entry := range f.Record {
		p.Stale = append(p.Stale, DecideStale(f, entry, policy))
	}
	slices.SortFunc(p.Stale, func(a, b Step) int { return -policy.Order.Compare(a.ID, b.ID) })
	spare(f, p, policy)
	return p
}

// spare keeps what is protected. What stays protects the Namespace that it is in and the definition
// of its kind, so that these are judged after it, until no more is found.
func spare(f *Facts, p *Plan, policy Policy) {
	going := idsOf(p.Deletions())
	kept := map[object.ID]string{}
	for more := true; more; {
		more = false
		for _, s := range unreleased(f, p.Deletions()) {
			if kept[s.ID] != "" {
				continue
			}
			why := f.Unseen
			if !policy.GuardOff {
				why = cmp.Or(protection(f, s, going, policy), f.Unseen)
			}
			if why != "" {
				kept[s.ID] = why
				delete(going, s.ID)
				more = true
			}
		}
	}
	if len(kept) > 0 {
		p.Spared = sparing(f, p, kept, policy.Approved)
	}
}

// sparing lets go of the protected objects if a person approved exactly these. Otherwise they stay,
// and the plan says how they are released.
func sparing(f *Facts, p *Plan, kept map[object.ID]string, approved string) *Brake {
	var held []Step
	var reasons []string
	for _, s := range p.Stale {
		if why := kept[s.ID]; why != "" {
			held = append(held, s)
			if why != f.Unseen {
				reasons = append(reasons, s.ID.String()+" ("+why+")")
			}
		}
	}
	b := &Brake{Reason: cmp.Or(protectedList(reasons), f.Unseen), Hash: approvalHash(f.Origin, held, nil)}
	b.Released = approved != "" && approved == b.Hash
	for i := range p.Stale {
		s := &p.Stale[i]
		if kept[s.ID] == "" {
			continue
		}
		b.Objects = append(b.Objects, s.ID)
		if !b.Released {
			s.Action, s.Reason = Keep, ProtectedReason+kept[s.ID]
			if kept[s.ID] == f.Unseen {
				s.Reason = f.Unseen
			}
		}
	}
	return b
}
