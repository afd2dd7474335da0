// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// maxInventory is how many entries a status can hold: an object of the API server is limited to
// about 1.5 MiB. The record has no such limit.
const maxInventory = 14000

// project writes status.inventory, which is what Flux and its tools read, from the record. It is
// written together with the record, before anything is applied.
func (r *kustomizations) project(ctx context.Context, l *look, entries map[object.ID]plan.Entry) error {
	l.ks.Status.Inventory = projection(entries)
	err := patchStatus(ctx, r.client, l.before, l.ks, kustomizationManager)
	l.before = l.ks.DeepCopy()
	return err
}

func projection(entries map[object.ID]plan.Entry) *kustomizev1.ResourceInventory {
	var ids []object.ID
	for id, e := range entries {
		if !e.Claimed { // Flux would delete whatever is listed
			ids = append(ids, id)
		}
	}
	object.SortIDs(ids)
	out := &kustomizev1.ResourceInventory{Entries: []kustomizev1.ResourceRef{}}
	for _, id := range ids[:min(len(ids), maxInventory)] {
		out.Entries = append(out.Entries, kustomizev1.ResourceRef{ID: id.InventoryID(), Version: entries[id].Version})
	}
	return out
}

// importInventory reads what Flux says it applied. It counts only where there is no record yet,
// and then the objects' owner labels have to confirm it.
func importInventory(ks *kustomizev1.Kustomization) []plan.Entry {
	if ks.Status.Inventory == nil {
		return nil
	}
	var out []plan.Entry
	for _, ref := range ks.Status.Inventory.Entries {
		id, err := object.ParseInventoryID(ref.ID)
		if err != nil {
			continue // what can't be read can't be ours to delete
		}
		out = append(out, plan.Entry{ID: id, Version: ref.Version, Pending: true})
	}
	return out
}
