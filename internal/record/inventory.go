// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// What makes a ConfigMap an inventory of the command line. All of it is Kustomizer's format, and
// can't change.
const (
	inventoryPrefix     = "inv-"
	labelName           = "app.kubernetes.io/name"
	labelComponent      = "app.kubernetes.io/component"
	labelCreatedBy      = "app.kubernetes.io/created-by"
	componentInventory  = "inventory"
	annotationApplied   = "last-applied-time"
	annotationSource    = "source"
	annotationRevision  = "revision"
	dataResources       = "resources"
	dataArtifacts       = "artifacts"
	annotationCut       = "kustomizer.dev/inventory-cut" // ours: what does not fit
	maxProjectionBytes  = 1_000_000                      // a ConfigMap holds 1 MiB
	maxProjectedEntries = 100_000                        // more than one ConfigMap can hold
)

// Projection is an inventory in Kustomizer's format: what the record says, in a form that
// Kustomizer reads. The record is the truth; where there is none, because Kustomizer made the
// inventory, the projection is what there is to start from.
type Projection struct {
	Owner       plan.Owner
	Source      string
	Revision    string
	Artifacts   []string  // repository@digest
	LastApplied time.Time // zero where that is not known
	Entries     []plan.Entry
	Cut         string // why not all entries are in it, or nothing
}

// NotInventoryError says that a ConfigMap has the name of an inventory and is none.
type NotInventoryError struct {
	ID     object.ID
	Reason string
}

// Error implements error.
func (e *NotInventoryError) Error() string {
	return fmt.Sprintf("%s has an inventory's name, and is none: %s", e.ID, e.Reason)
}

// inventoryEntry is an entry of data.resources.
type inventoryEntry struct {
	ID      string `json:"id"`
	Version string `json:"ver"`
}

func projectionID(owner plan.Owner) object.ID {
	return object.ID{Kind: "ConfigMap", Namespace: owner.Namespace, Name: inventoryPrefix + owner.Name}
}

// Write stores the projection with the given entries. Where they don't fit, it is cut and says so.
func (p Projection) Write(ctx context.Context, c *cluster.Cluster, entries map[object.ID]plan.Entry) error {
	cm, err := p.encode(entries)
	if err != nil {
		return fmt.Errorf("writing the inventory %s: %w", p.Owner.Name, err)
	}
	if _, err := c.Apply(ctx, cm, cluster.ApplyOptions{Manager: p.Owner.Manager}); err != nil {
		return fmt.Errorf("writing the inventory %s: %w", p.Owner.Name, err)
	}
	return nil
}

func (p Projection) encode(entries map[object.ID]plan.Entry) (*unstructured.Unstructured, error) {
	var ids []object.ID
	for id, e := range entries {
		if !e.Claimed { // Kustomizer would delete whatever is listed
			ids = append(ids, id)
		}
	}
	object.SortIDs(ids)
	resources, listed, err := encodeEntries(ids, entries)
	if err != nil {
		return nil, err
	}
	artifacts, err := json.Marshal(append([]string{}, p.Artifacts...))
	if err != nil {
		return nil, err
	}
	annotations := map[string]any{
		p.Owner.LabelGroup + "/" + annotationApplied: p.LastApplied.UTC().Format(time.RFC3339),
	}
	if p.Source != "" {
		annotations[p.Owner.LabelGroup+"/"+annotationSource] = p.Source
	}
	if p.Revision != "" {
		annotations[p.Owner.LabelGroup+"/"+annotationRevision] = p.Revision
	}
	if listed < len(ids) {
		annotations[annotationCut] = fmt.Sprintf("%d of %d objects are listed: all are in the ConfigMaps %s%s-record-*", listed, len(ids), inventoryPrefix, p.Owner.Name)
	}
	id := projectionID(p.Owner)
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       id.Kind,
		"metadata": map[string]any{
			"name":      id.Name,
			"namespace": id.Namespace,
			"labels": map[string]any{
				labelName: p.Owner.Name, labelComponent: componentInventory, labelCreatedBy: p.Owner.Manager,
			},
			"annotations": annotations,
		},
		"data": map[string]any{dataResources: resources, dataArtifacts: string(artifacts)},
	}}, nil
}

