// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Difference is one object that a plan would change. The values of Secrets are masked: where a value
// would be another one, so is its mask.
type Difference struct {
	ID     object.ID
	Action plan.Action
	Reason string
	Before *unstructured.Unstructured // nil for what would be created
	After  *unstructured.Unstructured // nil for what would be deleted
	Fields []plan.FieldChange         // of what is there and stays
}

// Differences lists what a plan would change, in the order in which it would. Overrides are those
// of the plan's policy.
func Differences(p *plan.Plan, overrides []string) []Difference {
	var out []Difference
	for _, s := range slices.Concat(p.Steps, p.Stale) {
		switch s.Action {
		case plan.Create, plan.Configure, plan.Replace, plan.Later, plan.Delete, plan.Hold, plan.Conflict:
			out = append(out, differenceOf(s, p.Owner, overrides))
		}
	}
	return out
}

func differenceOf(s plan.Step, owner plan.Owner, overrides []string) Difference {
	d := Difference{ID: s.ID, Action: s.Action, Reason: s.Reason}
	before, after := s.Live, s.Predicted(owner, overrides)
	if s.Action == plan.Conflict {
		after = before // it stays as it is
	}
	before, after = maskSecret(before, after)
	if before != nil && after != nil && s.Action != plan.Conflict {
		d.Fields = plan.FieldChanges(before, after, owner.Manager)
		if len(d.Fields) == 0 && d.Reason == "" {
			d.Reason = "only the ownership of its fields would change"
		}
	}
	d.Before, d.After = plan.Manifest(before), plan.Manifest(after)
	return d
}

// lastApplied is kubectl's copy of what it applied, values of Secrets among it.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// The masks of a Secret's values.
const (
	maskSame   = "***"
	maskBefore = "*** (before)"
	maskAfter  = "*** (after)"
)

// maskSecret takes the values out of two states of a Secret. Of anything else it returns them as they are.
func maskSecret(before, after *unstructured.Unstructured) (maskedBefore, maskedAfter *unstructured.Unstructured) {
	if !isSecret(before) && !isSecret(after) {
		return before, after
	}
	x, y := masked(before, after, maskBefore), masked(after, before, maskAfter)
	return x, y
}

func isSecret(u *unstructured.Unstructured) bool {
	return u != nil && object.Of(u).GroupKind() == (schema.GroupKind{Kind: "Secret"})
}

// masked returns a Secret without its values. What is another value in the other state gets the
// given mask.
func masked(u, other *unstructured.Unstructured, changed string) *unstructured.Unstructured {
	if u == nil {
		return nil
	}
	out := u.DeepCopy()
	for _, field := range []string{"data", "stringData"} {
		values, ok := u.Object[field].(map[string]any)
		if !ok {
			if u.Object[field] != nil {
				out.Object[field] = maskSame
			}
			continue
		}
		hidden := make(map[string]any, len(values))
		for k, v := range values {
			hidden[k] = maskSame
			if theirs, there := valuesOf(other, field)[k]; there && !equality.Semantic.DeepEqual(v, theirs) {
				hidden[k] = changed
			}
		}
		out.Object[field] = hidden
	}
	out.SetAnnotations(maskedTexts(u.GetAnnotations(), u, other))
	out.SetLabels(maskedTexts(u.GetLabels(), u, other))
	return out
}

func valuesOf(u *unstructured.Unstructured, field string) map[string]any {
	if u == nil {
		return nil
	}
	values, _ := u.Object[field].(map[string]any)
	return values
}

// maskedTexts takes the values of Secrets out of labels or annotations.
func maskedTexts(texts map[string]string, secrets ...*unstructured.Unstructured) map[string]string {
	out := maps.Clone(texts)
	delete(out, lastApplied)
	for k := range out {
		for _, secret := range secrets {
			out[k] = object.Mask(secret, out[k])
		}
	}
	return out
}
