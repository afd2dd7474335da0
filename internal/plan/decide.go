// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/object"
)

// Decide makes a plan from facts.
func Decide(f *Facts, policy Policy) *Plan {
	p := &Plan{Owner: f.Owner, Order: policy.Order}
	wanted := make(map[object.ID]bool, len(f.Wants))
	for i := range f.Wants {
		want := &f.Wants[i]
		wanted[want.ID] = true
		p.Steps = append(p.Steps, DecideWant(f, want, policy))
	}
	slices.SortStableFunc(p.Steps, func(a, b Step) int { return policy.Order.Compare(a.ID, b.ID) })
	for id, entry := range f.Record {
		if !wanted[id] {
			p.Stale = append(p.Stale, DecideStale(f, entry, policy))
		}
	}
	slices.SortFunc(p.Stale, func(a, b Step) int { return -policy.Order.Compare(a.ID, b.ID) })
	p.Brake = brake(f, p, policy)
	if p.Brake != nil && !p.Brake.Released {
		hold(p)
	}
	return p
}

func hold(p *Plan) {
	for i := range p.Stale {
		if p.Stale[i].Action == Delete && slices.Contains(p.Brake.Objects, p.Stale[i].ID) {
			p.Stale[i].Action, p.Stale[i].Reason = Hold, "held: "+p.Brake.Reason
		}
	}
}

// DecideWant decides about one object of the set.
func DecideWant(f *Facts, want *Want, policy Policy) Step {
	entry, live := f.Record[want.ID], f.Live[want.ID]
	s := Step{ID: want.ID, Want: want, Live: live.Object, Entry: entry}
	switch {
	case live.Presence == Present && Settled(f.Owner, *want, entry, live, policy):
		s.Action, s.Now = Unchanged, entry.Live
		return s
	case f.Rehearsals[want.ID].Deferred && optedOut(want.Object, live.Object) == "":
		s.Action, s.Reason = Later, "its namespace or kind comes with the same set"
		return s
	case live.Presence == Unknown && f.Rehearsals[want.ID].Failed == nil && !f.Rehearsals[want.ID].Deferred:
		s.Action, s.Cause = Refuse, live.Cause
		s.Reason = unknown(live)
		return s
	}
	if reason := optedOut(want.Object, live.Object); reason != "" {
		s.Action, s.Reason = Skip, reason
		return s
	}
	if other, ok := f.Claims[want.ID]; ok && !(policy.Adopt && other.Kind == f.Owner.Kind) {
		return contested(s, other, f, policy)
	}
	return decideRehearsed(f, s, policy)
}

// contested decides about an object that another owner's record claims: the first owner keeps it.
func contested(s Step, other Owner, f *Facts, policy Policy) Step {
	s.Other = other
	r := f.Rehearsals[s.ID]
	ignore := func(label string) bool { return ownerLabels(label) || f.Owner.Labels()[label] != "" }
	if r.Result != nil && s.Live != nil && sameContent(s.Live, r.Result, ignore) {
		s.Action, s.Reason = Skip, fmt.Sprintf("rendered identically by %s, which keeps it", other)
		return s
	}
	s.Action, s.Reason = Conflict, fmt.Sprintf("it belongs to %s", other)
	if policy.Adopt {
		s.Reason += ", from which it can't be adopted: that would go on applying and pruning it. " +
			"It has to let the object go first: take it out of what it applies, or delete it with the deletion policy Orphan"
	}
	s.Cause = cause.Cause{Code: cause.OwnedByOther, Detail: other.String()}
	return s
}

func decideRehearsed(f *Facts, s Step, policy Policy) Step {
	r := f.Rehearsals[s.ID]
	s.Result = r.Result
	switch {
	case r.Failed != nil:
		s = refusal(s, *r.Failed, policy)
		s.CleanUp = inTheWay(s, f.Owner, policy)
		return s
	case r.Webhook != "":
		return decideUnrehearsed(f, s, policy)
	case r.Spared && Sparable(f.Owner, *s.Want, s.Entry, f.Live[s.ID], policy):
		s.Action, s.Corrects, s.Spared = Configure, asBefore(s), true
		return s
	case r.Result == nil:
		s.Action, s.Reason = Refuse, "the server was not asked what would happen"
		s.Cause = cause.Cause{Code: cause.Unknown}
		return s
	case r.Created || f.Live[s.ID].Presence == Absent:
		return creation(s)
	case s.Live.GetDeletionTimestamp() != nil:
		return beingDeleted(s)
	}
	s.CleanUp = overridden(r.Result, f.Owner.Manager, policy.Overrides) && !merges(s.Want.Object)
	if !s.CleanUp && SameState(s.Live, r.Result, f.Owner.Manager) {
		s.Action, s.Now = Unchanged, Fingerprint(s.Live, f.Owner.Manager)
		return s
	}
	s.Action, s.Corrects = Configure, asBefore(s)
	return s
}

