// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/object"
)

// Stake is what the deletion of one object would take with it. Its zero value says that nobody
// looked, which is never taken for nothing.
type Stake struct {
	Looked bool
	Doubt  string // why it is not known, on one line; empty where it is
	// Holds is what is in a Namespace, or of the kind that a definition defines, without what
	// Kubernetes puts there by itself. More says that there is more than that.
	Holds []object.ID
	More  bool
	// Claims are the volume claims that the object owns.
	Claims []object.ID
	// Nested is what a Kustomization and those that it applied have on record.
	Nested []Nested
	// Agent: an agent's records lie in the Namespace.
	Agent bool
}

// Nested is what the deletion of a Kustomization that goes would delete.
type Nested struct {
	Owner   Owner
	Entries []Entry
	// All: objects of protected kinds too, because its deletion policy says so by name.
	All bool
}

// goes says whether an entry's object goes with the Kustomization.
func (n Nested) goes(e Entry, policy Policy) bool {
	if e.Retained || e.Unproven {
		return false
	}
	return n.All || !holdsData(e.ID) && !policy.protects(e.ID)
}

// IsKustomization says whether an object is one that applies others.
func IsKustomization(id object.ID) bool {
	return id.GroupKind() == schema.GroupKind{Group: KustomizationLabelGroup, Kind: OwnerKustomization}
}

// IsNamespace says whether an object is a Namespace.
func IsNamespace(id object.ID) bool { return id.GroupKind() == schema.GroupKind{Kind: "Namespace"} }

// IsDefinition says whether an object is a CustomResourceDefinition.
func IsDefinition(id object.ID) bool {
	return id.GroupKind() == schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
}

// Defined returns the kind that a CustomResourceDefinition defines.
func Defined(definition *unstructured.Unstructured) schema.GroupKind {
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: kind}
}

func holdsData(id object.ID) bool {
	return id.Group == "" && (id.Kind == "PersistentVolume" || id.Kind == "PersistentVolumeClaim")
}

func (p Policy) protects(id object.ID) bool {
	return slices.Contains(p.ProtectKinds, id.GroupKind()) || slices.Contains(StatefulKinds(), id.GroupKind())
}

// protection says why the deletion of an object takes data, or other people's objects, with it, or
// nothing. What goes together does not protect each other.
func protection(f *Facts, s Step, going map[object.ID]bool, policy Policy) string {
	stake := f.Stakes[s.ID]
	switch {
	case holdsData(s.ID):
		return "it holds data"
	case claimsVolumes(s):
		return "it claims volumes"
	case policy.protects(s.ID):
		return "its kind is protected"
	case !stake.Looked:
		return "nobody looked what would go with it"
	case stake.Doubt != "":
		return "it is not known what would go with it: " + stake.Doubt
	case len(stake.Claims) > 0:
		return "it owns " + some(stake.Claims, false)
	}
	if IsNamespace(s.ID) || IsDefinition(s.ID) {
		return contentReason(f, s, stake, going)
	}
	return ""
}

// claimsVolumes says whether an object is a StatefulSet with templates for volume claims.
func claimsVolumes(s Step) bool {
	if s.ID.GroupKind() != (schema.GroupKind{Group: "apps", Kind: "StatefulSet"}) {
		return false
	}
	if s.Live == nil {
		return true
	}
	templates, _, _ := unstructured.NestedSlice(s.Live.Object, "spec", "volumeClaimTemplates")
	return len(templates) > 0
}

// contentReason says what a Namespace or a definition would take with it that is not deleted by the
// same plan.
func contentReason(f *Facts, s Step, stake Stake, going map[object.ID]bool) string {
	var left []object.ID
	for _, id := range stake.Holds {
		if !going[id] {
			left = append(left, id)
		}
	}
	for _, want := range f.Wants {
		if within(want.ID, s) && !slices.Contains(left, want.ID) {
			left = append(left, want.ID)
		}
	}
	if len(left) == 0 && !stake.More {
		return ""
	}
	object.SortIDs(left)
	if IsNamespace(s.ID) {
		return "it holds " + some(left, stake.More)
	}
	return "it defines the kind of " + some(left, stake.More)
}

// within says whether an object goes with a Namespace or a definition.
func within(id object.ID, s Step) bool {
	if IsNamespace(s.ID) {
		return id.Namespace == s.ID.Name
	}
	return s.Live != nil && id.GroupKind() == Defined(s.Live)
}

// some names a few of many.
func some(ids []object.ID, more bool) string {
	const show = 3
	names := make([]string, 0, show+1)
	for _, id := range ids[:min(len(ids), show)] {
		names = append(names, id.String())
	}
	switch rest := len(ids) - show; {
	case more:
		names = append(names, "and more")
	case rest > 0:
		names = append(names, fmt.Sprintf("and %d more", rest))
	}
	return strings.Join(names, ", ")
}

// nestedReason says which protected kinds go with a Kustomization, or why that is not known.
func nestedReason(f *Facts, s Step, policy Policy) string {
	var names []object.ID
	for _, n := range f.Stakes[s.ID].Nested {
		for _, e := range n.Entries {
			if n.goes(e, policy) && n.All && mayProtect(e.ID, policy) {
				names = append(names, e.ID)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	object.SortIDs(names)
	return "it takes " + some(names, false) + " with it"
}

// mayProtect says whether objects of a kind can be protected, as far as their identity tells.
func mayProtect(id object.ID, policy Policy) bool {
	return holdsData(id) || IsNamespace(id) || IsDefinition(id) || policy.protects(id) ||
		id.GroupKind() == schema.GroupKind{Group: "apps", Kind: "StatefulSet"}
}

// nestedGoing lists what goes with the Kustomizations among the deletions, and is not deleted by the
// plan itself.
func nestedGoing(f *Facts, going []Step, policy Policy) []Entry {
	direct := map[object.ID]bool{}
	for _, s := range going {
		direct[s.ID] = true
	}
	var out []Entry
	for _, s := range going {
		if !IsKustomization(s.ID) {
			continue
		}
		for _, n := range f.Stakes[s.ID].Nested {
			for _, e := range n.Entries {
				if n.goes(e, policy) && !direct[e.ID] {
					direct[e.ID] = true
					out = append(out, e)
				}
			}
		}
	}
	return out
}
