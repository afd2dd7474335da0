// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Names that Flux's kustomize-controller has on Kustomizations.
const (
	kustomizationManager = "gotk-kustomize-controller"
	annotationApprove    = "kustomizer.dev/approve-prune"
)

// sourceRetry is how long to wait for a source that is not there yet, if nothing wakes us before.
const sourceRetry = 30 * time.Second

// shortestLook is what a look may take at least: the last one of an attempt, which finds that the
// time for getting healthy is over, still has to read the cluster.
const shortestLook = 30 * time.Second

// kustomizations reconciles Kustomizations.
type kustomizations struct {
	client    client.Client
	reader    client.Reader // not cached
	engine    *deploy.Engine
	contents  contents
	keys      ageKeys
	waiters   *waiters
	attempts  attempts
	awaiting  awaiting
	events    events
	namespace string      // the agent's
	brake     plan.Policy // the fleet's part of it
	jitter    jitter
}

// contents gives the objects of an artifact.
type contents interface {
	// Objects renders an artifact's tree. The reason is why there are none, where there are none.
	Objects(ctx context.Context, source types.NamespacedName, revision string, view deploy.View) ([]*unstructured.Unstructured, string, error)
}

// look is one look at a Kustomization.
type look struct {
	ks     *kustomizev1.Kustomization
	before *kustomizev1.Kustomization // as the server has it
	raw    *unstructured.Unstructured
	news
}

func (l *look) key() types.NamespacedName { return client.ObjectKeyFromObject(l.ks) }

func (l *look) conditions() conditions {
	return conditions{list: &l.ks.Status.Conditions, generation: l.ks.Generation}
}

func (l *look) owner() plan.Owner { return plan.Kustomization(l.ks.Namespace, l.ks.Name) }

// Reconcile implements [reconcile.Reconciler].
func (r *kustomizations) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	l, err := r.read(ctx, r.client, req.NamespacedName)
	if err == nil && !l.ks.DeletionTimestamp.IsZero() {
		// The cache may still show one that was let go: no record of it is left, and its inventory would
		// be taken for another tool's.
		l, err = r.read(ctx, r.reader, req.NamespacedName)
	}
	if apierrors.IsNotFound(err) {
		r.waiters.stop(req.NamespacedName)
		r.attempts.forget(req.NamespacedName)
		r.awaiting.remove(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if !l.ks.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, l)
	}
	if l.ks.Spec.Suspend {
		r.waiters.stop(l.key())
		return ctrl.Result{}, nil
	}
	if fields := r.unsupported(l); len(fields) > 0 {
		return r.stall(ctx, l, fields)
	}
	if err := r.ensureFinalizer(ctx, l); err != nil {
		return requeueOnConflict(err)
	}
	next, err := r.attempt(ctx, l)
	switch {
	case ctx.Err() != nil:
		return ctrl.Result{}, nil //nolint:nilerr // whoever works next goes on from the record
	case err != nil:
		return requeueOnConflict(err)
	}
	return ctrl.Result{RequeueAfter: next}, r.patch(ctx, l)
}

// read gets a Kustomization as the server has it, and as a typed object.
func (r *kustomizations) read(ctx context.Context, from client.Reader, key types.NamespacedName) (*look, error) {
	raw := newObject(kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind))
	if err := from.Get(ctx, key, raw); err != nil {
		return nil, err
	}
	ks := &kustomizev1.Kustomization{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, ks); err != nil {
		return nil, fmt.Errorf("decoding Kustomization %s: %w", key, err)
	}
	return &look{ks: ks, before: ks.DeepCopy(), raw: raw}, nil
}

func (r *kustomizations) patch(ctx context.Context, l *look) error {
	err := patchStatus(ctx, r.client, l.before, l.ks, kustomizationManager)
	if err == nil {
		l.before = l.ks.DeepCopy()
		l.tell()
	}
	if apierrors.IsConflict(err) {
		// The cache was behind. What the status says is derived: the next look says it again.
		r.waiters.rouse(l.key())
		return nil
	}
	return err
}

// unsupported lists what a Kustomization asks for and this version can't do. A source of another
// kind or group is such a thing too.
func (r *kustomizations) unsupported(l *look) []string {
	fields := unsupported(l.raw, kustomizationFields())
	ref := l.ks.Spec.SourceRef
	if group, _, _ := strings.Cut(ref.APIVersion, "/"); ref.APIVersion != "" && group != sourcev1.GroupVersion.Group {
		fields = append(fields, "spec.sourceRef.apiVersion="+ref.APIVersion)
	}
	if ref.Kind != sourcev1.OCIRepositoryKind {
		fields = append(fields, "spec.sourceRef.kind="+ref.Kind)
	}
	return fields
}

