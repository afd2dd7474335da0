// SPDX-License-Identifier: Apache-2.0

package rehearse

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// run is one rehearsal under way.
type run struct {
	cluster *cluster.Cluster
	req     Request
	facts   *plan.Facts
	scaled  map[object.ID]bool // workloads that an autoscaler of the set scales
	proven  map[object.ID]bool // objects that are known to be as wanted
	late    bool               // earlier stages are in the cluster: nothing is deferred any more

	mu sync.Mutex // guards facts.Live, facts.Rehearsals and proven while requests are under way
}

func (r *run) setLive(id object.ID, live plan.Live) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts.Live[id] = live
}

func (r *run) live(id object.ID) plan.Live {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.facts.Live[id]
}

// readLive reads everything on record: one list a kind, then a read for each object that the list
// did not show, since it may be gone or may have lost its label. An object is read at the version
// at which it would be sent: in another one its fields would not be those that were applied.
func (r *run) readLive(ctx context.Context) error {
	versions := map[object.ID]string{}
	for _, want := range r.facts.Wants {
		versions[want.ID] = want.Object.GroupVersionKind().Version
	}
	byKind := map[schema.GroupVersionKind][]object.ID{}
	for id, entry := range r.req.Record {
		kind := id.GroupKind().WithVersion(cmp.Or(versions[id], entry.Version))
		byKind[kind] = append(byKind[kind], id)
	}
	kinds := slices.Collect(maps.Keys(byKind))
	err := r.cluster.Each(ctx, len(kinds), func(ctx context.Context, i int) error {
		return r.readKind(ctx, kinds[i], byKind[kinds[i]])
	})
	if err != nil {
		return err
	}
	return r.readMissing(ctx, byKind)
}

func (r *run) readKind(ctx context.Context, kind schema.GroupVersionKind, ids []object.ID) error {
	found, listed, err := r.list(ctx, kind, ids)
	if apierrors.IsNotFound(err) {
		// No list is ever not found: the kind is no longer served, or only now at this path.
		r.cluster.Forget()
		found, listed, err = r.list(ctx, kind, ids)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case apierrors.IsForbidden(err):
		return nil // each is read on its own: the account may be allowed to get
	case err != nil:
		r.setKind(ids, err)
	case listed:
		r.keep(found, ids)
	}
	return nil
}

// list lists the owner's objects of a kind. Kinds that can't be listed are not.
func (r *run) list(ctx context.Context, kind schema.GroupVersionKind, ids []object.ID) ([]*unstructured.Unstructured, bool, error) {
	res, err := r.cluster.Resolve(ctx, kind.GroupKind(), kind.Version)
	if err != nil || !res.Listable {
		return nil, false, err
	}
	found, _, err := r.cluster.List(ctx, res, cluster.Selection{
		Namespace: commonNamespace(ids), LabelSelector: r.req.Owner.Selector(),
	})
	return found, true, err
}

// setKind records what is known of objects whose kind can't be listed. A kind that a healthy
// server does not serve has no objects; anything else is unknown.
func (r *run) setKind(ids []object.ID, err error) {
	why := cluster.CauseOf(err)
	live := plan.Live{Cause: why}
	if why.Code == cause.KindMissing {
		live = plan.Live{Presence: plan.Absent}
	}
	for _, id := range ids {
		r.setLive(id, live)
	}
}

// commonNamespace returns the namespace that all objects share, or nothing, which means all.
func commonNamespace(ids []object.ID) string {
	for _, id := range ids {
		if id.Namespace != ids[0].Namespace {
			return ""
		}
	}
	return ids[0].Namespace
}

func (r *run) keep(found []*unstructured.Unstructured, ids []object.ID) {
	ours := make(map[object.ID]bool, len(ids))
	for _, id := range ids {
		ours[id] = true
	}
	for _, u := range found {
		if id := object.Of(u); ours[id] {
			r.setLive(id, plan.Live{Presence: plan.Present, Object: u})
		}
	}
}

func (r *run) readMissing(ctx context.Context, byKind map[schema.GroupVersionKind][]object.ID) error {
	versions := map[object.ID]string{}
	for kind, ids := range byKind {
		for _, id := range ids {
			if r.live(id) == (plan.Live{}) {
				versions[id] = kind.Version
			}
		}
	}
	missing := slices.Collect(maps.Keys(versions))
	return r.cluster.Each(ctx, len(missing), func(ctx context.Context, i int) error {
		return r.read(ctx, missing[i], versions[missing[i]])
	})
}

func (r *run) read(ctx context.Context, id object.ID, version string) error {
	u, err := r.cluster.Get(ctx, id, version)
	switch {
	case err == nil:
		r.setLive(id, plan.Live{Presence: plan.Present, Object: u})
	case apierrors.IsNotFound(err):
		r.setLive(id, plan.Live{Presence: plan.Absent})
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		r.setKind([]object.ID{id}, err)
	}
	return nil
}
