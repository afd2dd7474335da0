// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
)

// FenceError says that another engine runs which the agent can't keep idle by holding its Leases.
type FenceError struct {
	Deployment object.ID
	Reason     string
}

// Error implements error.
func (e *FenceError) Error() string {
	return fmt.Sprintf("%s runs %s: two engines would undo each other's work", e.Deployment, e.Reason)
}

// Hint says what to do.
func (e *FenceError) Hint() string {
	return fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=0", e.Deployment.Namespace, e.Deployment.Name)
}

// Fence proves that an agent in a namespace may start: Flux's controllers either don't run, or they
// elect their leaders by Leases in that namespace, which the agent then holds.
func Fence(ctx context.Context, c *cluster.Cluster, namespace string) error {
	res, err := c.Resolve(ctx, schema.GroupKind{Group: "apps", Kind: "Deployment"}, "v1")
	if err != nil {
		return fmt.Errorf("looking for other engines: %w", err)
	}
	deployments, _, err := c.List(ctx, res, cluster.Selection{})
	if err != nil {
		return fmt.Errorf("looking for other engines: %w", err)
	}
	for _, d := range deployments {
		if !isFluxEngine(d) || scaledToZero(d) {
			continue
		}
		if d.GetNamespace() != namespace {
			return &FenceError{Deployment: object.Of(d), Reason: "in another namespace than this agent, where its Leases can't be held"}
		}
		if !electsLeader(d) {
			return &FenceError{Deployment: object.Of(d), Reason: "without leader election"}
		}
	}
	return nil
}

// electsLeader says whether a Flux controller is started with leader election.
func electsLeader(d *unstructured.Unstructured) bool {
	containers, _, _ := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
	return slices.ContainsFunc(containers, func(c any) bool {
		container, _ := c.(map[string]any)
		args, _, _ := unstructured.NestedStringSlice(container, "args")
		command, _, _ := unstructured.NestedStringSlice(container, "command")
		return slices.ContainsFunc(append(args, command...), func(arg string) bool {
			name, value, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			return name == "enable-leader-election" && (!given || value == "true")
		})
	})
}
