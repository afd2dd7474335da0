// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// sourceManager is the field manager of status on OCIRepositories: Flux's.
const sourceManager = "gotk-source-controller"

// defaultFetchTimeout is the CRD's default of spec.timeout.
const defaultFetchTimeout = time.Minute

// sources reconciles OCIRepositories.
type sources struct {
	client    client.Client
	clients   *registryClients
	artifacts *artifacts
	fetched   func(source types.NamespacedName) // wakes what is made from the source
	events    events
	serveAddr string // host:port of status.artifact.url
	jitter    jitter
	retries   workqueue.TypedRateLimiter[types.NamespacedName] // pauses after failures
}

// poll is one look at an OCIRepository.
type poll struct {
	repo   *sourcev1.OCIRepository
	before *sourcev1.OCIRepository
	news
}

func (p *poll) key() types.NamespacedName { return client.ObjectKeyFromObject(p.repo) }

func (p *poll) conditions() conditions {
	return conditions{list: &p.repo.Status.Conditions, generation: p.repo.Generation}
}

// Reconcile implements [reconcile.Reconciler].
func (s *sources) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	repo, raw, err := readOCIRepository(ctx, s.client, req.NamespacedName)
	if apierrors.IsNotFound(err) {
		s.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	p := &poll{repo: repo, before: repo.DeepCopy()}
	if !repo.DeletionTimestamp.IsZero() {
		return s.finalize(ctx, p)
	}
	s.adopt(p)
	if repo.Spec.Suspend {
		return ctrl.Result{}, nil
	}
	if fields := unsupported(raw, ociRepositoryFields()); len(fields) > 0 {
		return s.stall(ctx, p, reasonUnsupported, unsupportedMessage(fields))
	}
	reference, err := referenceOf(repo)
	if err != nil {
		return s.stall(ctx, p, "URLInvalid", err.Error())
	}
	fetchErr := s.fetch(ctx, p, reference)
	if ctx.Err() != nil {
		return ctrl.Result{}, ctx.Err()
	}
	s.handled(p)
	if err := s.patch(ctx, p); err != nil {
		return requeueOnConflict(err)
	}
	return ctrl.Result{RequeueAfter: s.next(p, fetchErr)}, nil
}

func (s *sources) patch(ctx context.Context, p *poll) error {
	if err := patchStatus(ctx, s.client, p.before, p.repo, sourceManager); err != nil {
		return err
	}
	p.tell()
	return nil
}

// next says when to poll again. After failures the pause grows, but never beyond the interval: when
// the registry is back, that is seen as soon as ever. One that asked to be left alone is.
func (s *sources) next(p *poll, err error) time.Duration {
	interval := intervalOf(p.repo.Spec.Interval)
	if err == nil {
		s.retries.Forget(p.key())
		return s.jitter.of(interval)
	}
	pause := min(s.retries.When(p.key()), s.jitter.of(interval))
	var remote *registry.Error
	if errors.As(err, &remote) {
		pause = max(pause, remote.RetryAfter)
	}
	return pause
}

// adopt takes up what an earlier process fetched and left in the store, so that it can be worked
// from while the registry is away.
func (s *sources) adopt(p *poll) {
	a := p.repo.Status.Artifact
	if _, known := s.artifacts.get(p.key()); known || a == nil {
		return
	}
	digest, err := artifact.ParseDigest(a.Digest)
	if err != nil || !s.artifacts.store.Has(digest) {
		return
	}
	layer := artifact.Descriptor{MediaType: mediaTypeOf(a.Path), Digest: digest}
	if a.Size != nil {
		layer.Size = *a.Size
	}
	if servedPath(p.key(), layer) != a.Path {
		return // another engine's
	}
	s.artifacts.put(p.key(), fetched{revision: a.Revision, layer: layer, annotations: a.Metadata})
	s.fetched(p.key())
}

func (s *sources) forget(key types.NamespacedName) {
	s.artifacts.drop(key)
	s.clients.drop(key)
	s.retries.Forget(key)
}

// finalize lets an OCIRepository go. The agent puts no finalizer on it; another engine may have.
func (s *sources) finalize(ctx context.Context, p *poll) (ctrl.Result, error) {
	s.forget(p.key())
	var others []string
	for _, f := range p.repo.Finalizers {
		if f != sourcev1.SourceFinalizer {
			others = append(others, f)
		}
	}
	if len(others) == len(p.repo.Finalizers) {
		return ctrl.Result{}, nil
	}
	err := setFinalizers(ctx, s.client, p.repo, others, sourceManager)
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil
	}
	return requeueOnConflict(err)
}

func (s *sources) stall(ctx context.Context, p *poll, reason, message string) (ctrl.Result, error) {
	if p.conditions().readiness().Message != message {
		p.later(func() { s.events.warn(p.repo, nil, reason, message) })
	}
	s.handled(p)
	p.repo.Status.ObservedGeneration = p.repo.Generation
	p.conditions().remove(sourcev1.FetchFailedCondition)
	p.conditions().stalled(reason, message)
	return requeueOnConflict(s.patch(ctx, p))
}

func (s *sources) handled(p *poll) {
	if at, ok := meta.ReconcileAnnotationValue(p.repo.Annotations); ok {
		p.repo.Status.LastHandledReconcileAt = at
	}
}

