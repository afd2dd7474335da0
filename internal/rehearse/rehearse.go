// SPDX-License-Identifier: Apache-2.0

// Package rehearse asks the API server what would happen. It reads what lives, has changed objects
// applied in dry-run, and returns facts for a plan. It never writes.
package rehearse

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// inFlight bounds how many requests one rehearsal has under way at a time.
const inFlight = 8

// Request says what is to be rehearsed.
type Request struct {
	Owner   plan.Owner
	Objects []*unstructured.Unstructured // the desired set, as rendered
	Record  map[object.ID]plan.Entry
	Policy  plan.Policy
	Origin  string // see [plan.Facts]
	Empty   string // see [plan.Facts]
	// Claims finds, among objects that carry other owners' labels, those whose owner has them on
	// record. May be nil where no other owner can exist.
	Claims func(ctx context.Context, labelled map[object.ID]plan.Owner) (map[object.ID]plan.Owner, error)
}

// Rehearse gathers the facts for a plan. Reading costs one list for each kind on record; what the
// record proves to be unchanged costs nothing more, what is doubtful one dry-run an object. Errors
// about single objects are facts; the returned error is one that makes the whole set unknowable.
func Rehearse(ctx context.Context, c *cluster.Cluster, req Request) (*plan.Facts, error) {
	r := newRun(c, req)
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if err := r.readLive(ctx); err != nil {
		return nil, err
	}
	definitions, rest := r.split()
	if err := r.dryRun(ctx, definitions); err != nil {
		return nil, err
	}
	if err := r.dryRun(ctx, rest); err != nil {
		return nil, err
	}
	if err := r.findClaims(ctx); err != nil {
		return nil, err
	}
	r.finish()
	return r.facts, nil
}

// Later rehearses objects that had to wait for an earlier stage. It adds to the facts.
func Later(ctx context.Context, c *cluster.Cluster, facts *plan.Facts, ids []object.ID, req Request) error {
	r := newRun(c, req)
	r.facts, r.late = facts, true
	var wants []*plan.Want
	for i := range facts.Wants {
		if slices.Contains(ids, facts.Wants[i].ID) {
			wants = append(wants, &facts.Wants[i])
			delete(facts.Rehearsals, facts.Wants[i].ID)
			delete(facts.Live, facts.Wants[i].ID)
		}
	}
	for _, want := range wants {
		if why, ok := r.resolve(ctx, want); !ok {
			r.setLive(want.ID, plan.Live{Cause: why})
		}
	}
	if err := r.dryRun(ctx, wants); err != nil {
		return err
	}
	if err := r.findClaims(ctx); err != nil {
		return err
	}
	r.finish()
	return nil
}

func newRun(c *cluster.Cluster, req Request) *run {
	return &run{
		cluster: c, req: req,
		facts: &plan.Facts{
			Owner: req.Owner, Record: req.Record, Origin: req.Origin, Empty: req.Empty,
			Live:       map[object.ID]plan.Live{},
			Rehearsals: map[object.ID]plan.Rehearsal{},
			Claims:     map[object.ID]plan.Owner{},
		},
	}
}

// prepare turns rendered objects into what would be sent: with owner labels, with a namespace
// exactly where the kind has one.
func (r *run) prepare(ctx context.Context) error {
	r.scaled = plan.Autoscaled(r.req.Objects)
	seen := map[object.ID]bool{}
	for _, rendered := range r.req.Objects {
		want := plan.Want{Object: labelled(rendered, r.req.Owner)}
		want.ID = object.Of(want.Object)
		why, ok := r.resolve(ctx, &want)
		if seen[want.ID] {
			return fmt.Errorf("the set holds %s twice", want.ID)
		}
		seen[want.ID] = true
		hash, err := plan.HashOf(want.Object)
		if err != nil {
			return err
		}
		want.Hash = hash
		r.facts.Wants = append(r.facts.Wants, want)
		if !ok {
			r.withoutKind(want.ID, why)
		}
	}
	return ctx.Err()
}

// withoutKind records that an object's kind can't be reached: it comes with the set, or the set
// can't be applied.
func (r *run) withoutKind(id object.ID, why cause.Cause) {
	if why.Code == cause.KindMissing && definesKind(r.req.Objects, id) {
		r.facts.Rehearsals[id] = plan.Rehearsal{Deferred: true}
		return
	}
	r.facts.Live[id] = plan.Live{Cause: why}
}

func labelled(u *unstructured.Unstructured, owner plan.Owner) *unstructured.Unstructured {
	out := u.DeepCopy()
	labels := out.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, owner.Labels())
	out.SetLabels(labels)
	return out
}

// resolve finds out how the object's kind is reached and corrects the object's namespace to it.
// Where the kind can't be reached it says why.
func (r *run) resolve(ctx context.Context, want *plan.Want) (cause.Cause, bool) {
	gvk := want.Object.GroupVersionKind()
	res, err := r.cluster.Resolve(ctx, gvk.GroupKind(), gvk.Version)
	if err != nil {
		return cluster.CauseOf(err), false
	}
	if res.Namespaced && want.Object.GetNamespace() == "" {
		return cause.Cause{
			Code:   cause.InvalidObject,
			Detail: "the kind lives in namespaces and the object names none: set metadata.namespace, or a target namespace",
		}, false
	}
	if !res.Namespaced && want.Object.GetNamespace() != "" {
		want.Object.SetNamespace("")
		want.ID.Namespace = ""
	}
	return cause.Cause{}, true
}

// definesKind says whether a CustomResourceDefinition of the set defines an object's kind.
func definesKind(objs []*unstructured.Unstructured, id object.ID) bool {
	return slices.ContainsFunc(objs, func(u *unstructured.Unstructured) bool {
		if u.GetKind() != "CustomResourceDefinition" {
			return false
		}
		group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
		return group == id.Group && kind == id.Kind
	})
}
