// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/render"
	"github.com/kustomizer/kustomizer/internal/secrets"
)

// artifactSource is the artifact that a Kustomization is to be made from.
type artifactSource struct {
	Key            types.NamespacedName
	Revision       string
	Digest         string // of the artifact's layer
	OriginRevision string // as the publisher claims
	Since          time.Time
}

// sourceError says why there is no artifact to work from.
type sourceError struct{ reason string }

func (e *sourceError) Error() string { return e.reason }

// source finds the artifact of a Kustomization's source.
func (r *kustomizations) source(ctx context.Context, l *look) (artifactSource, error) {
	key := sourceKey(l.ks)
	repo, _, err := readOCIRepository(ctx, r.client, key)
	switch {
	case apierrors.IsNotFound(err):
		return artifactSource{}, &sourceError{fmt.Sprintf("the source OCIRepository/%s does not exist", key)}
	case err != nil:
		return artifactSource{}, fmt.Errorf("reading the source OCIRepository/%s: %w", key, err)
	case repo.Status.Artifact == nil:
		return artifactSource{}, &sourceError{fmt.Sprintf("the source OCIRepository/%s has no artifact yet", key)}
	}
	a := repo.Status.Artifact
	return artifactSource{Key: key, Revision: a.Revision, Digest: a.Digest, OriginRevision: a.Metadata[originRevision], Since: a.LastUpdateTime.Time}, nil
}

const originRevision = "org.opencontainers.image.revision"

func (r *kustomizations) withoutSource(l *look, err error) time.Duration {
	r.handled(l)
	message := err.Error() + ", retrying in " + sourceRetry.String()
	l.conditions().failing(meta.ArtifactFailedReason, message)
	l.ks.Status.ObservedGeneration = l.ks.Generation
	return sourceRetry
}

// withoutObjects reports that an artifact could not be turned into objects. The cluster stays as
// it is: what can't be read is unknown, not empty.
func (r *kustomizations) withoutObjects(l *look, a *attempt, previous string, err error) time.Duration {
	var missing *contentsMissingError
	if errors.As(err, &missing) {
		// After a restart the verdict on what runs stays what it was.
		if previous != a.goal.revision || l.ks.Status.ObservedGeneration != l.ks.Generation {
			l.conditions().working("waiting for the artifact to be fetched: " + err.Error())
		}
		return sourceRetry
	}
	reason := meta.BuildFailedReason
	var path *render.PathError
	if errors.As(err, &path) {
		reason = meta.ArtifactFailedReason
	}
	return r.fail(l, a, reason, err)
}

// fail reports a failed attempt: the same failure is told once as an event.
func (r *kustomizations) fail(l *look, a *attempt, reason string, err error) time.Duration {
	r.handled(l)
	r.waiters.stop(l.key())
	message := err.Error()
	before := l.conditions().readiness()
	if a.warned != reason+message && (before.Reason != reason || before.Message != truncate(message)) {
		l.later(func() {
			a.warned = reason + message
			r.events.warn(l.ks, map[string]string{annotationRevision: a.goal.revision}, reason, message)
		})
	}
	a.ended = true
	l.conditions().failing(reason, message)
	l.ks.Status.ObservedGeneration = l.ks.Generation
	return r.jitter.of(retryInterval(l.ks))
}

// conclude turns an outcome into status, events and the time of the next look.
func (r *kustomizations) conclude(l *look, a *attempt, src artifactSource, out deploy.Outcome) time.Duration {
	if out.Entries != nil && out.State != deploy.Failed {
		l.ks.Status.Inventory = projection(out.Entries)
	}
	r.shared(l, out)
	if len(out.Awaits) > 0 {
		return r.await(l, src.Key, out.Awaits)
	}
	switch out.State {
	case deploy.Waiting:
		return r.wait(l, a, out)
	case deploy.Held:
		return r.held(l, a, src, out)
	case deploy.Sick:
		l.conditions().set(meta.HealthyCondition, metav1.ConditionFalse, meta.HealthCheckFailedReason, out.Err.Error())
		return r.fail(l, a, meta.HealthCheckFailedReason, out.Err)
	case deploy.Failed:
		return r.fail(l, a, failureReason(out.Err), out.Err)
	}
	return r.done(l, a, src)
}

func failureReason(err error) string {
	var prune *deploy.PruneError
	var owned *deploy.ConflictError
	var sealed *secrets.EncryptedError
	switch {
	case errors.As(err, &prune):
		return meta.PruneFailedReason
	case errors.As(err, &owned):
		return reasonOwnership
	case errors.As(err, &sealed):
		return meta.BuildFailedReason
	default:
		return meta.ReconciliationFailedReason
	}
}

// wait hands what is not ready to a waiter, unless the time of the attempt is over or the waiter
// has already seen that something will not become ready by itself.
func (r *kustomizations) wait(l *look, a *attempt, out deploy.Outcome) time.Duration {
	seen, finished := r.waiters.finished(l.key())
	deadline := a.started.Add(timeout(l.ks))
	switch {
	case finished && len(seen.Failed) > 0:
		return r.sick(l, a, &deploy.NotHealthyError{Report: seen})
	case time.Now().After(deadline) && len(out.Leaving.Pending) > 0:
		return r.fail(l, a, meta.PruneFailedReason, &deploy.StillThereError{Report: out.Leaving})
	case time.Now().After(deadline):
		if len(seen.Pending) == 0 {
			seen = out.Health
		}
		return r.sick(l, a, &deploy.NotHealthyError{Report: seen, Timeout: true})
	}
	l.conditions().working(waitingMessage(out))
	r.waiters.start(l.key(), out.Wait, deadline)
	return time.Until(deadline) + time.Second
}

