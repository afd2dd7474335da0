// SPDX-License-Identifier: Apache-2.0

// Package rehearse asks the API server what would happen. It reads what lives, has changed objects
// applied in dry-run, and returns facts for a plan. It never writes.
package rehearse

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Request says what is to be rehearsed.
type Request struct {
	Owner   plan.Owner
	Objects []*unstructured.Unstructured // the desired set, as rendered
	Record  map[object.ID]plan.Entry
	Policy  plan.Policy
	Origin  string // see [plan.Facts]
	Empty   string // see [plan.Facts]
	// Spare: a single object that is in doubt need not be rehearsed, because nobody is shown what
	// would become of it. See [plan.Sparable].
	Spare bool
	// Claims finds, among objects that carry other owners' labels, those whose owner has them on
	// record. May be nil where no other owner can exist.
	Claims func(ctx context.Context, labelled map[object.ID][]plan.Owner) (map[object.ID]plan.Owner, error)
	// Claimants finds, among objects that left the set, those that other owners have in theirs. Why
	// that is not known, where it is not, is the second result. May be nil as Claims may be.
	Claimants func(ctx context.Context, ids []object.ID) (map[object.ID]plan.Owner, string, error)
	// Nested finds what the deletion of a Kustomization would delete. May be nil where there can be none.
	Nested func(ctx context.Context, ks *unstructured.Unstructured) ([]plan.Nested, error)
	// RecordOf tells, by the metadata of a ConfigMap, of whose record it is a part, if of any.
	RecordOf func(m *metav1.ObjectMeta) (plan.Owner, bool)
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
	if _, err := r.findAutoscalers(ctx); err != nil {
		return nil, err
	}
	if err := r.spare(ctx); err != nil {
		return nil, err
	}
	definitions, rest := r.split()
	if err := r.dryRun(ctx, definitions); err != nil {
		return nil, err
	}
	if err := r.dryRun(ctx, rest); err != nil {
		return nil, err
	}
	if err := r.dryRunScaled(ctx); err != nil {
		return nil, err
	}
	if err := r.findClaims(ctx); err != nil {
		return nil, err
	}
	if err := r.findClaimants(ctx); err != nil {
		return nil, err
	}
	if err := r.findStakes(ctx); err != nil {
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
	kinds := c.ResolveAll(ctx, kindsOf(wants))
	for _, want := range wants {
		if err := kinds[want.Object.GroupVersionKind()].Err; err != nil {
			why := cluster.CauseOf(err)
			facts.Rehearsals[want.ID] = plan.Rehearsal{Failed: &why}
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
		cluster: c, req: req, scaled: plan.Autoscaled(req.Objects), proven: map[object.ID]bool{},
		facts: &plan.Facts{
			Owner: req.Owner, Record: req.Record, Origin: req.Origin, Empty: req.Empty,
			Live:       map[object.ID]plan.Live{},
			Rehearsals: map[object.ID]plan.Rehearsal{},
			Claims:     map[object.ID]plan.Owner{},
			Stakes:     map[object.ID]plan.Stake{},
		},
	}
}