// encodeEntries writes as many entries as fit, and says how many these are.
func encodeEntries(ids []object.ID, entries map[object.ID]plan.Entry) (string, int, error) {
	var b strings.Builder
	b.WriteByte('[')
	for i, id := range ids {
		row, err := json.Marshal(inventoryEntry{ID: id.InventoryID(), Version: entries[id].Version})
		if err != nil {
			return "", 0, err
		}
		if b.Len()+len(row)+2 > maxProjectionBytes {
			b.WriteByte(']')
			return b.String(), i, nil
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(row)
	}
	b.WriteByte(']')
	return b.String(), len(ids), nil
}

// LoadProjection reads an inventory in Kustomizer's format. The second result is false where there
// is none.
func LoadProjection(ctx context.Context, c *cluster.Cluster, owner plan.Owner) (Projection, bool, error) {
	id := projectionID(owner)
	cm, err := c.Get(ctx, id, "v1")
	if apierrors.IsNotFound(err) {
		return Projection{Owner: owner}, false, nil
	}
	if err != nil {
		return Projection{}, false, fmt.Errorf("reading the inventory %s: %w", owner.Name, err)
	}
	if cm.GetLabels()[labelComponent] != componentInventory {
		return Projection{}, false, &NotInventoryError{ID: id, Reason: "it lacks the label " + labelComponent + "=" + componentInventory}
	}
	p, err := parseProjection(cm, owner)
	return p, err == nil, err
}

func parseProjection(cm *unstructured.Unstructured, owner plan.Owner) (Projection, error) {
	notes := cm.GetAnnotations()
	p := Projection{
		Owner:    owner,
		Source:   notes[owner.LabelGroup+"/"+annotationSource],
		Revision: notes[owner.LabelGroup+"/"+annotationRevision],
		Cut:      notes[annotationCut],
	}
	if at, err := time.Parse(time.RFC3339, notes[owner.LabelGroup+"/"+annotationApplied]); err == nil {
		p.LastApplied = at
	}
	data, _, _ := unstructured.NestedStringMap(cm.Object, "data")
	damaged := func(err error) error { return &NotInventoryError{ID: object.Of(cm), Reason: err.Error()} }
	if text := data[dataArtifacts]; text != "" {
		if err := json.Unmarshal([]byte(text), &p.Artifacts); err != nil {
			return Projection{}, damaged(fmt.Errorf("its artifacts can't be read: %w", err))
		}
	}
	var rows []inventoryEntry
	if text := data[dataResources]; text != "" {
		if err := json.Unmarshal([]byte(text), &rows); err != nil {
			return Projection{}, damaged(fmt.Errorf("its resources can't be read: %w", err))
		}
	}
	for _, row := range rows[:min(len(rows), maxProjectedEntries)] {
		id, err := object.ParseInventoryID(row.ID)
		if err != nil {
			return Projection{}, damaged(err)
		}
		// The owner's labels and fields on the object have to confirm what was written here.
		p.Entries = append(p.Entries, plan.Entry{ID: id, Version: row.Version, Pending: true})
	}
	return p, nil
}

// DeleteProjection removes an inventory in Kustomizer's format. It says whether there was one.
func DeleteProjection(ctx context.Context, c *cluster.Cluster, owner plan.Owner) (bool, error) {
	id := projectionID(owner)
	for {
		cm, err := c.Get(ctx, id, "v1")
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err == nil {
			err = c.Delete(ctx, id, "v1", cluster.DeleteOptions{UID: cm.GetUID(), ResourceVersion: cm.GetResourceVersion()})
		}
		if apierrors.IsConflict(err) && ctx.Err() == nil {
			continue // it was written in between; that does not change what it is
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("deleting the inventory %s: %w", owner.Name, err)
		}
		return err == nil, nil
	}
}
