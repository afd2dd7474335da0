// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// restartedAt is set by kubectl rollout restart. It asks for a rollout and is not drift.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// Fingerprint returns a hash of an object's fields that the manager's applies own, names and
// values both. As long as nobody changes, takes away or adds to those fields it stays the same,
// however the server writes the values (quantities, defaults): it needs no schema. It is empty
// where the manager has never applied the object.
//
// It builds on a property of server-side apply: a write that changes a field's value takes the
// field away from every other manager. A field that is owned but not there is one whose empty
// value the server does not store; set to something, it is there, or owned no longer.
func Fingerprint(u *unstructured.Unstructured, manager string) string {
	set := appliedFields(u, manager)
	if set == nil {
		return ""
	}
	var buf bytes.Buffer
	set.Leaves().Iterate(func(p fieldpath.Path) {
		text := []byte("?")
		if v, ok := lookup(u.Object, p); ok {
			if b, err := json.Marshal(v); err == nil {
				text = b
			}
		}
		fmt.Fprintf(&buf, "%s=%s\n", p, text)
	})
	return shortHash(buf.Bytes())
}

func appliedFields(u *unstructured.Unstructured, manager string) *fieldpath.Set {
	for _, e := range entriesOf(u, func(e metav1.ManagedFieldsEntry) bool { return isApplied(e, manager) }) {
		return fieldsOf(e)
	}
	return nil
}

// entriesOf returns the managed fields entries that are wanted, by manager, operation and
// subresource. It leaves the rest of them alone: this is asked about every object of a set, and to
// convert all entries of all objects takes as long as everything else.
func entriesOf(u *unstructured.Unstructured, wanted func(metav1.ManagedFieldsEntry) bool) []metav1.ManagedFieldsEntry {
	raw, _, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "managedFields")
	list, ok := raw.([]any)
	if !ok {
		return nil
	}
	var out []metav1.ManagedFieldsEntry
	for _, item := range list {
		m, _ := item.(map[string]any)
		var e metav1.ManagedFieldsEntry
		operation, _ := m["operation"].(string)
		e.Operation = metav1.ManagedFieldsOperationType(operation)
		e.Manager, _ = m["manager"].(string)
		e.Subresource, _ = m["subresource"].(string)
		if !wanted(e) {
			continue
		}
		if fields, ok := m["fieldsV1"].(map[string]any); ok {
			if text, err := json.Marshal(fields); err == nil {
				e.FieldsV1 = metav1.NewFieldsV1(string(text))
			}
		}
		out = append(out, e)
	}
	return out
}

// isApplied says whether a managed fields entry is that of the manager's applies.
func isApplied(e metav1.ManagedFieldsEntry, manager string) bool {
	return e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

func fieldsOf(e metav1.ManagedFieldsEntry) *fieldpath.Set {
	if e.FieldsV1 == nil {
		return fieldpath.NewSet()
	}
	set := &fieldpath.Set{}
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return fieldpath.NewSet()
	}
	return set
}

// lookup finds the value at a path of a managed fields set.
func lookup(v any, path fieldpath.Path) (any, bool) {
	for _, e := range path {
		var ok bool
		if v, ok = step(v, e); !ok {
			return nil, false
		}
	}
	return v, true
}

func step(v any, e fieldpath.PathElement) (any, bool) {
	if e.FieldName != nil {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		out, ok := m[*e.FieldName]
		return out, ok
	}
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	if e.Index != nil {
		if *e.Index < 0 || *e.Index >= len(list) {
			return nil, false
		}
		return list[*e.Index], true
	}
	i := slices.IndexFunc(list, func(item any) bool { return matches(item, e) })
	if i < 0 {
		return nil, false
	}
	return list[i], true
}

func matches(item any, e fieldpath.PathElement) bool {
	if e.Value != nil {
		return value.Equals(value.NewValueInterface(item), *e.Value)
	}
	m, ok := item.(map[string]any)
	if !ok || e.Key == nil {
		return false
	}
	for _, field := range *e.Key {
		got, ok := m[field.Name]
		if !ok || !value.Equals(value.NewValueInterface(got), field.Value) {
			return false
		}
	}
	return true
}

