// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
)

// DecideStale decides about an object that is remembered but no longer in the set. It is deleted
// only if the record proves that we applied it, it still carries our labels, and nothing speaks
// against it.
func DecideStale(f *Facts, entry Entry, policy Policy) Step {
	live := f.Live[entry.ID]
	s := Step{ID: entry.ID, Entry: entry, Live: live.Object}
	switch {
	case entry.Claimed:
		s.Action, s.Reason = Forget, "it is another owner's"
		return s
	case live.Presence == Unknown:
		s.Action, s.Reason = Keep, unknown(live)
		return s
	case live.Presence == Absent:
		s.Action, s.Reason = Forget, "it is gone"
		return s
	}
	s.Action, s.Reason = judge(f.Owner, entry, live.Object, policy)
	if other, claimed := f.Claimants[entry.ID]; claimed && s.Action == Delete {
		s.Action, s.Other = Keep, other
		s.Reason = fmt.Sprintf("%s has it in its set, and is to take it over", other)
	}
	if s.Action == Delete && f.Stakes[entry.ID].Agent {
		s.Action, s.Reason = Keep, "an agent's records are in this namespace, which is never deleted"
	}
	return s
}

// Leaving lists what left the set and would be deleted if no brake held it, and nobody has approved
// yet: what goes with it has to be found out.
func Leaving(f *Facts, policy Policy) []Step {
	wanted := make(map[object.ID]bool, len(f.Wants))
	for _, want := range f.Wants {
		wanted[want.ID] = true
	}
	var out []Step
	for id, entry := range f.Record {
		if wanted[id] {
			continue
		}
		if s := DecideStale(f, entry, policy); s.Action == Delete && !released(f, s) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Step) int { return object.CompareApplyOrder(a.ID, b.ID) })
	return out
}

// unknown says why nobody can tell whether an object is there.
func unknown(live Live) string {
	return strings.TrimSuffix("its state is unknown: "+live.Cause.String(), ": ")
}

// judge decides about a stale object that exists.
func judge(owner Owner, entry Entry, live *unstructured.Unstructured, policy Policy) (Action, string) {
	switch reason := keepsObject(live); {
	case !owner.Marks(live):
		return Forget, "it no longer carries our owner labels"
	case entry.Unproven:
		return Keep, "no record proves that we applied it"
	case !policy.Prune:
		return Keep, "prune is off"
	case reason != "":
		return Keep, reason
	case live.GetDeletionTimestamp() != nil:
		return Keep, strings.TrimSuffix("it is being deleted: "+finalizers(live), ": ")
	case !entry.Pending && entry.UID != string(live.GetUID()):
		return Keep, "it is not the object we applied, but a namesake with our labels"
	case entry.Pending && appliedFields(live, owner.Manager) == nil:
		return Keep, "it carries our labels, but we never applied it"
	case systemNamespace(entry, policy.Protected):
		return Keep, "this namespace is never deleted"
	case IsKustomization(entry.ID) && owner == Kustomization(entry.ID.Namespace, entry.ID.Name):
		return Keep, "it is the Kustomization that applied itself"
	}
	return Delete, ""
}

func systemNamespace(entry Entry, protected []string) bool {
	if !IsNamespace(entry.ID) {
		return false
	}
	return slices.Contains([]string{"default", "kube-system", "kube-public", "kube-node-lease"}, entry.ID.Name) ||
		slices.Contains(protected, entry.ID.Name)
}
