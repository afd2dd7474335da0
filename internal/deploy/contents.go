// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
		err := c.LookThrough(ctx, res, cluster.Selection{Namespace: namespace}, func(m *metav1.ObjectMeta) {
			if !cluster.Expendable(res.GroupKind(), m) {
				found = append(found, object.ID{Group: res.Group, Kind: res.Kind, Namespace: m.Namespace, Name: m.Name})
			}
		})
		if err != nil {
			return nil, fmt.Errorf("looking through the namespace %s: listing %s: %w", namespace, res.Resource, err)
		}
	}
	object.SortIDs(found)
	return slices.Compact(found), nil
}

// expendableKinds lists kinds that Kubernetes fills by itself.
func expendableKinds() []string { return []string{"Event", "EndpointSlice", "Endpoints", "Lease"} }
