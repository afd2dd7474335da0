// SPDX-License-Identifier: Apache-2.0

// Package object gives Kubernetes objects their identity, their order and their YAML.
package object

import (
	"cmp"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ID identifies an object within a cluster. The API version is not part of it: the same object is
// served under several versions, and which of them is used is decided when a request is made.
type ID struct {
	Group     string // API group, empty for the core group
	Kind      string
	Namespace string // empty for cluster-scoped objects
	Name      string
}

// Of returns the identity of an object.
func Of(u *unstructured.Unstructured) ID {
	gvk := u.GroupVersionKind()
	return ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
}

// GroupKind returns the group and kind of the object.
func (id ID) GroupKind() schema.GroupKind {
	return schema.GroupKind{Group: id.Group, Kind: id.Kind}
}

// String returns Kind/namespace/name, or Kind/name for cluster-scoped objects: the form in which
// objects are shown to users everywhere.
func (id ID) String() string {
	if id.Namespace == "" {
		return id.Kind + "/" + id.Name
	}
	return id.Kind + "/" + id.Namespace + "/" + id.Name
}

// Compare orders identities by group, kind, namespace and name.
func (id ID) Compare(other ID) int {
	return cmp.Or(
		strings.Compare(id.Group, other.Group),
		strings.Compare(id.Kind, other.Kind),
		strings.Compare(id.Namespace, other.Namespace),
		strings.Compare(id.Name, other.Name),
	)
}

// InventoryID returns <namespace>_<name>_<group>_<kind> with colons in the name written as two
// underscores: the form of status.inventory and of Kustomizer's inventories, which both took it
// from cli-utils' ObjMetadata.
func (id ID) InventoryID() string {
	return strings.Join([]string{id.Namespace, strings.ReplaceAll(id.Name, ":", "__"), id.Group, id.Kind}, "_")
}

// ParseInventoryID reads what [ID.InventoryID] wrote.
func ParseInventoryID(s string) (ID, error) {
	// Namespace, group and kind can't contain an underscore; an encoded name can.
	first := strings.Index(s, "_")
	if first < 0 {
		return ID{}, fmt.Errorf("inventory entry %q: want <namespace>_<name>_<group>_<kind>", s)
	}
	namespace, rest := s[:first], s[first+1:]
	last := strings.LastIndex(rest, "_")
	if last < 0 {
		return ID{}, fmt.Errorf("inventory entry %q: want <namespace>_<name>_<group>_<kind>", s)
	}
	kind, rest := rest[last+1:], rest[:last]
	mid := strings.LastIndex(rest, "_")
	if mid < 0 {
		return ID{}, fmt.Errorf("inventory entry %q: want <namespace>_<name>_<group>_<kind>", s)
	}
	id := ID{Group: rest[mid+1:], Kind: kind, Namespace: namespace, Name: strings.ReplaceAll(rest[:mid], "__", ":")}
	if id.Name == "" || id.Kind == "" {
		return ID{}, fmt.Errorf("inventory entry %q: name and kind must not be empty", s)
	}
	return id, nil
}
