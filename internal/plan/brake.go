// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kustomizer/kustomizer/internal/object"
)

// Thresholds of the brake: more than manyObjects and more than manyPercent of what is remembered,
// or at least fewObjects and more than half.
const (
	manyObjects = 10
	manyPercent = 30
	fewObjects  = 3
)

// Brake says that a plan's deletions need a person's approval, and why.
type Brake struct {
	Reason   string      // on one line
	Objects  []object.ID // what would be deleted
	Hash     string      // names exactly these deletions; an approval carries it
	Released bool        // the approval is there
}

// brake looks over a plan's deletions. What a person already let go of is not held again.
func brake(f *Facts, p *Plan, policy Policy) *Brake {
	going := unreleased(f, p.Deletions())
	if len(going) == 0 || policy.GuardOff {
		return nil
	}
	nested := nestedGoing(f, going, policy)
	reason := brakeReason(f, p, going, nested, policy)
	if reason == "" {
		return nil
	}
	b := &Brake{Reason: reason, Hash: approvalHash(f.Origin, going, nested)}
	for _, s := range going {
		b.Objects = append(b.Objects, s.ID)
	}
	b.Released = policy.Approved != "" && policy.Approved == b.Hash
	return b
}

// Demand is how many deletions a plan adds to those that its revision makes: what it would delete,
// held or not, as far as no person has approved it.
func Demand(f *Facts, p *Plan, policy Policy) int {
	if p.Brake != nil && p.Brake.Released {
		return 0
	}
	going := slices.Concat(p.filter(p.Stale, Hold), unreleased(f, p.Deletions()))
	return len(going) + len(nestedGoing(f, going, policy))
}

// ReleaseMark names the deletion of one object that a person approved. It is worthless for another
// origin or another object of that name.
func ReleaseMark(origin, uid string) string { return shortHash([]byte(origin + "\n" + uid)) }

// unreleased returns the deletions that nobody has approved yet.
func unreleased(f *Facts, going []Step) []Step {
	return slices.DeleteFunc(slices.Clone(going), func(s Step) bool { return released(f, s) })
}

func released(f *Facts, s Step) bool {
	return s.Entry.Released != "" && s.Live != nil && s.Entry.Released == ReleaseMark(f.Origin, string(s.Live.GetUID()))
}

func brakeReason(f *Facts, p *Plan, going []Step, nested []Entry, policy Policy) string {
	n, total := len(going)+len(nested), remembered(f)+len(nested)
	with := ""
	if len(nested) > 0 {
		with = fmt.Sprintf(", %d of them with nested Kustomizations", len(nested))
	}
	switch {
	case len(f.Wants) == 0:
		why := f.Empty
		if why == "" {
			why = "it has no objects"
		}
		return fmt.Sprintf("the new render is empty (%s) and all %d objects would be deleted", why, n) + with
	case n > manyObjects && n*100 > total*manyPercent:
		return fmt.Sprintf("%d of %d objects would be deleted", n, total) + with
	case n >= fewObjects && n*2 > total:
		return fmt.Sprintf("%d of %d objects would be deleted, more than half", n, total) + with
	case lastWorkloadGoes(p, going, nested):
		return "the last workload would be deleted"
	}
	if reason := cmp.Or(protectedReason(f, p, going, policy), f.Unseen); reason != "" {
		return reason
	}
	if policy.FleetLimit > 0 && f.Fleet+n > policy.FleetLimit {
		return fmt.Sprintf("this revision would delete %d objects in all, more than %d", f.Fleet+n, policy.FleetLimit) + with
	}
	return ""
}

// remembered counts the objects that were ours before this plan: those that are in the record
// and not merely kept there.
func remembered(f *Facts) int {
	n := 0
	for _, e := range f.Record {
		if e.Ours() {
			n++
		}
	}
	return n
}

// lastWorkloadGoes says whether no workload would be left, as far as can be told: a nested
// Kustomization that stays may have some.
func lastWorkloadGoes(p *Plan, going []Step, nested []Entry) bool {
	if slices.ContainsFunc(p.Steps, func(s Step) bool { return workload(s.ID) }) {
		return false
	}
	if slices.ContainsFunc(going, func(s Step) bool { return workload(s.ID) }) {
		return true
	}
	return !slices.ContainsFunc(p.Steps, func(s Step) bool { return IsKustomization(s.ID) }) &&
		slices.ContainsFunc(nested, func(e Entry) bool { return workload(e.ID) })
}

func workload(id object.ID) bool {
	switch id.Group {
	case "apps":
		return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"}, id.Kind)
	case "batch":
		return id.Kind == "CronJob" || id.Kind == "Job"
	}
	return false
}

// protectedReason names the objects that take data or other people's objects with them.
func protectedReason(f *Facts, p *Plan, going []Step, policy Policy) string {
	with := idsOf(p.Deletions())
	var reasons []string
	for _, s := range going {
		why := protection(f, s, with, policy)
		if why == "" {
			why = nestedReason(f, s, policy)
		}
		if why != "" {
			reasons = append(reasons, s.ID.String()+" ("+why+")")
		}
	}
	return protectedList(reasons)
}

func protectedList(reasons []string) string {
	const show = 5
	if len(reasons) == 0 {
		return ""
	}
	slices.Sort(reasons)
	if len(reasons) > show {
		reasons = append(reasons[:show:show], fmt.Sprintf("and %d more", len(reasons)-show))
	}
	return "protected objects would be deleted: " + strings.Join(reasons, ", ")
}

func idsOf(steps []Step) map[object.ID]bool {
	out := make(map[object.ID]bool, len(steps))
	for _, s := range steps {
		out[s.ID] = true
	}
	return out
}

// approvalHash names exactly one set of deletions: the origin (artifact digest and generation) and
// each object with its uid. An approval can't be used for anything else.
func approvalHash(origin string, going []Step, nested []Entry) string {
	lines := make([]string, 0, len(going)+len(nested))
	for _, s := range going {
		lines = append(lines, s.ID.InventoryID()+" "+string(s.Live.GetUID()))
	}
	for _, e := range nested {
		lines = append(lines, "nested "+e.ID.InventoryID()+" "+e.UID)
	}
	slices.Sort(lines)
	h := sha256.New()
	io.WriteString(h, origin+"\n"+strings.Join(lines, "\n")) // a hash's Write never fails
	return hex.EncodeToString(h.Sum(nil))
}
