// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	corev1 "k8s.io/api/core/v1"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// parts are what the reconcilers share.
type parts struct {
	cluster   *cluster.Cluster
	artifacts *artifacts
	waiters   *waiters
	recorders recorders
	storage   string // address at which artifacts are served
}

// recorders tell events, under the names of the controllers that Flux's users know.
type recorders struct{ source, kustomization record.EventRecorder }

func addFluxTypes(scheme *runtime.Scheme) error {
	if err := sourcev1.AddToScheme(scheme); err != nil {
		return err
	}
	return kustomizev1.AddToScheme(scheme)
}

// newRecorders makes recorders, and a function that sends off what is still queued.
func newRecorders(cfg *rest.Config) (recorders, func(), error) {
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return recorders{}, nil, err
	}
	scheme := runtime.NewScheme()
	if err := addFluxTypes(scheme); err != nil {
		return recorders{}, nil, err
	}
	// Each message is a list of changes of its own: they must not be folded into one.
	broadcaster := record.NewBroadcasterWithCorrelatorOptions(record.CorrelatorOptions{
		MaxEvents: 1000, BurstSize: 100, QPS: 1,
	})
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: kube.CoreV1().Events("")})
	return recorders{
		source:        broadcaster.NewRecorder(scheme, corev1.EventSource{Component: "source-controller"}),
		kustomization: broadcaster.NewRecorder(scheme, corev1.EventSource{Component: "kustomize-controller"}),
	}, broadcaster.Shutdown, nil
}

// bySource is the name of the index of Kustomizations by their source.
const bySource = "source"

func register(ctx context.Context, mgr manager.Manager, opts Options, p parts) error {
	kustomization := newObject(kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind))
	if err := mgr.GetFieldIndexer().IndexField(ctx, kustomization, bySource, sourceIndex); err != nil {
		return fmt.Errorf("indexing Kustomizations: %w", err)
	}
	if err := registerSources(mgr, opts, p); err != nil {
		return err
	}
	return registerKustomizations(mgr, opts, p)
}

func sourceIndex(obj client.Object) []string {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	ref, _, _ := unstructured.NestedStringMap(u.Object, "spec", "sourceRef")
	namespace := ref["namespace"]
	if namespace == "" {
		namespace = u.GetNamespace()
	}
	return []string{types.NamespacedName{Namespace: namespace, Name: ref["name"]}.String()}
}

func registerSources(mgr manager.Manager, opts Options, p parts) error {
	advertised := opts.AdvertisedAddr
	if advertised == "" {
		advertised = p.storage
	}
	reconciler := &sources{
		client:    mgr.GetClient(),
		clients:   &registryClients{reader: mgr.GetAPIReader(), throttle: registry.NewThrottle(), userAgent: opts.UserAgent},
		artifacts: p.artifacts,
		fetched:   func(key types.NamespacedName) { wakeDependents(mgr.GetClient(), p.waiters, key) },
		events:    events{p.recorders.source},
		serveAddr: advertised,
		jitter:    jitter{opts.Jitter},
		retries:   workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](opts.MinRetry, opts.MaxRetry),
	}
	repository := newObject(sourcev1.GroupVersion.WithKind(sourcev1.OCIRepositoryKind))
	return ctrl.NewControllerManagedBy(mgr).Named("ocirepository").
		For(repository, builder.WithPredicates(asked())).
		WithOptions(controllerOptions(opts)).
		Complete(reconciler)
}

func registerKustomizations(mgr manager.Manager, opts Options, p parts) error {
	reconciler := &kustomizations{
		client: mgr.GetClient(), reader: mgr.GetAPIReader(),
		engine:   &deploy.Engine{Cluster: p.cluster, AgentNamespace: opts.Namespace, Fleet: &deploy.Fleet{}},
		contents: p.artifacts, waiters: p.waiters,
		keys:      ageKeys{reader: mgr.GetAPIReader(), fallback: types.NamespacedName{Namespace: opts.Namespace, Name: opts.AgeSecret}},
		events:    events{p.recorders.kustomization},
		namespace: opts.Namespace,
		brake:     plan.Policy{GuardOff: opts.PruneGuardOff, FleetLimit: opts.PruneFleetLimit, ProtectKinds: opts.ProtectKinds},
		jitter:    jitter{opts.Jitter},
	}
	kustomization := newObject(kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind))
	repository := newObject(sourcev1.GroupVersion.WithKind(sourcev1.OCIRepositoryKind))
	return ctrl.NewControllerManagedBy(mgr).Named("kustomization").
		For(kustomization, builder.WithPredicates(asked())).
		Watches(repository, handler.EnqueueRequestsFromMapFunc(dependents(mgr.GetClient())), builder.WithPredicates(newArtifact())).
		WatchesRawSource(source.Channel(p.waiters.wake, &handler.EnqueueRequestForObject{})).
		WithOptions(controllerOptions(opts)).
		Complete(reconciler)
}

func controllerOptions(opts Options) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: opts.Concurrent,
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](
			opts.MinRetry, opts.MaxRetry),
	}
}

// asked lets through what asks for something: a changed spec, a deletion, an annotation. Status
// writes, our own above all, do not.
func asked() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
}

// newArtifact lets through sources whose artifact changed.
func newArtifact() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false }, // each Kustomization is looked at anyway
		DeleteFunc:  func(event.DeleteEvent) bool { return false }, // what is deployed stays
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return revisionOf(e.ObjectOld) != revisionOf(e.ObjectNew)
		},
	}
}

func revisionOf(obj client.Object) string {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return ""
	}
	revision, _, _ := unstructured.NestedString(u.Object, "status", "artifact", "revision")
	return revision
}

// dependents finds the Kustomizations that are made from a source.
func dependents(c client.Client) handler.MapFunc {
	return func(ctx context.Context, obj client.Object) []reconcile.Request {
		var out []reconcile.Request
		for _, u := range dependentsOf(ctx, c, client.ObjectKeyFromObject(obj)) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&u)})
		}
		return out
	}
}

func dependentsOf(ctx context.Context, c client.Client, key types.NamespacedName) []unstructured.Unstructured {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind + "List"))
	if err := c.List(ctx, list, client.MatchingFields{bySource: key.String()}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Finding what is made from a source", "source", key.String())
		return nil
	}
	return list.Items
}

// wakeDependents has what is made from a source looked at again.
func wakeDependents(c client.Client, w *waiters, key types.NamespacedName) {
	for _, u := range dependentsOf(w.ctx, c, key) {
		w.rouse(client.ObjectKeyFromObject(&u))
	}
}
