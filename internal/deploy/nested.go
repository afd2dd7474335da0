// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

// maxNested bounds how many Kustomizations are looked at that go with one.
const maxNested = 200

// nested finds what the deletion of a Kustomization would delete: what it, and the Kustomizations that
// it applied in turn, have on record and would take with them by their deletion policies.
func (e *Engine) nested(ctx context.Context, ks *unstructured.Unstructured) ([]plan.Nested, error) {
	var out []plan.Nested
	seen := map[object.ID]bool{}
	for queue := []*unstructured.Unstructured{ks}; len(queue) > 0; queue = queue[1:] {
		id := object.Of(queue[0])
		takes, all := deletes(queue[0])
		if seen[id] || !takes {
			continue
		}
		if seen[id] = true; len(seen) > maxNested {
			return nil, fmt.Errorf("it applied more than %d Kustomizations", maxNested)
		}
		n := plan.Nested{Owner: plan.Kustomization(id.Namespace, id.Name), All: all}
		var err error
		if n.Entries, err = e.applied(ctx, n.Owner, queue[0]); err != nil {
			return nil, err
		}
		out = append(out, n)
		for _, entry := range n.Entries {
			if !plan.IsKustomization(entry.ID) {
				continue
			}
			child, err := e.Cluster.Get(ctx, entry.ID, entry.Version)
			if err != nil && !apierrors.IsNotFound(err) {
				return nil, fmt.Errorf("reading %s: %w", entry.ID, err)
			}
			if err == nil {
				queue = append(queue, child)
			}
		}
	}
	return out, nil
}

// applied reads what a Kustomization has applied: its record, or, where it has none yet, what Flux
// says in its status.
func (e *Engine) applied(ctx context.Context, owner plan.Owner, ks *unstructured.Unstructured) ([]plan.Entry, error) {
	r, err := record.Load(ctx, e.Cluster, owner, e.AgentNamespace)
	if err != nil {
		return nil, err
	}
	if damage := r.Degraded(); damage != "" {
		return nil, fmt.Errorf("the record of %s is damaged: %s", owner, damage)
	}
	var out []plan.Entry
	if r.Exists {
		for _, id := range r.IDs() {
			out = append(out, r.Entries[id])
		}
		return out, nil
	}
	refs, _, err := unstructured.NestedSlice(ks.Object, "status", "inventory", "entries")
	if err != nil {
		return nil, fmt.Errorf("reading the inventory of %s: %w", owner, err)
	}
	for _, ref := range refs {
		fields, _ := ref.(map[string]any)
		text, _ := fields["id"].(string)
		version, _ := fields["v"].(string)
		id, err := object.ParseInventoryID(text)
		if err != nil {
			return nil, fmt.Errorf("reading the inventory of %s: %w", owner, err)
		}
		out = append(out, plan.Entry{ID: id, Version: version, Pending: true})
	}
	return out, nil
}

// deletes says whether a Kustomization's deletion deletes what it applied, and whether protected kinds
// too.
func deletes(ks *unstructured.Unstructured) (takes, all bool) {
	policy, _, _ := unstructured.NestedString(ks.Object, "spec", "deletionPolicy")
	prune, _, _ := unstructured.NestedBool(ks.Object, "spec", "prune")
	suspended, _, _ := unstructured.NestedBool(ks.Object, "spec", "suspend")
	switch {
	case suspended:
		return false, false
	case policy == "Delete", policy == "WaitForTermination":
		return true, true
	default:
		return policy != "Orphan" && prune, false
	}
}
