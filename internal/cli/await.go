// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/report"
)

// rewatchDelay is how long to wait before a watch that the server closed is opened again.
const rewatchDelay = time.Second

// awaitReady follows a resource by watching it until it is ready, has failed, or the time is up.
// With a request, the answer must be to that request: what the status said before doesn't count.
// On the way it shows the reason for which the resource is not ready, each time it changes.
func (a *app) awaitReady(ctx context.Context, c *cluster.Cluster, k kind, r resource, request string) (resource, error) {
	shown := ""
	for {
		done, err := settled(r, request)
		if done || err != nil {
			return r, err
		}
		if line := progressLine(r, request); line != "" && line != shown {
			a.ui.Wait("%s", line)
			shown = line
		}
		if r, err = nextState(ctx, c, k, r); err != nil {
			return r, lateOr(ctx, r, err)
		}
	}
}

// settled says whether a resource is ready, or the error for which it is not and won't be.
func settled(r resource, request string) (bool, error) {
	if request != "" && r.handled != request {
		return false, nil
	}
	ready := r.ready()
	if ready.ObservedGeneration != r.generation {
		return false, nil
	}
	switch {
	case ready.Status == metav1.ConditionTrue:
		return r.observed == r.generation && !r.holds(fluxmeta.ReconcilingCondition), nil
	case r.holds(fluxmeta.StalledCondition), ready.Status == metav1.ConditionFalse && !passing(ready):
		return false, &report.ConditionError{ID: r.id, Reason: ready.Reason, Message: ready.Message}
	default:
		return false, nil
	}
}

// passing says whether a reason for not being ready goes away by itself: something else is under
// way. Of a source without an artifact, both engines say that they will look again soon; a path that
// the artifact lacks has the same reason without these words.
func passing(ready metav1.Condition) bool {
	switch ready.Reason {
	case fluxmeta.ProgressingReason, fluxmeta.ProgressingWithRetryReason, fluxmeta.DependencyNotReadyReason,
		fluxmeta.HealthCheckCanceledReason:
		return true
	case fluxmeta.ArtifactFailedReason:
		return strings.Contains(ready.Message, "retrying in")
	default:
		return false
	}
}

// progressLine says what a resource that is waited for is doing, if it says so itself.
func progressLine(r resource, request string) string {
	ready := r.ready()
	if ready.Reason == "" || ready.ObservedGeneration != r.generation || request != "" && r.handled != request {
		return ""
	}
	return fmt.Sprintf("%s: %s", ready.Reason, report.OneLine(ready.Message))
}

// lateOr returns what is known of a resource whose time was up, or else the error.
func lateOr(ctx context.Context, r resource, err error) error {
	var limit *report.TimeoutError
	if !errors.As(context.Cause(ctx), &limit) {
		return err
	}
	late := &report.WaitError{ID: r.id, After: limit.After}
	if ready := r.ready(); ready.Reason != "" {
		late.Reason, late.Message = ready.Reason, ready.Message
	}
	return late
}

// nextState waits for the next state of a resource. On an error, it returns the resource as it was.
func nextState(ctx context.Context, c *cluster.Cluster, k kind, r resource) (resource, error) {
	u, err := nextObject(ctx, c, k, r.object)
	if err != nil {
		return r, err
	}
	if u == nil {
		return r, missing(k, r.id.Namespace, r.id.Name)
	}
	next, err := view(u)
	if err != nil {
		return r, err
	}
	return next, nil
}

// nextObject watches one object until it changes; nil means that it was deleted. A watch that ends
// is opened again after a read, for what happened in between.
func nextObject(ctx context.Context, c *cluster.Cluster, k kind, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for {
		next, deleted, err := firstChange(ctx, c, k, u)
		if next != nil || deleted || err != nil {
			return next, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(rewatchDelay):
		}
		now, err := c.Get(ctx, k.id(u.GetNamespace(), u.GetName()), k.Version)
		switch {
		case apierrors.IsNotFound(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("reading %s: %w", k.id(u.GetNamespace(), u.GetName()), err)
		case now.GetResourceVersion() != u.GetResourceVersion():
			return now, nil
		}
	}
}

// firstChange returns the object as the first event of a watch has it, or nothing where the watch
// ended without one.
func firstChange(ctx context.Context, c *cluster.Cluster, k kind, u *unstructured.Unstructured) (next *unstructured.Unstructured, deleted bool, err error) {
	res, err := c.Resolve(ctx, k.GroupKind(), k.Version)
	if err != nil {
		return nil, false, err
	}
	sel := cluster.Selection{Namespace: u.GetNamespace(), FieldSelector: "metadata.name=" + u.GetName()}
	w, err := c.Watch(ctx, res, sel, u.GetResourceVersion())
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("watching %s: %w", k.id(u.GetNamespace(), u.GetName()), err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case event, open := <-w.ResultChan():
			switch changed, ok := event.Object.(*unstructured.Unstructured); {
			case !open, !ok:
				return nil, false, nil
			case event.Type == watch.Deleted:
				return nil, true, nil
			case event.Type != watch.Bookmark:
				return changed, false, nil
			}
		}
	}
}