func (r *kustomizations) sick(l *look, a *attempt, err error) time.Duration {
	l.conditions().set(meta.HealthyCondition, metav1.ConditionFalse, meta.HealthCheckFailedReason, err.Error())
	return r.fail(l, a, meta.HealthCheckFailedReason, err)
}

func waitingMessage(out deploy.Outcome) string {
	if len(out.Leaving.Pending) > 0 {
		return leavingMessage(out.Leaving.Pending)
	}
	return "waiting for health: " + pendingList(out.Health.Pending)
}

func leavingMessage(pending []observe.NotReady) string {
	if len(pending) == 1 {
		return "waiting until 1 deleted object is gone: " + pendingList(pending)
	}
	return fmt.Sprintf("waiting until %d deleted objects are gone: %s", len(pending), pendingList(pending))
}

func pendingList(pending []observe.NotReady) string {
	const show = 5
	var parts []string
	for _, n := range pending[:min(len(pending), show)] {
		parts = append(parts, fmt.Sprintf("%s (%s)", n.ID, n.Status.Cause))
	}
	if len(pending) > show {
		parts = append(parts, fmt.Sprintf("and %d more", len(pending)-show))
	}
	return strings.Join(parts, ", ")
}

// held reports that the brake is on: all is applied, nothing was deleted, and how to release it.
func (r *kustomizations) held(l *look, a *attempt, src artifactSource, out deploy.Outcome) time.Duration {
	r.handled(l)
	r.waiters.stop(l.key())
	message := fmt.Sprintf("%s. To delete them: kustomizer approve prune ks/%s -n %s", out.Err, l.ks.Name, l.ks.Namespace)
	if l.conditions().readiness().Message != message {
		l.later(func() { r.events.warn(l.ks, src.annotations(), reasonPruneHeld, message) })
	}
	a.ended = true
	l.healthy()
	l.conditions().failing(reasonPruneHeld, message)
	l.ks.Status.ObservedGeneration = l.ks.Generation
	l.ks.Status.LastAppliedRevision = src.Revision
	l.ks.Status.LastAppliedOriginRevision = src.OriginRevision
	return r.jitter.of(intervalOf(l.ks.Spec.Interval))
}

// healthy says that what was waited for is healthy, where anything was.
func (l *look) healthy() {
	if l.ks.Spec.Wait {
		l.conditions().set(meta.HealthyCondition, metav1.ConditionTrue, meta.SucceededReason, "all objects are healthy")
	} else {
		l.conditions().remove(meta.HealthyCondition)
	}
}

// done reports that all is as wanted.
func (r *kustomizations) done(l *look, a *attempt, src artifactSource) time.Duration {
	r.handled(l)
	r.waiters.stop(l.key())
	interval := intervalOf(l.ks.Spec.Interval)
	news := !l.conditions().isReady() || l.ks.Status.LastAppliedRevision != src.Revision || l.ks.Status.ObservedGeneration != l.ks.Generation
	l.healthy()
	l.conditions().ready(meta.ReconciliationSucceededReason, "Applied revision: "+src.Revision)
	l.ks.Status.ObservedGeneration = l.ks.Generation
	l.ks.Status.LastAppliedRevision = src.Revision
	l.ks.Status.LastAppliedOriginRevision = src.OriginRevision
	if news {
		took := time.Since(a.started).Round(time.Millisecond)
		message := fmt.Sprintf("Reconciliation finished in %s, next run in %s", took, interval)
		l.later(func() { r.events.normal(l.ks, src.annotations(), meta.ReconciliationSucceededReason, message) })
	}
	a.ended, a.warned = true, ""
	return r.jitter.of(interval)
}

// annotations are put on events, under the names that Flux has.
func (s artifactSource) annotations() map[string]string {
	out := map[string]string{annotationRevision: s.Revision}
	if s.OriginRevision != "" {
		out[annotationOriginRevision] = s.OriginRevision
	}
	return out
}

const (
	annotationRevision       = "kustomize.toolkit.fluxcd.io/revision"
	annotationOriginRevision = "kustomize.toolkit.fluxcd.io/originRevision"
)

// conflictOf returns an error that means that somebody else wrote first: not a failure, but a
// reason to look again.
func conflictOf(err error) error {
	var lost *record.ConflictError
	if errors.As(err, &lost) || apierrors.IsConflict(err) {
		return err
	}
	return nil
}

// requeueOnConflict has a resource looked at again soon where the only trouble is that somebody
// else wrote first.
func requeueOnConflict(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) || conflictOf(err) != nil {
		return ctrl.Result{RequeueAfter: 500 * time.Millisecond}, nil //nolint:nilerr // handled by looking again
	}
	return ctrl.Result{}, err
}
