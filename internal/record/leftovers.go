// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// labelLeftovers marks the ConfigMaps that list what an owner left behind.
const labelLeftovers = "kustomizer.dev/leftovers"

// maxLeftoverBytes bounds what such a ConfigMap lists: it has to fit into one object.
const maxLeftoverBytes = 512 << 10

// SaveLeftovers writes down what stays in the cluster when its owner goes, and why, so that it can
// be found later. It returns the ConfigMap's name.
func SaveLeftovers(ctx context.Context, c *cluster.Cluster, r *Record, left []plan.Step) (string, error) {
	var rows strings.Builder
	for i, s := range left {
		if rows.Len() > maxLeftoverBytes {
			fmt.Fprintf(&rows, "and %d more\n", len(left)-i)
			break
		}
		fmt.Fprintf(&rows, "%s: %s\n", s.ID, s.Reason)
	}
	name := strings.TrimSuffix(r.chunkName(0), "-0") + "-leftovers"
	cm := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata": map[string]any{
			"name":        name,
			"namespace":   r.Namespace,
			"labels":      map[string]any{labelLeftovers: key(r.Owner), labelManagedBy: "kustomizer"},
			"annotations": map[string]any{annotationOwner: r.Owner.String()},
		},
		"data": map[string]any{"objects": rows.String()},
	}}
	if _, err := c.Apply(ctx, cm, cluster.ApplyOptions{Manager: Manager}); err != nil {
		return "", fmt.Errorf("writing down what %s leaves behind: %w", r.Owner, err)
	}
	return name, nil
}
