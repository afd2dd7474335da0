// SPDX-License-Identifier: Apache-2.0

package rehearse

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// maxNamed bounds how many objects, other than the owner's, are named of what would go with another one.
const maxNamed = 20

// findStakes finds out what would go with the objects that would be deleted. It costs nothing where
// none would; else one list of volume claims, and what their kinds ask for.
func (r *run) findStakes(ctx context.Context) error {
	policy := r.req.Policy
	if policy.GuardOff || !policy.Prune {
		return nil
	}
	going := plan.Leaving(r.facts, policy)
	if len(going) == 0 {
		return nil
	}
	stakes := r.volumeOwners(ctx, going)
	for _, s := range going {
		if stakes[s.ID].Doubt == "" {
			if err := r.findContents(ctx, s, stakes[s.ID]); err != nil {
				stakes[s.ID].Doubt = artifact.Line(err.Error())
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.facts.Stakes[s.ID] = *stakes[s.ID]
	}
	return nil
}

func (r *run) findContents(ctx context.Context, s plan.Step, stake *plan.Stake) error {
	switch {
	case plan.IsNamespace(s.ID):
		return r.lookInto(ctx, s.ID.Name, stake)
	case plan.IsDefinition(s.ID):
		return r.lookForKind(ctx, plan.Defined(s.Live), stake)
	case plan.IsKustomization(s.ID) && r.req.Nested == nil:
		return errors.New("nobody knows what it applied")
	case plan.IsKustomization(s.ID):
		nested, err := r.req.Nested(ctx, s.Live)
		stake.Nested = nested
		return err
	}
	return nil
}

// volumeOwners finds the volume claims that objects own: by one list, or, for those who may not list
// all, by one in each of the objects' namespaces.
func (r *run) volumeOwners(ctx context.Context, going []plan.Step) map[object.ID]*plan.Stake {
	stakes, owners := map[object.ID]*plan.Stake{}, map[types.UID]object.ID{}
	ids := make([]object.ID, 0, len(going))
	for _, s := range going {
		stakes[s.ID] = &plan.Stake{Looked: true}
		owners[s.Live.GetUID()] = s.ID
		ids = append(ids, s.ID)
	}
	see := func(m *metav1.ObjectMeta) {
		for _, ref := range m.OwnerReferences {
			if id, ok := owners[ref.UID]; ok && len(stakes[id].Claims) < maxNamed {
				stakes[id].Claims = append(stakes[id].Claims, object.ID{Kind: "PersistentVolumeClaim", Namespace: m.Namespace, Name: m.Name})
			}
		}
	}
	err := r.lookThroughClaims(ctx, commonNamespace(ids), see)
	if !apierrors.IsForbidden(err) || commonNamespace(ids) != "" {
		doubtAll(stakes, ids, err)
		return stakes
	}
	byNamespace := map[string][]object.ID{}
	for _, id := range ids {
		byNamespace[id.Namespace] = append(byNamespace[id.Namespace], id)
	}
	for namespace, in := range byNamespace {
		if namespace != "" {
			err = r.lookThroughClaims(ctx, namespace, see)
		}
		doubtAll(stakes, in, err)
	}
	return stakes
}

func doubtAll(stakes map[object.ID]*plan.Stake, ids []object.ID, err error) {
	if err == nil {
		return
	}
	for _, id := range ids {
		stakes[id].Doubt = "which volumes it owns: " + artifact.Line(err.Error())
	}
}

func (r *run) lookThroughClaims(ctx context.Context, namespace string, see func(*metav1.ObjectMeta)) error {
	res, err := r.cluster.Resolve(ctx, schema.GroupKind{Kind: "PersistentVolumeClaim"}, "v1")
	var missing *cluster.KindError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.cluster.LookThrough(ctx, res, cluster.Selection{Namespace: namespace}, see)
}

// lookForKind finds the objects of a kind whose definition would go. Those that are already being
// deleted are not counted.
func (r *run) lookForKind(ctx context.Context, kind schema.GroupKind, stake *plan.Stake) error {
	res, err := r.cluster.Resolve(ctx, kind, "")
	if err != nil {
		return fmt.Errorf("what there is of its kind: %w", err)
	}
	found := r.contents(res)
	err = r.cluster.LookThrough(ctx, res, cluster.Selection{}, func(m *metav1.ObjectMeta) {
		if m.DeletionTimestamp == nil {
			found.add(m)
		}
	})
	found.into(stake)
	return err
}

// contents gathers what would go with an object: all that is on record, since the plan knows whether
// it goes anyway, and some of the rest.
type contents struct {
	res     cluster.Resource
	known   map[object.ID]plan.Entry
	ids     []object.ID
	foreign int
}

func (r *run) contents(res cluster.Resource) *contents {
	return &contents{res: res, known: r.req.Record}
}

func (c *contents) id(m *metav1.ObjectMeta) object.ID {
	return object.ID{Group: c.res.Group, Kind: c.res.Kind, Namespace: m.Namespace, Name: m.Name}
}

func (c *contents) add(m *metav1.ObjectMeta) {
	id := c.id(m)
	if _, known := c.known[id]; !known {
		if c.foreign++; c.foreign > maxNamed {
			return
		}
	}
	c.ids = append(c.ids, id)
}

func (c *contents) into(stake *plan.Stake) {
	stake.Holds = append(stake.Holds, c.ids...)
	stake.More = stake.More || c.foreign > maxNamed
}
