// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
	return s
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
	}
	return Delete, ""
}

func systemNamespace(entry Entry, protected []string) bool {
	if entry.ID.Kind != "Namespace" || entry.ID.Group != "" {
		return false
	}
	return slices.Contains([]string{"default", "kube-system", "kube-public", "kube-node-lease"}, entry.ID.Name) ||
		slices.Contains(protected, entry.ID.Name)
}
