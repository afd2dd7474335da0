// SPDX-License-Identifier: Apache-2.0

// Package plan decides. Facts about a set of objects (what is wanted, what is remembered, what
// lives in the cluster, what the server said in a dry-run) become decisions: create, configure,
// leave, replace, delete, hold, skip. It is pure: it makes no requests and reads no clock, so that
// the same facts always give the same plan, and a plan can be shown, tested and explored.
package plan

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
)

// Owner is whom a set of objects belongs to: a Kustomization of the agent or an inventory of the
// command line.
type Owner struct {
	Kind       string // OwnerKustomization or OwnerInventory
	Namespace  string
	Name       string
	LabelGroup string // prefix of the owner labels
	Manager    string // field manager of the owner's applies
}

// The kinds of owners.
const (
	OwnerKustomization = "Kustomization"
	OwnerInventory     = "Inventory"
)

// Names that are on objects in users' clusters and therefore can't change. The first three are
// Flux's, the others Kustomizer's.
const (
	KustomizationLabelGroup = "kustomize.toolkit.fluxcd.io"
	KustomizationManager    = "kustomize-controller"
	InventoryLabelGroup     = "inventory.kustomizer.dev"
	InventoryManager        = "kustomizer"
)

// Kustomization returns the owner that stands for a Kustomization.
func Kustomization(namespace, name string) Owner {
	return Owner{Kind: OwnerKustomization, Namespace: namespace, Name: name, LabelGroup: KustomizationLabelGroup, Manager: KustomizationManager}
}

// Inventory returns the owner that stands for an inventory of the command line.
func Inventory(namespace, name string) Owner {
	return Owner{Kind: OwnerInventory, Namespace: namespace, Name: name, LabelGroup: InventoryLabelGroup, Manager: InventoryManager}
}

// String returns Kind/namespace/name.
func (o Owner) String() string { return o.Kind + "/" + o.Namespace + "/" + o.Name }

// Labels returns the labels that mark an object as the owner's.
func (o Owner) Labels() map[string]string {
	return map[string]string{o.LabelGroup + "/name": o.Name, o.LabelGroup + "/namespace": o.Namespace}
}

// Selector returns the label selector that finds the owner's objects.
func (o Owner) Selector() string {
	return fmt.Sprintf("%s/name=%s,%s/namespace=%s", o.LabelGroup, o.Name, o.LabelGroup, o.Namespace)
}

// Marks says whether an object carries the owner's labels. Labels alone never prove ownership,
// because operators copy them; their absence disproves it.
func (o Owner) Marks(u *unstructured.Unstructured) bool {
	labels := u.GetLabels()
	return labels[o.LabelGroup+"/name"] == o.Name && labels[o.LabelGroup+"/namespace"] == o.Namespace
}

// OwnerOf reads the first of the owners that an object's labels name.
func OwnerOf(u *unstructured.Unstructured) (Owner, bool) {
	all := OwnersOf(u)
	if len(all) == 0 {
		return Owner{}, false
	}
	return all[0], true
}

// OwnersOf reads the owners that an object's labels name: one of each kind, since an owner that
// takes an object over from one of another kind can't take that one's labels off it.
// More groups than the two that everybody has may be given: inventories can be told to use others.
func OwnersOf(u *unstructured.Unstructured, groups ...string) []Owner {
	labels := u.GetLabels()
	var out []Owner
	if name := labels[KustomizationLabelGroup+"/name"]; name != "" {
		out = append(out, Kustomization(labels[KustomizationLabelGroup+"/namespace"], name))
	}
	for _, group := range append([]string{InventoryLabelGroup}, groups...) {
		owner := Inventory(labels[group+"/namespace"], labels[group+"/name"])
		if group != KustomizationLabelGroup && owner.Name != "" && !slices.Contains(out, owner) {
			out = append(out, owner)
		}
	}
	return out
}

// Same says whether two owners are one: what their labels and field managers are called makes no
// difference.
func (o Owner) Same(other Owner) bool {
	return o.Kind == other.Kind && o.Namespace == other.Namespace && o.Name == other.Name
}

// Entry is what is remembered of one object: that we applied it, or were about to.
type Entry struct {
	ID      object.ID
	Version string // API version it was applied at; a hint only
	UID     string // of the object that our apply answered with; empty while pending
	// Pending: an apply was about to be made; whether it was is unknown.
	Pending bool
	// Retained: the object is in the set no longer, and prune is off or the object opted out of it.
	Retained bool
	// Unproven: the entry came from elsewhere than our own applies; it is never deleted.
	Unproven bool
	// Claimed: the object is in the set, and another owner keeps it. It was not applied by us, and
	// is not ours to delete; the other owner leaves it for us instead of deleting it.
	Claimed bool
	// Desired is the hash of what was sent, Live the fingerprint of what came back: while both
	// are as they were, there is nothing to do. See [Fingerprint].
	Desired string
	// Rendered is [Want.Rendered] of what was sent.
	Rendered string
	Live     string
	// Released is the [ReleaseMark] of a deletion that a person approved, and that may not be at its end.
	Released string
}

// Ours says whether the entry is of an object that we applied, or are about to, and that is in the
// set.
func (e Entry) Ours() bool { return !e.Retained && !e.Unproven && !e.Claimed }
