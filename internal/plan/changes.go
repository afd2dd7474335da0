// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// FieldChange is one field that would be another one.
type FieldChange struct {
	Path   string // such as .spec.containers[name=web].image
	Before any    // nil where it is not there
	After  any    // nil where it would go
	// Manager owns the field now, where somebody other than the owner of the set does.
	Manager string
}

// Manifest returns what a manifest can say of an object: all but its status and the metadata that
// the server keeps.
func Manifest(u *unstructured.Unstructured) *unstructured.Unstructured {
	if u == nil {
		return nil
	}
	out := u.DeepCopy()
	delete(out.Object, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(out.Object, "metadata", field)
	}
	return out
}

// Predicted returns the object as a step would leave it, as far as that is known before.
func (s Step) Predicted(owner Owner, overrides []string) *unstructured.Unstructured {
	switch {
	case s.Action == Delete, s.Action == Hold:
		return nil
	case s.Action == Unchanged:
		return s.Live
	case s.Unrehearsed != "" && s.Live != nil:
		return s.estimate(owner, overrides)
	case s.Result == nil && s.Want != nil:
		return s.Want.Object
	case s.CleanUp:
		return withoutOverrides(s.Result, owner, overrides)
	default:
		return s.Result
	}
}

// withoutOverrides removes the fields that only managers whose changes are undone have set. The
// answer to a dry-run still has them: they go only once their ownership is taken over.
func withoutOverrides(u *unstructured.Unstructured, owner Owner, overrides []string) *unstructured.Unstructured {
	undone, kept := fieldpath.NewSet(), fieldpath.NewSet()
	for _, e := range u.GetManagedFields() {
		set := fieldsOf(e)
		if !isApplied(e, owner.Manager) && undoes(e, owner.Manager, overrides) {
			rest, restart := splitRestart(set)
			undone, kept = undone.Union(rest), kept.Union(restart)
			continue
		}
		kept = kept.Union(set)
	}
	out := u.DeepCopy()
	var paths []fieldpath.Path
	undone.Difference(kept).Iterate(func(p fieldpath.Path) { paths = append(paths, p.Copy()) })
	// The shortest first: a list's item goes while it can still be told by its key.
	slices.SortStableFunc(paths, func(a, b fieldpath.Path) int { return len(a) - len(b) })
	for _, p := range paths {
		if !isKey(p) {
			removeField(out.Object, p, kept)
		}
	}
	return out
}

// isKey says whether a path ends at a field that tells a list's items apart.
func isKey(p fieldpath.Path) bool {
	last := p[len(p)-1]
	if last.FieldName == nil || len(p) < 2 || p[len(p)-2].Key == nil {
		return false
	}
	return slices.ContainsFunc(*p[len(p)-2].Key, func(f value.Field) bool { return f.Name == *last.FieldName })
}

// removeField removes what is at a path, unless others have something below it.
func removeField(root map[string]any, path fieldpath.Path, kept *fieldpath.Set) {
	sub := kept
	for _, e := range path {
		sub = sub.WithPrefix(e)
	}
	if !sub.Empty() {
		return
	}
	parent, last := path[:len(path)-1], path[len(path)-1]
	at, ok := lookup(root, parent)
	if !ok {
		return
	}
	if m, isMap := at.(map[string]any); isMap && last.FieldName != nil {
		delete(m, *last.FieldName)
		return
	}
	list, isList := at.([]any)
	if !isList || len(parent) == 0 || parent[len(parent)-1].FieldName == nil {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(list), func(item any) bool { return matches(item, last) })
	holder, ok := lookup(root, parent[:len(parent)-1])
	if m, isMap := holder.(map[string]any); ok && isMap {
		m[*parent[len(parent)-1].FieldName] = rest
	}
}

