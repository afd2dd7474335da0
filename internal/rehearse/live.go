// SPDX-License-Identifier: Apache-2.0

package rehearse

import (
	"context"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"golang.org/x/sync/errgroup"

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
	late    bool               // earlier stages are in the cluster: nothing is deferred any more

	mu sync.Mutex // guards facts.Live and facts.Rehearsals while requests are under way
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
// did not show, since it may be gone or may have lost its label.
func (r *run) readLive(ctx context.Context) error {
	byKind := map[schema.GroupKind][]object.ID{}
	for id := range r.req.Record {
		byKind[id.GroupKind()] = append(byKind[id.GroupKind()], id)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	for kind, ids := range byKind {
		group.Go(func() error { return r.readKind(ctx, kind, ids) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return r.readMissing(ctx)
}

func (r *run) readKind(ctx context.Context, kind schema.GroupKind, ids []object.ID) error {
	res, err := r.cluster.Resolve(ctx, kind, r.req.Record[ids[0]].Version)
	if err == nil && !res.Listable {
		return nil // each is read on its own
	}
	if err == nil {
		var found []*unstructured.Unstructured
		found, _, err = r.cluster.List(ctx, res, cluster.Selection{
			Namespace: commonNamespace(ids), LabelSelector: r.req.Owner.Selector(),
		})
		if err == nil {
			r.keep(found, ids)
			return nil
		}
		if apierrors.IsForbidden(err) {
			return nil // each is read on its own: the account may be allowed to get
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.setKind(ids, err)
	return nil
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
	for _, u := range found {
		if id := object.Of(u); slices.Contains(ids, id) {
			r.setLive(id, plan.Live{Presence: plan.Present, Object: u})
		}
	}
}

func (r *run) readMissing(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	for id, entry := range r.req.Record {
		if r.live(id) == (plan.Live{}) {
			group.Go(func() error { return r.read(ctx, id, entry.Version) })
		}
	}
	return group.Wait()
}

func (r *run) read(ctx context.Context, id object.ID, version string) error {
	u, err := r.cluster.Get(ctx, id, version)
	switch {
	case err == nil:
		r.setLive(id, plan.Live{Presence: plan.Present, Object: u})
	case apierrors.IsNotFound(err):
		r.setLive(id, plan.Live{Presence: plan.Absent})
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		r.setKind([]object.ID{id}, err)
	}
	return nil
}
