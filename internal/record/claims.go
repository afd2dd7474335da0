// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Lives says whether an owner is there: what one that is gone has on record, or has labelled, is
// nobody's.
type Lives func(ctx context.Context, owner plan.Owner) (bool, error)

// Claims finds, among objects that carry owners' labels, those that a named owner's record proves
// to be its own. A record that can't be read proves nothing, so that everything with its owner's
// labels counts as claimed; and so does everything of an owner that lives and has no record yet.
// Records of Kustomizations are looked for in the agent's namespace.
func Claims(ctx context.Context, c *cluster.Cluster, agentNamespace string, labelled map[object.ID][]plan.Owner, lives Lives) (map[object.ID]plan.Owner, error) {
	l := ledger{cluster: c, agentNamespace: agentNamespace, lives: lives, known: map[plan.Owner]*Record{}, alive: map[plan.Owner]bool{}}
	out := map[object.ID]plan.Owner{}
	for id, owners := range labelled {
		for _, owner := range owners {
			claims, err := l.claims(ctx, owner, id)
			if err != nil {
				return nil, err
			}
			if claims {
				out[id] = owner
				break
			}
		}
	}
	return out, nil
}

// ledger looks up other owners' records, each once.
type ledger struct {
	cluster        *cluster.Cluster
	agentNamespace string
	lives          Lives
	known          map[plan.Owner]*Record
	alive          map[plan.Owner]bool
}

func (l *ledger) claims(ctx context.Context, owner plan.Owner, id object.ID) (bool, error) {
	r, known := l.known[owner]
	if !known {
		var err error
		if r, err = l.load(ctx, owner); err != nil {
			return false, err
		}
		l.known[owner] = r
	}
	e, ok := r.Entries[id]
	unknown := r.Degraded() != "" || !r.Exists && owner.Kind == plan.OwnerKustomization
	if ok && !e.Ours() || !ok && !unknown {
		return false, nil
	}
	alive, known := l.alive[owner]
	if !known {
		var err error
		if alive, err = l.lives(ctx, owner); err != nil {
			return false, err
		}
		l.alive[owner] = alive
	}
	return alive, nil
}

// load reads another owner's record. One in a format that is not known here is damaged.
func (l *ledger) load(ctx context.Context, owner plan.Owner) (*Record, error) {
	namespace := l.agentNamespace
	if owner.Kind == plan.OwnerInventory {
		namespace = owner.Namespace
	}
	r, err := Load(ctx, l.cluster, owner, namespace)
	var format *FormatError
	if errors.As(err, &format) {
		return &Record{Owner: owner, Namespace: namespace, Exists: true, Damage: []string{format.Error()}}, nil
	}
	if err == nil && !r.Exists && owner.Kind == plan.OwnerInventory {
		err = r.loadProjected(ctx, l.cluster)
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

// All reads the records of all owners, by one list over all namespaces. Those of Kustomizations
// count only in the agent's namespace: elsewhere anybody may have written them. What of a record
// can't be read is left out: it is no claim.
func All(ctx context.Context, c *cluster.Cluster, agentNamespace string) (map[plan.Owner]*Record, error) {
	res, err := configMaps(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("listing all records: %w", err)
	}
	chunks, _, err := c.List(ctx, res, cluster.Selection{LabelSelector: labelRecord})
	if err != nil {
		return nil, fmt.Errorf("listing all records: %w", err)
	}
	parts := map[plan.Owner][]*unstructured.Unstructured{}
	for _, cm := range chunks {
		owner, ok := ownerOfRecord(cm)
		home := owner.Namespace
		if owner.Kind == plan.OwnerKustomization {
			home = agentNamespace
		}
		if ok && cm.GetNamespace() == home {
			parts[owner] = append(parts[owner], cm)
		}
	}
	out := make(map[plan.Owner]*Record, len(parts))
	for owner, cms := range parts {
		out[owner] = assemble(owner, cms)
	}
	return out, nil
}

// assemble puts the parts of a record together.
func assemble(owner plan.Owner, parts []*unstructured.Unstructured) *Record {
	r := &Record{Owner: owner, Namespace: parts[0].GetNamespace(), Entries: map[object.ID]plan.Entry{}}
	slices.SortFunc(parts, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, cm := range parts {
		if err := r.read(cm); err != nil {
			r.Damage = append(r.Damage, err.Error())
		}
	}
	if r.unfinished {
		r.disregard()
		return r
	}
	r.findGaps()
	return r
}

// ownerOfRecord returns the owner whose record a ConfigMap is a part of.
func ownerOfRecord(cm *unstructured.Unstructured) (plan.Owner, bool) {
	parts := strings.Split(cm.GetAnnotations()[annotationOwner], "/")
	if len(parts) != 3 {
		return plan.Owner{}, false
	}
	var owner plan.Owner
	switch parts[0] {
	case plan.OwnerInventory:
		owner = plan.Inventory(parts[1], parts[2])
	case plan.OwnerKustomization:
		owner = plan.Kustomization(parts[1], parts[2])
	}
	return owner, owner.Kind != "" && cm.GetLabels()[labelRecord] == key(owner)
}
