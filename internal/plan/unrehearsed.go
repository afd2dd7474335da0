// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// decideUnrehearsed decides about an object of which the server can't say what an apply would make of
// it, by what lives and who owns which of its fields. What can't be told that way is applied.
func decideUnrehearsed(f *Facts, s Step, policy Policy) Step {
	r := f.Rehearsals[s.ID]
	if !r.Created && s.Live.GetDeletionTimestamp() != nil {
		return beingDeleted(s)
	}
	if r.Created {
		s = creation(s)
	} else {
		s.CleanUp = overridden(s.Live, f.Owner.Manager, policy.Overrides) && !merges(s.Want.Object)
		if !s.CleanUp && hasApplied(s.Want.Object, s.Live, f.Owner.Manager) {
			s.Action, s.Now = Unchanged, Fingerprint(s.Live, f.Owner.Manager)
			return s
		}
		s.Action, s.Corrects = Configure, asBefore(s)
	}
	if s.Action != Skip {
		s.Unrehearsed, s.Reason = r.Webhook, Unrehearsable(r.Webhook)
	}
	return s
}

// Unrehearsable says why an object could not be rehearsed.
func Unrehearsable(webhook string) string {
	return fmt.Sprintf("can't be rehearsed: webhook %s doesn't support dry-run", webhook)
}

// hasApplied says whether what would be sent is exactly what the manager's applies own of what lives,
// names and values both: then an apply changes nothing. It knows no schema: where a value can be
// written in several ways, or a list's item is told by a default, it does not find them the same.
func hasApplied(want, live *unstructured.Unstructured, manager string) bool {
	set := appliedFields(live, manager)
	if set == nil {
		return false
	}
	same := true
	set.Leaves().Iterate(func(p fieldpath.Path) {
		sent, given := lookup(want.Object, p)
		stored, there := lookup(live.Object, p)
		same = same && given && there && equality.Semantic.DeepEqual(sent, stored)
	})
	return same && covers(set, withoutIdentity(want))
}

// withoutIdentity returns what an apply sends beside the identity of the object, which nobody owns.
func withoutIdentity(want *unstructured.Unstructured) map[string]any {
	out := want.DeepCopy().Object
	delete(out, "apiVersion")
	delete(out, "kind")
	unstructured.RemoveNestedField(out, "metadata", "name")
	unstructured.RemoveNestedField(out, "metadata", "namespace")
	return out
}

// covers says whether a set of fields has all that a value has.
func covers(set *fieldpath.Set, v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			if !coversAt(set, fieldpath.PathElement{FieldName: &name}, child) {
				return false
			}
		}
	case []any:
		for _, item := range v {
			if e, found := elementOf(set, item); !found || !coversAt(set, e, item) {
				return false
			}
		}
	default:
		return set.Empty()
	}
	return true
}

func coversAt(set *fieldpath.Set, e fieldpath.PathElement, v any) bool {
	if sub, has := set.Children.Get(e); has {
		return covers(sub, v)
	}
	return set.Members.Has(e)
}

// elementOf finds how a set tells a list's item from the others.
func elementOf(set *fieldpath.Set, item any) (out fieldpath.PathElement, found bool) {
	look := func(e fieldpath.PathElement) {
		if e.FieldName == nil && e.Index == nil && matches(item, e) {
			out, found = e, true
		}
	}
	set.Members.Iterate(look)
	set.Children.Iterate(look)
	return out, found
}

// estimate returns what an object will be like, as far as that can be told without the server: what
// lives, without what the owner no longer wants, and with what it wants.
func (s Step) estimate(owner Owner, overrides []string) *unstructured.Unstructured {
	out := s.Live.DeepCopy()
	if s.CleanUp {
		out = withoutOverrides(out, owner, overrides)
	}
	kept := fieldpath.NewSet()
	for _, e := range s.Live.GetManagedFields() {
		if !isApplied(e, owner.Manager) {
			kept = kept.Union(fieldsOf(e))
		}
	}
	if own := appliedFields(s.Live, owner.Manager); own != nil {
		own.Leaves().Iterate(func(p fieldpath.Path) {
			if _, wanted := lookup(s.Want.Object.Object, p); !wanted && !isKey(p) && !kept.Has(p) {
				removeField(out.Object, p.Copy(), kept)
			}
		})
	}
	out.Object = merged(out.Object, s.Want.Object.Object)
	return out
}

// merged lays one value over another: fields over fields, items of a list over those of the same
// name, and anything else in place of what was there.
func merged(below, above map[string]any) map[string]any {
	for name, v := range above {
		below[name] = laidOver(below[name], v)
	}
	return below
}

func laidOver(below, above any) any {
	x, belowMap := below.(map[string]any)
	y, aboveMap := above.(map[string]any)
	if belowMap && aboveMap {
		return merged(x, y)
	}
	l, belowList := below.([]any)
	m, aboveList := above.([]any)
	if !belowList || !aboveList || !named(l) || !named(m) {
		return runtime.DeepCopyJSONValue(above)
	}
	items, order := itemsByKey(l)
	over, added := itemsByKey(m)
	for _, k := range added {
		if _, both := items[k]; !both {
			order = append(order, k)
		}
		items[k] = laidOver(items[k], over[k])
	}
	out := make([]any, 0, len(order))
	for _, k := range order {
		out = append(out, items[k])
	}
	return out
}

// named says whether each item of a list has a name.
func named(list []any) bool {
	return !slices.ContainsFunc(list, func(item any) bool {
		m, _ := item.(map[string]any)
		_, ok := m["name"].(string)
		return !ok
	})
}