// overrides says whether a managed fields entry belongs to a manager whose changes are undone:
// kubectl in all its forms, what was there before the first apply, our own name with Update
// (an earlier client-side write), and those the fleet names. Entries on subresources, such as
// scale and status, are their owners' business.
func overrides(e metav1.ManagedFieldsEntry, extra []string, own string) bool {
	if e.Subresource != "" {
		return false
	}
	update := e.Operation == metav1.ManagedFieldsOperationUpdate
	return strings.HasPrefix(e.Manager, "kubectl") ||
		update && (e.Manager == "before-first-apply" || e.Manager == own) ||
		slices.Contains(extra, e.Manager) && e.Manager != own
}

// overridden says whether a person's hand, by an overridden manager, is on the object. An entry
// that holds nothing but a rollout restart's time is not.
func overridden(u *unstructured.Unstructured, own string, extra []string) bool {
	theirs := func(e metav1.ManagedFieldsEntry) bool { return overrides(e, extra, own) }
	return slices.ContainsFunc(entriesOf(u, theirs), func(e metav1.ManagedFieldsEntry) bool {
		return undoes(e, own, extra)
	})
}

// undoes says whether an entry holds fields that the next apply is to take over.
func undoes(e metav1.ManagedFieldsEntry, own string, extra []string) bool {
	if !overrides(e, extra, own) {
		return false
	}
	rest, _ := splitRestart(fieldsOf(e))
	return !rest.Empty()
}

// splitRestart takes a rollout restart's time, and the maps that were made to hold it, out of a
// set of fields.
func splitRestart(set *fieldpath.Set) (rest, restart *fieldpath.Set) {
	restart = fieldpath.NewSet()
	set.Iterate(func(p fieldpath.Path) {
		if last := p[len(p)-1]; last.FieldName == nil || *last.FieldName != restartedAt {
			return
		}
		for n := range p {
			if part := p[:n+1].Copy(); set.Has(part) {
				restart.Insert(part)
			}
		}
	})
	return set.Difference(restart), restart
}

// MergeOverrides returns the managed fields that an object should have so that the next apply
// undoes what overridden managers did: their fields become the owner's. A rollout restart's time
// stays with who set it. The second result says whether anything differs.
func MergeOverrides(u *unstructured.Unstructured, owner Owner, extra []string) ([]metav1.ManagedFieldsEntry, bool) {
	merged := fieldpath.NewSet()
	var kept []metav1.ManagedFieldsEntry
	ours := metav1.ManagedFieldsEntry{
		Manager: owner.Manager, Operation: metav1.ManagedFieldsOperationApply,
		APIVersion: u.GetAPIVersion(), FieldsType: "FieldsV1",
	}
	changed := false
	for _, e := range u.GetManagedFields() {
		switch {
		case isApplied(e, owner.Manager):
			ours = *e.DeepCopy()
		case undoes(e, owner.Manager, extra):
			changed = true
			rest, restart := splitRestart(fieldsOf(e))
			merged = merged.Union(rest)
			if raw, err := restart.ToJSON(); err == nil && !restart.Empty() {
				e.FieldsV1 = metav1.NewFieldsV1(string(raw))
				kept = append(kept, e)
			}
		default:
			kept = append(kept, e)
		}
	}
	if !changed {
		return nil, false
	}
	raw, err := merged.Union(fieldsOf(ours)).ToJSON()
	if err != nil {
		return nil, false
	}
	ours.FieldsV1 = metav1.NewFieldsV1(string(raw))
	return append(kept, ours), true
}

// owns says whether the manager's own applies hold a field.
func owns(u *unstructured.Unstructured, manager string, path fieldpath.Path) bool {
	set := appliedFields(u, manager)
	return set != nil && set.Has(path)
}

// othersOwn says whether a manager whose changes are kept, other than the owner, holds a field,
// through whichever subresource; and whether one does whose changes are undone.
func othersOwn(u *unstructured.Unstructured, manager string, extra []string, path fieldpath.Path) (kept, undone bool) {
	for _, e := range u.GetManagedFields() {
		switch {
		case isApplied(e, manager) || !fieldsOf(e).Has(path):
		case overrides(e, extra, manager):
			undone = true
		default:
			kept = true
		}
	}
	return kept, undone
}
