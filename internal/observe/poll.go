// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kustomizer/kustomizer/internal/cluster"
)

// poll reads what no watch shows: objects of kinds that can't be watched, and those that a list
// leaves open whether they are gone or only lack the label.
func (w *waiter) poll(ctx context.Context) {
	for ctx.Err() == nil {
		w.pollDue(ctx)
		_ = pauseOr(ctx, w.pace.read/4, w.table.wake) // the loop looks at the context
	}
}

// pollDue reads the objects that were not read for a while.
func (w *waiter) pollDue(ctx context.Context) {
	var reads errgroup.Group
	reads.SetLimit(requestsAtOnce)
	for _, target := range w.table.dueReads(time.Now(), w.pace.read) {
		reads.Go(func() error {
			w.read(ctx, target)
			return nil
		})
	}
	_ = reads.Wait() // the goroutines return no error
}

func (w *waiter) read(ctx context.Context, target Target) {
	ctx, cancel := context.WithTimeout(ctx, w.pace.request)
	defer cancel()
	u, err := w.cluster.Get(ctx, target.ID, target.Version)
	var unserved *cluster.KindError
	switch {
	case err == nil:
		w.table.see(u, true)
	case provesAbsence(err), errors.As(err, &unserved) && target.Absent:
		w.table.missing(target.ID)
	case apierrors.IsNotFound(err):
		w.cluster.Forget() // the kind went away: the next read tells
	default:
		w.table.unreadable(target.ID, cluster.CauseOf(err))
	}
}

// provesAbsence says whether an error is the API's statement that an object does not exist, rather
// than a 404 from whatever else may answer under that path.
func provesAbsence(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	if details == nil || details.Name == "" {
		return false
	}
	for _, c := range details.Causes {
		if c.Type == metav1.CauseTypeUnexpectedServerResponse {
			return false
		}
	}
	return true
}
