// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
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

// ListInventories reads the inventories of a namespace, or with an empty one of all, by two lists.
// An inventory that can't be read does not hide the others: it is in the list without entries, and
// told of by the damage of its record.
func ListInventories(ctx context.Context, c *cluster.Cluster, namespace string) ([]Stored, error) {
	res, err := configMaps(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("listing inventories: %w", err)
	}
	found := map[plan.Owner]*Stored{}
	projections, _, err := c.List(ctx, res, cluster.Selection{
		Namespace:     namespace,
		LabelSelector: labelComponent + "=" + componentInventory + "," + labelCreatedBy + "=" + plan.InventoryManager,
	})
	if err != nil {
		return nil, fmt.Errorf("listing inventories: %w", err)
	}
	for _, cm := range projections {
		takeProjection(found, cm)
	}
	chunks, _, err := c.List(ctx, res, cluster.Selection{Namespace: namespace, LabelSelector: labelRecord})
	if err != nil {
		return nil, fmt.Errorf("listing inventories: %w", err)
	}
	takeRecords(found, chunks)
	out := make([]Stored, 0, len(found))
	for _, s := range found {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Stored) int { return strings.Compare(a.Owner.String(), b.Owner.String()) })
	return out, nil
}

func takeProjection(found map[plan.Owner]*Stored, cm *unstructured.Unstructured) {
	name, ok := strings.CutPrefix(cm.GetName(), inventoryPrefix)
	if !ok || name == "" {
		return
	}
	owner := plan.Inventory(cm.GetNamespace(), name)
	p, err := parseProjection(cm, owner)
	if err != nil {
		p = Projection{Owner: owner}
		found[owner] = &Stored{Projection: p, Record: &Record{Owner: owner, Damage: []string{err.Error()}}}
		return
	}
	found[owner] = &Stored{Projection: p}
}

// takeRecords puts the parts of records together.
func takeRecords(found map[plan.Owner]*Stored, chunks []*unstructured.Unstructured) {
	records := map[plan.Owner]*Record{}
	for _, cm := range chunks {
		owner, ok := inventoryOf(cm)
		if !ok {
			continue
		}
		r := records[owner]
		if r == nil {
			r = &Record{Owner: owner, Namespace: owner.Namespace, Entries: map[object.ID]plan.Entry{}}
			records[owner] = r
		}
		if err := r.read(cm); err != nil {
			r.Damage = append(r.Damage, err.Error())
		}
	}
	for owner, r := range records {
		r.findGaps()
		s := found[owner]
		if s == nil {
			s = &Stored{Projection: Projection{Owner: owner}}
			found[owner] = s
		}
		s.takeRecord(r)
	}
}

// inventoryOf returns the inventory whose record a ConfigMap is a part of.
func inventoryOf(cm *unstructured.Unstructured) (plan.Owner, bool) {
	rest, ok := strings.CutPrefix(cm.GetAnnotations()[annotationOwner], plan.OwnerInventory+"/")
	namespace, name, named := strings.Cut(rest, "/")
	owner := plan.Inventory(namespace, name)
	return owner, ok && named && namespace == cm.GetNamespace() && cm.GetLabels()[labelRecord] == key(owner)
}

// takeRecord puts the record's entries in the place of the projection's.
func (s *Stored) takeRecord(r *Record) {
	s.Record, s.Entries = r, nil
	for _, id := range r.IDs() {
		s.Entries = append(s.Entries, r.Entries[id])
	}
}
