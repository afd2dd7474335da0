// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Prune deletes what the plan deletes of one phase, in its order: what depends on others before what it
// depends on. Each deletion names the uid and the resource version of the object that was judged. One
// that fails does not keep the others from being tried; a conflict means that the object changed since
// and has to be judged again.
func Prune(ctx context.Context, w *Writer, p *plan.Plan, phase object.Phase) Result {
	var out Result
	going := slices.DeleteFunc(p.Deletions(), func(s plan.Step) bool { return object.PhaseOf(s.ID) != phase })
	for _, batch := range batches(p.Order, going) {
		w.deleteBatch(ctx, batch, &out)
	}
	sortResult(&out)
	return out
}

// batches groups deletions that may go side by side: those of the same stage and wave.
func batches(order object.Order, steps []plan.Step) [][]plan.Step {
	type rank struct {
		stage object.Stage
		wave  int
	}
	rankOf := func(s plan.Step) rank { return rank{order.StageOf(s.ID), order.WaveOf(s.ID)} }
	sorted := slices.Clone(steps)
	slices.SortStableFunc(sorted, func(a, b plan.Step) int {
		x, y := rankOf(a), rankOf(b)
		if x.stage != y.stage {
			return int(y.stage) - int(x.stage)
		}
		return y.wave - x.wave
	})
	var out [][]plan.Step
	for i, s := range sorted {
		if i == 0 || rankOf(s) != rankOf(sorted[i-1]) {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], s)
	}
	return out
}

func (w *Writer) deleteBatch(ctx context.Context, steps []plan.Step, out *Result) {
	var mu sync.Mutex
	_ = w.Cluster.Each(ctx, len(steps), func(ctx context.Context, i int) error { // it reports through the result
		s := steps[i]
		opts := cluster.DeleteOptions{UID: s.Live.GetUID(), ResourceVersion: s.Live.GetResourceVersion()}
		err := w.Cluster.Delete(ctx, s.ID, s.Version(), opts)
		mu.Lock()
		defer mu.Unlock()
		if err != nil && !apierrors.IsNotFound(err) {
			out.Failures = append(out.Failures, failure(s, err))
			return nil
		}
		change := Change{ID: s.ID, Action: plan.Delete, Object: s.Live}
		out.Changes = append(out.Changes, change)
		w.done(change)
		return nil
	})
}
