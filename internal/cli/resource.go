// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/report"
)

// fieldManager owns what the commands write on resources, so that it is told apart from what
// engines and people write.
const fieldManager = "kctl-ops"

// kind is one of Flux's kinds that the commands handle.
type kind struct {
	schema.GroupVersionKind
	noun    string // how commands name it: "source oci"
	title   string // how flags' and commands' descriptions name it
	verb    string // what becomes of a revision: "fetched", "applied"
	aliases []string
}

func ociRepositories() kind {
	return kind{
		GroupVersionKind: sourcev1.GroupVersion.WithKind(sourcev1.OCIRepositoryKind),
		noun:             "source oci", title: "OCIRepository", verb: "fetched",
		aliases: []string{"oci", "ocirepo", "ocirepos", "ocirepository", "ocirepositories"},
	}
}

func kustomizations() kind {
	return kind{
		GroupVersionKind: kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind),
		noun:             "kustomization", title: "Kustomization", verb: "applied",
		aliases: []string{"ks", "kustomization", "kustomizations"},
	}
}

// id returns the identity of a resource of the kind.
func (k kind) id(namespace, name string) object.ID {
	return object.ID{Group: k.Group, Kind: k.Kind, Namespace: namespace, Name: name}
}

// named returns the name in an argument, which may have the kind before it, as in ks/app or in what
// -o name prints.
func (k kind) named(arg string) string {
	prefix, name, found := strings.Cut(arg, "/")
	if !found {
		return arg
	}
	prefix = strings.ToLower(strings.TrimSuffix(prefix, "."+k.Group))
	if prefix == strings.ToLower(k.Kind) || slices.Contains(k.aliases, prefix) {
		return name
	}
	return arg
}

// resource is what the commands need to know of a resource, whichever its kind.
type resource struct {
	object     *unstructured.Unstructured
	id         object.ID
	generation int64
	observed   int64 // status.observedGeneration
	suspended  bool
	revision   string
	source     string // the sourceRef of a Kustomization, as Kind/name or Kind/namespace/name
	handled    string // status.lastHandledReconcileAt
	conditions []metav1.Condition
}

// view reads a resource.
func view(u *unstructured.Unstructured) (resource, error) {
	r := resource{object: u, id: object.Of(u), generation: u.GetGeneration()}
	var err error
	switch u.GetKind() {
	case sourcev1.OCIRepositoryKind:
		var o sourcev1.OCIRepository
		if err = runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &o); err == nil {
			r.observed, r.suspended, r.conditions = o.Status.ObservedGeneration, o.Spec.Suspend, o.Status.Conditions
			r.handled = o.Status.LastHandledReconcileAt
			if o.Status.Artifact != nil {
				r.revision = o.Status.Artifact.Revision
			}
		}
	case kustomizev1.KustomizationKind:
		var o kustomizev1.Kustomization
		if err = runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &o); err == nil {
			r.observed, r.suspended, r.conditions = o.Status.ObservedGeneration, o.Spec.Suspend, o.Status.Conditions
			r.handled = o.Status.LastHandledReconcileAt
			r.revision, r.source = o.Status.LastAppliedRevision, o.Spec.SourceRef.String()
		}
	}
	if err != nil {
		return resource{}, fmt.Errorf("reading %s: %w", r.id, err)
	}
	return r, nil
}

// ready returns the Ready condition, or one that says that nobody has looked at the resource yet.
func (r resource) ready() metav1.Condition {
	if c := apimeta.FindStatusCondition(r.conditions, fluxmeta.ReadyCondition); c != nil {
		return *c
	}
	return metav1.Condition{Type: fluxmeta.ReadyCondition, Status: metav1.ConditionFalse, Message: "waiting to be reconciled"}
}

// holds says whether a condition holds for the resource's current generation.
func (r resource) holds(condition string) bool {
	c := apimeta.FindStatusCondition(r.conditions, condition)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == r.generation
}

// read gets one resource.
func read(ctx context.Context, c *cluster.Cluster, k kind, namespace, name string) (resource, error) {
	name = k.named(name)
	if err := checkName(k.title, name); err != nil {
		return resource{}, err
	}
	u, err := c.Get(ctx, k.id(namespace, name), k.Version)
	if apierrors.IsNotFound(err) {
		return resource{}, missing(k, namespace, name)
	}
	if err != nil {
		return resource{}, fmt.Errorf("reading %s: %w", k.id(namespace, name), err)
	}
	return view(u)
}

func missing(k kind, namespace, name string) error {
	return &report.NotFoundError{
		What: fmt.Sprintf("%s %s in namespace %s", k.title, name, namespace),
		Hint: "see which there are: kustomizer get " + strings.Replace(k.noun, "source ", "sources ", 1) + " -A",
	}
}

// list reads all resources of a kind in a selection.
func list(ctx context.Context, c *cluster.Cluster, k kind, sel cluster.Selection) ([]resource, string, error) {
	res, err := c.Resolve(ctx, k.GroupKind(), k.Version)
	if err != nil {
		return nil, "", err
	}
	objects, version, err := c.List(ctx, res, sel)
	if err != nil {
		return nil, "", fmt.Errorf("listing %s: %w", res.Resource, err)
	}
	out := make([]resource, len(objects))
	for i, u := range objects {
		u.SetGroupVersionKind(k.GroupVersionKind)
		if out[i], err = view(u); err != nil {
			return nil, "", err
		}
	}
	return out, version, nil
}

// toUnstructured turns one of Flux's typed resources into the form that is sent, without status.
func toUnstructured(k kind, typed any) (*unstructured.Unstructured, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s: %w", k.Kind, err)
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetGroupVersionKind(k.GroupVersionKind)
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return u, nil
}