// FieldChanges lists the fields in which two states of an object differ, and who owns each in the
// first one.
func FieldChanges(before, after *unstructured.Unstructured, self string) []FieldChange {
	d := differ{}
	if before != nil {
		d.owners = fieldOwners(before, self)
	}
	d.compare("", contentOf(before), contentOf(after))
	return d.changes
}

func contentOf(u *unstructured.Unstructured) any {
	if u == nil {
		return nil
	}
	return Manifest(u).Object
}

// differ walks two values side by side.
type differ struct {
	owners  map[string]string
	changes []FieldChange
}

func (d *differ) compare(path string, a, b any) {
	x, aMap := a.(map[string]any)
	y, bMap := b.(map[string]any)
	if aMap && bMap {
		keys := maps.Clone(x)
		maps.Copy(keys, y)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			d.compare(path+fieldName(k), x[k], y[k])
		}
		return
	}
	l, aList := a.([]any)
	m, bList := b.([]any)
	if aList && bList {
		d.compareLists(path, l, m)
		return
	}
	if !equality.Semantic.DeepEqual(a, b) {
		d.changes = append(d.changes, FieldChange{Path: path, Before: a, After: b, Manager: d.ownerOf(path)})
	}
}

func (d *differ) compareLists(path string, a, b []any) {
	x, xOrder := itemsByKey(a)
	y, yOrder := itemsByKey(b)
	for _, k := range xOrder {
		d.compare(path+k, x[k], y[k])
	}
	for _, k := range yOrder {
		if _, both := x[k]; !both {
			d.compare(path+k, nil, y[k])
		}
	}
}

// ownerOf returns who owns a field, or the nearest that holds it.
func (d *differ) ownerOf(path string) string {
	for p, owner := range d.owners {
		if p == path || strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") {
			return owner
		}
	}
	return ""
}

// fieldName writes a field as it is written in a path.
func fieldName(k string) string {
	if strings.ContainsAny(k, ".[]/") {
		return "[" + strconv.Quote(k) + "]"
	}
	return "." + k
}

// itemsByKey gives each item of a list its name in a path: by its own name where all have one of
// their own, else by its place.
func itemsByKey(list []any) (map[string]any, []string) {
	out := make(map[string]any, len(list))
	var order []string
	for _, item := range list {
		m, _ := item.(map[string]any)
		name, ok := m["name"].(string)
		key := itemName(name)
		if _, twice := out[key]; !ok || twice {
			return itemsByPlace(list)
		}
		out[key] = item
		order = append(order, key)
	}
	return out, order
}

func itemsByPlace(list []any) (map[string]any, []string) {
	out := make(map[string]any, len(list))
	var order []string
	for i, item := range list {
		key := fmt.Sprintf("[%d]", i)
		out[key] = item
		order = append(order, key)
	}
	return out, order
}

func itemName(name string) string { return "[name=" + name + "]" }

// fieldOwners names, for each field that somebody else than the owner of the set owns, who that is.
func fieldOwners(u *unstructured.Unstructured, self string) map[string]string {
	out := map[string]string{}
	for _, e := range u.GetManagedFields() {
		if e.Manager == self && e.Operation == metav1.ManagedFieldsOperationApply || e.Subresource == "status" {
			continue
		}
		fieldsOf(e).Leaves().Iterate(func(p fieldpath.Path) {
			if path, ok := shown(u.Object, p); ok {
				out[path] = e.Manager
			}
		})
	}
	return out
}

// shown writes a path of managed fields as [FieldChanges] does.
func shown(root any, path fieldpath.Path) (string, bool) {
	var b strings.Builder
	at := root
	for _, e := range path {
		next, ok := step(at, e)
		if !ok {
			return "", false
		}
		if e.FieldName != nil {
			b.WriteString(fieldName(*e.FieldName))
		} else if list, isList := at.([]any); isList {
			items, order := itemsByKey(list)
			for _, k := range order {
				if equality.Semantic.DeepEqual(items[k], next) {
					b.WriteString(k)
					break
				}
			}
		}
		at = next
	}
	return b.String(), true
}
