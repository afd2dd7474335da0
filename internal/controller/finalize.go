// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kustomizer/kustomizer/internal/deploy"
)

// deletionRetry is how long to wait before deletions are tried again.
const deletionRetry = 5 * time.Second

// finalize lets a Kustomization go: its objects go as its policy says if it was deleted on
// purpose, else all stay.
func (r *kustomizations) finalize(ctx context.Context, l *look) (ctrl.Result, error) {
	if !slices.Contains(l.ks.Finalizers, kustomizev1.KustomizationFinalizer) {
		return ctrl.Result{}, nil
	}
	deadline := l.ks.DeletionTimestamp.Add(timeout(l.ks))
	keep, err := r.keepReason(ctx, l)
	if err != nil && time.Now().Before(deadline) {
		return ctrl.Result{}, err
	}
	if err != nil {
		keep = err.Error() // what is unknown is not on purpose
	}
	policy := l.ks.Spec.DeletionPolicy
	src, err := r.source(ctx, l)
	var none *sourceError
	if err != nil && !errors.As(err, &none) {
		return ctrl.Result{}, err
	}
	out := r.engine.Teardown(ctx, deploy.TeardownRequest{
		Owner: l.owner(), RecordNamespace: r.namespace,
		Policy:        r.policy(l),
		Imported:      importInventory(l.ks),
		Keep:          keep,
		TakeProtected: policy == kustomizev1.DeletionPolicyDelete || policy == kustomizev1.DeletionPolicyWaitForTermination,
		AwaitGone:     policy == kustomizev1.DeletionPolicyWaitForTermination,
		GiveUp:        time.Now().After(deadline),
		Revision:      src.Revision, Peer: peerOf(l, src, l.ks.DeletionTimestamp.Time),
	})
	r.events.changes(l.ks, artifactSource{Revision: l.ks.Status.LastAppliedRevision}, out.Changes)
	if err := conflictOf(out.Err); err != nil {
		return requeueOnConflict(err)
	}
	return r.letGo(ctx, l, out, deadline)
}

// letGo removes the finalizer when the teardown is done, else says what it waits for.
func (r *kustomizations) letGo(ctx context.Context, l *look, out deploy.TeardownOutcome, deadline time.Time) (ctrl.Result, error) {
	switch out.State {
	case deploy.Waiting:
		if len(out.Awaits) > 0 {
			next := r.await(l, sourceKey(l.ks), out.Awaits)
			return ctrl.Result{RequeueAfter: min(next, max(time.Second, time.Until(deadline)))}, r.patch(ctx, l)
		}
		l.conditions().working(leavingMessage(out.Leaving.Pending))
		r.waiters.start(l.key(), out.Wait, deadline)
		return ctrl.Result{RequeueAfter: time.Until(deadline) + time.Second}, r.patch(ctx, l)
	case deploy.Failed:
		l.conditions().failing(meta.PruneFailedReason, out.Err.Error())
		return ctrl.Result{RequeueAfter: deletionRetry}, r.patch(ctx, l)
	}
	r.waiters.stop(l.key())
	r.engine.Forget(l.owner())
	finalizers := slices.DeleteFunc(slices.Clone(l.ks.Finalizers), func(f string) bool { return f == kustomizev1.KustomizationFinalizer })
	err := setFinalizers(ctx, r.client, l.ks, finalizers, kustomizationManager)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	if err == nil {
		r.decided(l.key(), sourceKey(l.ks), out.Concerned)
	}
	if err == nil && len(out.Left) > 0 {
		r.events.warn(l.ks, nil, "ObjectsLeft", leftMessage(r.namespace, out))
	}
	return requeueOnConflict(err)
}

func leftMessage(namespace string, out deploy.TeardownOutcome) string {
	var lines []string
	for _, s := range out.Left {
		lines = append(lines, fmt.Sprintf("%s stays: %s", s.ID, s.Reason))
	}
	if out.LeftRecord != "" {
		lines = append(lines, fmt.Sprintf("listed in ConfigMap/%s/%s", namespace, out.LeftRecord))
	}
	return strings.Join(lines, "\n")
}

// keepReason says why nothing may be deleted, or nothing. That a definition or a namespace goes
// takes Kustomizations with it that nobody meant to delete.
func (r *kustomizations) keepReason(ctx context.Context, l *look) (string, error) {
	crd := "kustomizations." + kustomizev1.GroupVersion.Group
	going := []struct {
		kind schema.GroupVersionKind
		name string
	}{
		{schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}, crd},
		{schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, l.ks.Namespace},
		{schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, r.namespace},
	}
	for _, g := range going {
		u := newObject(g.kind)
		err := r.reader.Get(ctx, types.NamespacedName{Name: g.name}, u)
		if err != nil && !apierrors.IsNotFound(err) {
			return "", fmt.Errorf("finding out whether the deletion is on purpose: %w", err)
		}
		if apierrors.IsNotFound(err) || u.GetDeletionTimestamp() != nil {
			return fmt.Sprintf("%s %s is being deleted, which does not mean that the objects should be", g.kind.Kind, g.name), nil
		}
	}
	if fields := r.unsupported(l); len(fields) > 0 {
		return "the Kustomization says what this version does not support: " + strings.Join(fields, ", "), nil
	}
	return policyKeeps(l.ks), nil
}

func policyKeeps(ks *kustomizev1.Kustomization) string {
	policy := ks.Spec.DeletionPolicy
	switch {
	case ks.Spec.Suspend:
		return "the Kustomization is suspended"
	case policy == kustomizev1.DeletionPolicyOrphan:
		return "the deletion policy is Orphan"
	case !ks.Spec.Prune && (policy == "" || policy == kustomizev1.DeletionPolicyMirrorPrune):
		return "prune is off"
	}
	return ""
}