func (r *kustomizations) stall(ctx context.Context, l *look, fields []string) (ctrl.Result, error) {
	r.waiters.stop(l.key())
	r.handled(l)
	l.ks.Status.ObservedGeneration = l.ks.Generation
	message := unsupportedMessage(fields)
	if l.conditions().readiness().Message != message {
		l.later(func() { r.events.warn(l.ks, nil, reasonUnsupported, message) })
	}
	l.conditions().stalled(reasonUnsupported, message)
	return ctrl.Result{}, r.patch(ctx, l)
}

func (r *kustomizations) ensureFinalizer(ctx context.Context, l *look) error {
	if slices.Contains(l.ks.Finalizers, kustomizev1.KustomizationFinalizer) {
		return nil
	}
	status := l.ks.Status
	finalizers := append(slices.Clone(l.ks.Finalizers), kustomizev1.KustomizationFinalizer)
	if err := setFinalizers(ctx, r.client, l.ks, finalizers, kustomizationManager); err != nil {
		return err
	}
	l.ks.Status = status
	l.before = l.ks.DeepCopy()
	return nil
}

// handled copies a reconcile request's value to the status, which says that it was acted upon.
func (r *kustomizations) handled(l *look) {
	if at, ok := meta.ReconcileAnnotationValue(l.ks.Annotations); ok {
		l.ks.Status.LastHandledReconcileAt = at
	}
}

// attempt makes one pass of the pipeline and says when to look again.
func (r *kustomizations) attempt(ctx context.Context, l *look) (time.Duration, error) {
	src, err := r.source(ctx, l)
	if err != nil {
		return r.withoutSource(l, err), nil
	}
	requested := l.ks.Annotations[meta.ReconcileRequestAnnotation]
	now := time.Now()
	a := r.attempts.of(l.key(), goal{src.Revision, l.ks.Generation, requested}, now)
	if a.started.Equal(now) {
		r.waiters.stop(l.key()) // what an earlier attempt waited for says nothing about this one
	}
	limited, cancel := context.WithTimeout(ctx, max(shortestLook, time.Until(a.started.Add(timeout(l.ks)))))
	defer cancel()
	if requested != "" && requested != l.ks.Status.LastHandledReconcileAt {
		limited = cluster.Asked(limited)
	}
	previous := l.ks.Status.LastAttemptedRevision
	l.ks.Status.LastAttemptedRevision = src.Revision
	view := deploy.View{Path: l.ks.Spec.Path, TargetNamespace: l.ks.Spec.TargetNamespace, Keys: r.keys.of(l.ks)}
	objects, empty, err := r.contents.Objects(limited, src.Key, src.Revision, view)
	if ctx.Err() != nil {
		return 0, nil
	}
	if err != nil {
		return r.withoutObjects(l, a, previous, err), nil
	}
	out := r.engine.Run(limited, r.request(l, src, objects, empty, a.started))
	r.events.changes(l.ks, src, out.Changes)
	r.decided(l.key(), src.Key, out.Concerned)
	if ctx.Err() != nil {
		return 0, nil // the agent ends, which says nothing about the Kustomization
	}
	if err := conflictOf(out.Err); err != nil {
		l.ks.Status.LastAttemptedRevision = previous
		return 0, err
	}
	r.handled(l)
	return r.conclude(l, a, src, out), nil
}

// request turns a Kustomization into a request.
func (r *kustomizations) request(l *look, src artifactSource, objects []*unstructured.Unstructured, empty string, started time.Time) deploy.Request {
	return deploy.Request{
		Owner: l.owner(), RecordNamespace: r.namespace,
		Objects: objects, Empty: empty,
		Digest: src.Digest, Revision: src.Revision, Generation: l.ks.Generation,
		Wait: l.ks.Spec.Wait, Standing: true, Peer: peerOf(l, src, started),
		Policy:   r.policy(l),
		Imported: importInventory(l.ks),
		Recorded: func(ctx context.Context, entries map[object.ID]plan.Entry) error {
			return r.project(ctx, l, entries)
		},
	}
}

// policy is what may be done for a Kustomization.
func (r *kustomizations) policy(l *look) plan.Policy {
	p := r.brake
	p.Prune, p.Force = l.ks.Spec.Prune, l.ks.Spec.Force
	p.Approved = l.ks.Annotations[annotationApprove]
	p.Protected = []string{r.namespace}
	return p
}

// timeout returns the time limit of a whole attempt. Where none is set it is derived as Flux does.
func timeout(ks *kustomizev1.Kustomization) time.Duration {
	if ks.Spec.Timeout != nil && ks.Spec.Timeout.Duration > 0 {
		return ks.Spec.Timeout.Duration
	}
	return max(30*time.Second, ks.Spec.Interval.Duration-30*time.Second)
}

func retryInterval(ks *kustomizev1.Kustomization) time.Duration {
	if ks.Spec.RetryInterval != nil && ks.Spec.RetryInterval.Duration > 0 {
		return intervalOf(*ks.Spec.RetryInterval)
	}
	return intervalOf(ks.Spec.Interval)
}
