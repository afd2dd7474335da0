// SPDX-License-Identifier: Apache-2.0

package rehearse

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// findAutoscalers looks for autoscalers that are not in the set, for workloads whose replicas a
// controller has set: only there can one be at work. It costs one list, and nothing where nobody
// scales. It returns the wants that turned out to be autoscaled.
func (r *run) findAutoscalers(ctx context.Context) ([]*plan.Want, error) {
	var doubtful []*plan.Want
	var ids []object.ID
	for i := range r.facts.Wants {
		want := &r.facts.Wants[i]
		live := r.live(want.ID)
		if !r.scaled[want.ID] && live.Presence == plan.Present && plan.ScaledByController(live.Object, r.req.Policy.Overrides) {
			doubtful, ids = append(doubtful, want), append(ids, want.ID)
		}
	}
	if len(doubtful) == 0 {
		return nil, nil
	}
	scaled, known, err := r.autoscaled(ctx, commonNamespace(ids))
	if err != nil {
		return nil, err
	}
	var found []*plan.Want
	for _, want := range doubtful {
		// Where autoscalers can't be listed there may be one: not to fight it is the lesser evil.
		if !known || scaled[want.ID] {
			r.scaled[want.ID] = true
			found = append(found, want)
		}
	}
	return found, nil
}

// autoscaled lists what the autoscalers in a namespace scale, and says whether that is known.
func (r *run) autoscaled(ctx context.Context, namespace string) (map[object.ID]bool, bool, error) {
	res, err := r.cluster.Resolve(ctx, schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}, "v2")
	if err != nil {
		var missing *cluster.KindError
		return nil, errors.As(err, &missing), ctx.Err()
	}
	list, _, err := r.cluster.List(ctx, res, cluster.Selection{Namespace: namespace})
	if err != nil {
		return nil, false, ctx.Err()
	}
	return plan.Autoscaled(list), true, nil
}

// dryRunScaled asks once more about workloads that were found, only when they had been read, to be
// scaled by an autoscaler outside of the set.
func (r *run) dryRunScaled(ctx context.Context) error {
	found, err := r.findAutoscalers(ctx)
	if err != nil {
		return err
	}
	for _, want := range found {
		delete(r.facts.Rehearsals, want.ID)
	}
	return r.dryRun(ctx, found)
}
