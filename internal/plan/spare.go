// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Sparable says whether an object that is the only one of its set in doubt may be applied without a
// rehearsal. Nothing else can be half done then, so what is left to find out before is whether it is
// ours to change: it is the one that our record proves we applied, it still carries our labels and
// nobody else's, shows no control that keeps us off it, and nobody's hand is on it that would have to
// be taken off first.
func Sparable(owner Owner, want Want, entry Entry, live Live, policy Policy) bool {
	return live.Presence == Present &&
		!entry.Pending && entry.Ours() &&
		entry.UID == string(live.Object.GetUID()) &&
		live.Object.GetDeletionTimestamp() == nil &&
		owner.Marks(live.Object) && onlyOwned(live.Object, owner) &&
		!controlled(want.Object) && !controlled(live.Object) &&
		!overridden(live.Object, owner.Manager, policy.Overrides) &&
		!ScaledByController(live.Object, policy.Overrides)
}

// onlyOwned says whether no other owner's labels are on an object.
func onlyOwned(u *unstructured.Unstructured, owner Owner) bool {
	return !slices.ContainsFunc(OwnersOf(u, owner.LabelGroup), func(o Owner) bool { return !o.Same(owner) })
}

// controlled says whether an object asks to be applied in another way than others, or not at all.
func controlled(u *unstructured.Unstructured) bool {
	return slices.ContainsFunc([]string{"reconcile", "ssa", "force"}, func(key string) bool { return control(u, key) != "" })
}
