// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Stored is an inventory as it lies in the cluster: a record, a projection, or both.
type Stored struct {
	Projection
	Record *Record // nil where Kustomizer made the inventory
}

// LoadInventory reads one inventory. The second result is false where there is none.
func LoadInventory(ctx context.Context, c *cluster.Cluster, owner plan.Owner) (Stored, bool, error) {
	projection, found, err := LoadProjection(ctx, c, owner)
	if err != nil {
		return Stored{}, false, err
	}
	r, err := Load(ctx, c, owner, owner.Namespace)
	if err != nil {
		return Stored{}, false, err
	}
	s := Stored{Projection: projection}
	if r.Exists {
		s.takeRecord(r)
	}
	return s, found || r.Exists, nil
}

// ListInventories reads the inventories of a namespace, or with an empty one of all, by two lists:
// those that are made with the label group and the field manager of the given owner.
// An inventory that can't be read does not hide the others: it is in the list without entries, and
// told of by the damage of its record.
func ListInventories(ctx context.Context, c *cluster.Cluster, namespace string, like plan.Owner) ([]Stored, error) {
	res, err := configMaps(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("listing inventories: %w", err)
	}
	found := map[plan.Owner]*Stored{}
	projections, _, err := c.List(ctx, res, cluster.Selection{
		Namespace:     namespace,
		LabelSelector: labelComponent + "=" + componentInventory + "," + labelCreatedBy + "=" + like.Manager,
	})
	if err != nil {
		return nil, fmt.Errorf("listing inventories: %w", err)
	}
	for _, cm := range projections {
		takeProjection(found, cm, like)
	}
	chunks, _, err := c.List(ctx, res, cluster.Selection{Namespace: namespace, LabelSelector: labelRecord})
	if err != nil {
		return nil, fmt.Errorf("listing inventories: %w", err)
	}
	takeRecords(found, chunks, like)
	out := make([]Stored, 0, len(found))
	for _, s := range found {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Stored) int { return strings.Compare(a.Owner.String(), b.Owner.String()) })
	return out, nil
}

func takeProjection(found map[plan.Owner]*Stored, cm *unstructured.Unstructured, like plan.Owner) {
	name, ok := strings.CutPrefix(cm.GetName(), inventoryPrefix)
	if !ok || name == "" {
		return
	}
	owner := like
	owner.Namespace, owner.Name = cm.GetNamespace(), name
	p, err := parseProjection(cm, owner)
	if err != nil {
		p = Projection{Owner: owner}
		found[owner] = &Stored{Projection: p, Record: &Record{Owner: owner, Damage: []string{err.Error()}}}
		return
	}
	found[owner] = &Stored{Projection: p}
}

// takeRecords puts the parts of records together.
func takeRecords(found map[plan.Owner]*Stored, chunks []*unstructured.Unstructured, like plan.Owner) {
	parts := map[plan.Owner][]*unstructured.Unstructured{}
	for _, cm := range chunks {
		owner, ok := ownerOfRecord(cm)
		if ok && owner.Kind == plan.OwnerInventory && owner.Namespace == cm.GetNamespace() {
			owner.LabelGroup, owner.Manager = like.LabelGroup, like.Manager
			parts[owner] = append(parts[owner], cm)
		}
	}
	for owner, cms := range parts {
		r := assemble(owner, cms)
		if !r.Exists {
			continue
		}
		s := found[owner]
		if s == nil {
			s = &Stored{Projection: Projection{Owner: owner}}
			found[owner] = s
		}
		s.takeRecord(r)
	}
}

// takeRecord puts the record's entries in the place of the projection's. What only the projection has,
// because Kustomizer added it later, stays.
func (s *Stored) takeRecord(r *Record) {
	projected := s.Entries
	s.Record, s.Entries = r, nil
	for _, id := range r.IDs() {
		s.Entries = append(s.Entries, r.Entries[id])
	}
	for _, e := range projected {
		if _, known := r.Entries[e.ID]; !known {
			s.Entries = append(s.Entries, e)
		}
	}
}
