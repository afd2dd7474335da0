// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/object"
)

// Action is what is decided for one object.
type Action string

// The actions.
const (
	Create    Action = "create"
	Configure Action = "configure"
	Unchanged Action = "unchanged"
	Replace   Action = "replace" // delete, then create: a field can't be changed in place
	Delete    Action = "delete"
	Hold      Action = "hold" // would be deleted, but the brake is on
	Skip      Action = "skip" // left alone on purpose
	// Later: decided once an earlier stage is in the cluster, because the object's namespace or
	// kind comes with the same set.
	Later Action = "later"
	// Keep: stays in the record, and the object in the cluster, because prune is off, the object
	// opted out, or what is known does not suffice to delete it.
	Keep Action = "keep"
	// Forget: leaves the record, because it is proven that the object is gone or no longer ours.
	Forget Action = "forget"
	// Refuse: the set can't be applied because of this object.
	Refuse Action = "refuse"
	// Conflict: another owner's record proves that the object is its own; it is left to that owner.
	Conflict Action = "conflict"
)

// Step is the decision about one object.
type Step struct {
	ID     object.ID
	Action Action
	Reason string      // why, on one line, where the action does not speak for itself
	Cause  cause.Cause // for Refuse
	Want   *Want       // nil for objects that are not in the set
	Live   *unstructured.Unstructured
	Entry  Entry // as remembered; zero where it is not
	// Result is the object as the server said it would be stored, where it was asked.
	Result *unstructured.Unstructured
	// Spared: the server was not asked before, because nothing else of the set is in doubt. Only its
	// answer to the apply tells whether anything changed.
	Spared bool
	// Unrehearsed names the webhook because of which nobody knows what the apply will do, since it
	// doesn't support dry-runs. Such a step is made last in its stage, and alone.
	Unrehearsed string
	// Other is the owner that keeps an object of the set, or that claims one which left it; zero
	// where there is none.
	Other Owner
	// Corrects: what is wanted did not change, so this puts back what somebody else changed.
	Corrects bool
	// CleanUp: fields of overridden managers must be taken over before the apply. Of a refused
	// object: they may be why it is refused.
	CleanUp bool
	// Now is the fingerprint to remember for an object that is unchanged.
	Now string
}

// Version returns the API version to reach the object at.
func (s Step) Version() string {
	if s.Want != nil {
		return s.Want.Object.GroupVersionKind().Version
	}
	return s.Entry.Version
}

// Plan is what would be done to make a set of objects so, and why.
type Plan struct {
	Owner Owner
	Order object.Order
	Steps []Step // objects of the set, in apply order
	Stale []Step // objects that left the set, in the order of their deletion
	Brake *Brake // not nil: nothing of Stale is deleted until it is released
	// Spared names the objects of protected kinds that a [Teardown] leaves unless they are approved.
	Spared *Brake
}

// Refused returns the steps because of which nothing may be applied.
func (p *Plan) Refused() []Step { return p.filter(p.Steps, Refuse) }

// Conflicts returns the steps for objects that are another owner's.
func (p *Plan) Conflicts() []Step { return p.filter(p.Steps, Conflict) }

// Shared returns the steps for objects that another owner renders identically and keeps.
func (p *Plan) Shared() []Step {
	return slices.DeleteFunc(p.filter(p.Steps, Skip), func(s Step) bool { return s.Other == (Owner{}) })
}

// Released returns the steps for objects that left the set and that another owner claims.
func (p *Plan) Released() []Step {
	return slices.DeleteFunc(p.filter(p.Stale, Keep), func(s Step) bool { return s.Other == (Owner{}) })
}

// Deletions returns the steps that delete.
func (p *Plan) Deletions() []Step { return p.filter(p.Stale, Delete) }

func (p *Plan) filter(steps []Step, action Action) []Step {
	var out []Step
	for _, s := range steps {
		if s.Action == action {
			out = append(out, s)
		}
	}
	return out
}

// Writes says whether making the plan true sends any write for a managed object.
func (p *Plan) Writes() bool {
	writes := func(s Step) bool {
		return slices.Contains([]Action{Create, Configure, Replace, Delete, Later}, s.Action)
	}
	return slices.ContainsFunc(p.Steps, writes) || slices.ContainsFunc(p.Stale, writes)
}
