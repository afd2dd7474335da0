// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/report"
)

// attempts bounds how often a change is made anew because the object changed in between.
const attempts = 5

// written is the outcome of [put].
type written struct {
	object  *unstructured.Unstructured
	created bool
	request string // of a resource that existed: the reconciliation that was asked for
}

// put creates an object, or replaces the named fields of the one that is there. Labels are added
// to those that it has. A resource that is reconciled is asked to be looked at anew, also where
// nothing changed: what it names may have.
func put(ctx context.Context, c *cluster.Cluster, want *unstructured.Unstructured, reconciled bool, fields ...string) (written, error) {
	id, version := object.Of(want), want.GroupVersionKind().Version
	var last error
	for range attempts {
		live, err := c.Get(ctx, id, version)
		if apierrors.IsNotFound(err) {
			if live, err = c.Create(ctx, want, fieldManager); err == nil {
				return written{object: live, created: true}, nil
			}
			if apierrors.IsAlreadyExists(err) {
				last = err
				continue
			}
			return written{}, explainCreate(id, err)
		}
		if err != nil {
			return written{}, fmt.Errorf("reading %s: %w", id, err)
		}
		request := replace(live, want, reconciled, fields)
		if live, err = c.Update(ctx, live, fieldManager); err == nil {
			return written{object: live, request: request}, nil
		}
		if !apierrors.IsConflict(err) {
			return written{}, fmt.Errorf("updating %s: %w", id, err)
		}
		last = err
	}
	return written{}, fmt.Errorf("updating %s: %w", id, last)
}

func replace(live, want *unstructured.Unstructured, reconciled bool, fields []string) (request string) {
	for _, field := range fields {
		live.Object[field] = want.Object[field]
		if want.Object[field] == nil {
			delete(live.Object, field)
		}
	}
	if labels := want.GetLabels(); len(labels) > 0 {
		all := live.GetLabels()
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, labels)
		live.SetLabels(all)
	}
	if !reconciled {
		return ""
	}
	request = time.Now().Format(time.RFC3339Nano)
	annotations := live.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[fluxmeta.ReconcileRequestAnnotation] = request
	live.SetAnnotations(annotations)
	return request
}

// explainCreate says which namespace is missing where that is why an object can't be created.
func explainCreate(id object.ID, err error) error {
	if !cluster.IsNamespaceMissing(err) {
		return fmt.Errorf("creating %s: %w", id, err)
	}
	hint := "create it: kubectl create namespace " + id.Namespace
	if id.Namespace == fluxNamespace {
		hint = "install first: kustomizer install"
	}
	return &report.NotFoundError{What: "the namespace " + id.Namespace, Hint: hint}
}

// annotate sets an annotation on a resource that must be the one that was read.
func annotate(ctx context.Context, c *cluster.Cluster, r resource, key, value string) (resource, error) {
	return patch(ctx, c, r, map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: value}}})
}

// patch merges fields into a resource that must be the one that was read: the API server refuses
// the change of a namesake, whose UID differs.
func patch(ctx context.Context, c *cluster.Cluster, r resource, fields map[string]any) (resource, error) {
	metadata, ok := fields["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		fields["metadata"] = metadata
	}
	metadata["uid"] = string(r.object.GetUID())
	body, err := json.Marshal(fields)
	if err != nil {
		return resource{}, fmt.Errorf("encoding a change of %s: %w", r.id, err)
	}
	ref := cluster.Ref{ID: r.id, Version: r.object.GroupVersionKind().Version}
	u, err := c.Patch(ctx, ref, types.MergePatchType, body, fieldManager)
	if err != nil {
		return resource{}, fmt.Errorf("changing %s: %w", r.id, err)
	}
	return view(u)
}

// requestReconcile asks the agent to look at a resource now, and returns the request's mark.
func requestReconcile(ctx context.Context, c *cluster.Cluster, r resource) (resource, string, error) {
	request := time.Now().Format(time.RFC3339Nano)
	r, err := annotate(ctx, c, r, fluxmeta.ReconcileRequestAnnotation, request)
	return r, request, err
}