func creation(s Step) Step {
	s.Action, s.Corrects = Create, asBefore(s)
	if s.Corrects && cleansItselfUp(s.Want.Object) {
		s.Action, s.Corrects, s.Reason = Skip, false, "it ran for this content and was cleaned up after its time to live"
	}
	return s
}

func beingDeleted(s Step) Step {
	s.Action = Refuse
	s.Cause = cause.Cause{Code: cause.BeingDeleted, Detail: finalizers(s.Live)}
	s.Reason = s.Cause.String()
	return s
}

// inTheWay says whether an object may be refused because of what a person's hand left on it, which
// the server's answer to an apply still has: a port that was given another number collides with the
// wanted one of the same name. Once it is taken over, the server can be asked again.
func inTheWay(s Step, owner Owner, policy Policy) bool {
	return s.Action == Refuse && s.Cause.Code == cause.InvalidObject &&
		s.Live != nil && s.Live.GetDeletionTimestamp() == nil &&
		s.Entry.UID == string(s.Live.GetUID()) && s.Entry.Ours() &&
		overridden(s.Live, owner.Manager, policy.Overrides) && !merges(s.Want.Object)
}

// asBefore says whether what is wanted is what was applied before: then a difference is somebody
// else's doing.
func asBefore(s Step) bool {
	return s.Entry.UID != "" && !s.Entry.Pending &&
		cmp.Or(s.Entry.Rendered, s.Entry.Desired) == cmp.Or(s.Want.Rendered, s.Want.Hash)
}

// cleansItselfUp says whether an object is run once and then removed by the cluster, so that its
// absence is no drift.
func cleansItselfUp(u *unstructured.Unstructured) bool {
	if u.GroupVersionKind().GroupKind() != (schema.GroupKind{Group: "batch", Kind: "Job"}) {
		return false
	}
	_, set, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "ttlSecondsAfterFinished")
	return set
}

// refusal decides about an object that the server refuses: with force, and only where a field
// can't be changed in place, it is replaced.
func refusal(s Step, why cause.Cause, policy Policy) Step {
	s.Cause, s.Reason = why, why.String()
	s.Action = Refuse
	forced := policy.Force || control(s.Want.Object, "force") == "enabled"
	if why.Code != cause.ImmutableField || !forced || s.Live == nil {
		return s
	}
	if irreplaceable(s.ID) {
		s.Reason += "; a " + s.ID.Kind + " is never replaced, force or not"
		return s
	}
	s.Action = Replace
	return s
}

// irreplaceable kinds take data or other people's objects with them.
func irreplaceable(id object.ID) bool {
	switch id.GroupKind().String() {
	case "PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition.apiextensions.k8s.io":
		return true
	}
	return false
}

func finalizers(u *unstructured.Unstructured) string {
	if held := u.GetFinalizers(); len(held) > 0 {
		return "finalizers " + strings.Join(held, ", ")
	}
	return ""
}

// sameContent says whether two states of an object are the same in everything a manifest can
// say: all but status and the metadata that the server keeps.
func sameContent(a, b *unstructured.Unstructured, ignore func(label string) bool) bool {
	if !equality.Semantic.DeepEqual(without(a.GetLabels(), ignore), without(b.GetLabels(), ignore)) ||
		!equality.Semantic.DeepEqual(a.GetAnnotations(), b.GetAnnotations()) {
		return false
	}
	return contentIn(a, b) && contentIn(b, a)
}

// SameContent says whether two states of an object are the same in everything a manifest can say.
func SameContent(a, b *unstructured.Unstructured) bool { return sameContent(a, b, nil) }

func contentIn(a, b *unstructured.Unstructured) bool {
	for key, v := range a.Object {
		if key == "metadata" || key == "status" {
			continue
		}
		if !equality.Semantic.DeepEqual(v, b.Object[key]) {
			return false
		}
	}
	return true
}

func without(labels map[string]string, ignore func(string) bool) map[string]string {
	out := map[string]string{}
	for k, v := range labels {
		if ignore == nil || !ignore(k) {
			out[k] = v
		}
	}
	return out
}

func ownerLabels(label string) bool {
	for _, group := range []string{KustomizationLabelGroup, InventoryLabelGroup} {
		if label == group+"/name" || label == group+"/namespace" {
			return true
		}
	}
	return false
}

// SameState says whether an apply leaves an object as it was: its content, and what of it is the
// manager's.
func SameState(before, after *unstructured.Unstructured, manager string) bool {
	return sameContent(before, after, nil) && sameOwnership(before, after, manager)
}

// sameOwnership says whether an apply would leave the manager's own fields as they are: no field
// it gives up, none it takes on.
func sameOwnership(a, b *unstructured.Unstructured, manager string) bool {
	before, after := appliedFields(a, manager), appliedFields(b, manager)
	if before == nil || after == nil {
		return before == nil && after == nil
	}
	return before.Equals(after)
}
