// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// OwnerOf tells, by the metadata of a ConfigMap, whose record or inventory it is a part of, if of any.
func OwnerOf(m *metav1.ObjectMeta) (plan.Owner, bool) {
	if name, ok := strings.CutPrefix(m.Name, inventoryPrefix); ok && m.Labels[labelComponent] == componentInventory && m.Labels[labelRecord] == "" {
		return plan.Inventory(m.Namespace, name), true
	}
	kind, rest, _ := strings.Cut(m.Annotations[annotationOwner], "/")
	namespace, name, _ := strings.Cut(rest, "/")
	owner := plan.Kustomization(namespace, name)
	if kind == plan.OwnerInventory {
		owner = plan.Inventory(namespace, name)
	}
	return owner, name != "" && m.Labels[labelRecord] == key(owner)
}

// Heads reads what the records of Kustomizations in a namespace say about their sets as a whole.
func Heads(ctx context.Context, c *cluster.Cluster, namespace string) (map[plan.Owner]Head, error) {
	res, err := configMaps(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	found, _, err := c.List(ctx, res, cluster.Selection{Namespace: namespace, LabelSelector: labelRecord})
	if err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	out := map[plan.Owner]Head{}
	for _, cm := range found {
		owner, ok := OwnerOf(&metav1.ObjectMeta{Name: cm.GetName(), Namespace: namespace, Labels: cm.GetLabels(), Annotations: cm.GetAnnotations()})
		if !ok || owner.Kind != plan.OwnerKustomization {
			continue
		}
		text, _, _ := unstructured.NestedString(cm.Object, "data", dataHead)
		if h, err := parseHead(text, owner, 0); err == nil {
			out[owner] = Head{Cluster: h.Cluster, Digest: h.Digest, Revision: h.Revision, Pruned: h.Pruned}
		}
	}
	return out, nil
}
