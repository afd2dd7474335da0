// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// Preview returns what an update would store, by a dry-run: with defaults, and with what the server
// keeps whatever is sent.
func (c *Cluster) Preview(ctx context.Context, u *unstructured.Unstructured, manager string) (*unstructured.Unstructured, error) {
	return c.send(ctx, u, func(path []string, body []byte) *rest.Request {
		return c.rest.Put().AbsPath(path...).Param("fieldManager", manager).Param("dryRun", metav1.DryRunAll).Body(body)
	})
}