// referenceOf returns what an OCIRepository points at: a digest before a tag, latest without both.
func referenceOf(repo *sourcev1.OCIRepository) (artifact.Reference, error) {
	repository, err := artifact.ParseRepository(repo.Spec.URL)
	if err != nil {
		return artifact.Reference{}, err
	}
	ref := repo.Spec.Reference
	if ref != nil && ref.Digest != "" {
		digest, err := artifact.ParseDigest(ref.Digest)
		if err != nil {
			return artifact.Reference{}, err
		}
		return repository.At(digest).Reference(), nil
	}
	name := "latest"
	if ref != nil && ref.Tag != "" {
		name = ref.Tag
	}
	tag, err := repository.Tag(name)
	if err != nil {
		return artifact.Reference{}, err
	}
	return tag.Reference(), nil
}

// fetch polls the registry and, if there is something new, fetches it. Failures are in the status;
// the returned error says when to try again.
func (s *sources) fetch(ctx context.Context, p *poll, reference artifact.Reference) error {
	limit := defaultFetchTimeout
	if t := p.repo.Spec.Timeout; t != nil && t.Duration > 0 {
		limit = t.Duration
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	registryClient, err := s.clients.of(limited, p.repo)
	if err != nil {
		return s.failed(ctx, p, err)
	}
	got, err := deploy.Fetch(limited, deploy.FetchRequest{
		Client: registryClient, Store: s.artifacts.store, Reference: reference,
		Known: s.artifacts.stored(p.key()), WorkDir: s.artifacts.work,
	})
	if err != nil {
		return s.failed(ctx, p, err)
	}
	if !got.Unchanged {
		s.artifacts.put(p.key(), fetched{revision: got.Revision, layer: got.Layer, annotations: got.Annotations})
	}
	s.succeeded(p, got)
	return nil
}

// failed reports a failed poll. What was fetched before stays in use.
func (s *sources) failed(ctx context.Context, p *poll, err error) error {
	reason, message := fetchReason(err), err.Error()
	if p.conditions().readiness().Message != message {
		ctrl.LoggerFrom(ctx).Info("Fetching does not work", "reason", reason, "error", message)
		p.later(func() { s.events.warn(p.repo, nil, reason, message) })
	}
	p.conditions().failing(reason, message)
	p.conditions().set(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reason, message)
	p.repo.Status.ObservedGeneration = p.repo.Generation
	return err
}

func fetchReason(err error) string {
	var auth *credentialsError
	var refused *artifact.RefusedError
	var remote *registry.Error
	switch {
	case errors.As(err, &auth), errors.As(err, &remote) && (remote.Code == registry.Unauthorized || remote.Code == registry.Forbidden):
		return sourcev1.AuthenticationFailedReason
	case errors.As(err, &refused):
		return sourcev1.OCILayerOperationFailedReason
	default:
		return sourcev1.OCIPullFailedReason
	}
}

// succeeded reports a poll that left the source with the newest artifact.
func (s *sources) succeeded(p *poll, got deploy.Fetched) {
	current, _ := s.artifacts.get(p.key())
	old := p.repo.Status.Artifact
	isNew := old == nil || old.Revision != current.revision || old.Digest != current.layer.Digest.String()
	recovered := !isNew && !p.conditions().isReady() && p.conditions().readiness().Status == metav1.ConditionFalse
	if isNew || old.URL != s.url(servedPath(p.key(), current.layer)) { // this process may serve elsewhere
		p.repo.Status.Artifact = s.statusArtifact(p.key(), current)
	}
	p.repo.Status.URL = p.repo.Status.Artifact.URL
	message := fmt.Sprintf("stored artifact for digest '%s'", current.revision)
	p.conditions().remove(sourcev1.FetchFailedCondition)
	p.conditions().set(sourcev1.ArtifactInStorageCondition, metav1.ConditionTrue, meta.SucceededReason, message)
	p.conditions().ready(meta.SucceededReason, message)
	p.repo.Status.ObservedGeneration = p.repo.Generation
	switch {
	case isNew:
		p.later(func() {
			s.events.normal(p.repo, current.revisions(), "NewArtifact", newArtifactMessage(p.repo, current))
		})
	case recovered:
		p.later(func() { s.events.normal(p.repo, nil, meta.SucceededReason, message) })
	}
	if !got.Unchanged && old != nil && old.Revision == current.revision {
		s.fetched(p.key()) // nobody sees from the status that its bytes are back
	}
}

// revisions are put on events, under the names that Flux has.
func (f fetched) revisions() map[string]string {
	return map[string]string{
		"source.toolkit.fluxcd.io/revision": f.revision,
		"source.toolkit.fluxcd.io/digest":   f.layer.Digest.String(),
	}
}

func (s *sources) statusArtifact(key types.NamespacedName, f fetched) *meta.Artifact {
	size := f.layer.Size
	at := servedPath(key, f.layer)
	return &meta.Artifact{
		Path: at, URL: s.url(at),
		Revision: f.revision, Digest: f.layer.Digest.String(),
		LastUpdateTime: metav1.Now(), Size: &size, Metadata: f.annotations,
	}
}

func (s *sources) url(servedAt string) string { return "http://" + s.serveAddr + "/" + servedAt }

func newArtifactMessage(repo *sourcev1.OCIRepository, f fetched) string {
	message := fmt.Sprintf("stored artifact with revision '%s' from '%s'", f.revision, repo.Spec.URL)
	if origin := f.annotations[originRevision]; origin != "" {
		message += fmt.Sprintf(", origin revision '%s'", origin)
	}
	if source := f.annotations["org.opencontainers.image.source"]; source != "" {
		message += fmt.Sprintf(", origin source '%s'", source)
	}
	return message
}
