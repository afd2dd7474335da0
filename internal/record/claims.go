// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"errors"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Claims finds, among objects that carry owners' labels, those that the named owner's record
// proves to be its own. A record that can't be read proves nothing, so that everything with its
// owner's labels counts as claimed. Records of Kustomizations are looked for in the agent's
// namespace.
func Claims(ctx context.Context, c *cluster.Cluster, agentNamespace string, labelled map[object.ID]plan.Owner) (map[object.ID]plan.Owner, error) {
	records := map[plan.Owner]*Record{}
	out := map[object.ID]plan.Owner{}
	for id, owner := range labelled {
		r, known := records[owner]
		if !known {
			namespace := agentNamespace
			if owner.Kind == plan.OwnerInventory {
				namespace = owner.Namespace
			}
			var err error
			if r, err = loadForeign(ctx, c, owner, namespace); err != nil {
				return nil, err
			}
			records[owner] = r
		}
		e, ok := r.Entries[id]
		if ok && !e.Retained && !e.Unproven || !ok && r.Degraded() != "" {
			out[id] = owner
		}
	}
	return out, nil
}

// loadForeign reads another owner's record. One in a format that is not known here is damaged.
func loadForeign(ctx context.Context, c *cluster.Cluster, owner plan.Owner, namespace string) (*Record, error) {
	r, err := Load(ctx, c, owner, namespace)
	var format *FormatError
	if errors.As(err, &format) {
		return &Record{Owner: owner, Namespace: namespace, Exists: true, Damage: []string{format.Error()}}, nil
	}
	if err == nil && !r.Exists && owner.Kind == plan.OwnerInventory {
		err = r.loadProjected(ctx, c)
	}
	return r, err
}

// loadProjected takes the entries of an inventory that Kustomizer made.
func (r *Record) loadProjected(ctx context.Context, c *cluster.Cluster) error {
	p, _, err := LoadProjection(ctx, c, r.Owner)
	var none *NotInventoryError
	if errors.As(err, &none) {
		return nil
	}
	for _, e := range p.Entries {
		r.Entries[e.ID] = e
	}
	return err
}
