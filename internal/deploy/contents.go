// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
)

// contents returns what a namespace holds that would be missed: everything but what Kubernetes puts
// there by itself. Where a kind can't be listed the error says so: then it is unknown what there
// is, and the namespace is not empty.
func contents(ctx context.Context, c *cluster.Cluster, namespace string) ([]object.ID, error) {
	kinds, failed, err := c.Kinds(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking through the namespace %s: %w", namespace, err)
	}
	if len(failed) > 0 {
		return nil, fmt.Errorf("looking through the namespace %s: %s can't be discovered", namespace, strings.Join(failed, ", "))
	}
	var found []object.ID
	for _, res := range kinds {
		if !res.Namespaced || !res.Listable || !res.Deletable || slices.Contains(expendableKinds(), res.Kind) {
			continue
		}
		objs, _, err := c.List(ctx, res, cluster.Selection{Namespace: namespace})
		if err != nil {
			return nil, fmt.Errorf("looking through the namespace %s: listing %s: %w", namespace, res.Resource, err)
		}
		for _, u := range objs {
			if !expendable(u) {
				found = append(found, object.Of(u))
			}
		}
	}
	object.SortIDs(found)
	return slices.Compact(found), nil
}

// expendableKinds lists kinds that Kubernetes fills by itself.
func expendableKinds() []string { return []string{"Event", "EndpointSlice", "Endpoints", "Lease"} }

// expendable says whether Kubernetes made the object by itself and would make it again, or it goes
// with another one.
func expendable(u *unstructured.Unstructured) bool {
	if len(u.GetOwnerReferences()) > 0 || u.GetDeletionTimestamp() != nil {
		return true
	}
	switch id := object.Of(u); id.Kind {
	case "ConfigMap":
		return id.Name == "kube-root-ca.crt"
	case "ServiceAccount":
		return id.Name == "default"
	}
	return false
}
