// SPDX-License-Identifier: Apache-2.0

// Command published is what Kustomizer 2 did with a set of objects: its algorithm, over
// fluxcd/pkg/ssa and with the client limits it set. It is here to be measured beside.
//
//	published apply|diff NAMESPACE FILE
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Its client's limits: cmd/kustomizer/client.go of Kustomizer 2.
const (
	requestsPerSecond = 50
	burst             = 100
)

var owner = ssa.Owner{Field: "kustomizer", Group: "inventory.kustomizer.dev"}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "published:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: published apply|diff NAMESPACE FILE")
	}
	file, err := os.Open(args[2])
	if err != nil {
		return err
	}
	defer file.Close()
	objects, err := utils.ReadObjects(file)
	if err != nil {
		return fmt.Errorf("reading %s: %w", args[2], err)
	}
	manager, err := connect()
	if err != nil {
		return err
	}
	sort.Sort(ssa.SortableUnstructureds(objects))
	manager.SetOwnerLabels(objects, "bench", args[1])
	if args[0] == "diff" {
		return diff(ctx, manager, objects)
	}
	return apply(ctx, manager, args[1], objects)
}

func connect() (*ssa.ResourceManager, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS, config.Burst, config.UserAgent = requestsPerSecond, burst, "published"
	kube, err := client.New(config, client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return ssa.NewResourceManager(kube, nil, owner), nil
}

// apply applies definitions and namespaces together, then everything else one by one and kind by
// kind, and then writes the inventory. The order matters: the client has its limits for each kind.
func apply(ctx context.Context, manager *ssa.ResourceManager, namespace string, objects []*unstructured.Unstructured) error {
	var first, rest []*unstructured.Unstructured
	for _, u := range objects {
		if utils.IsClusterDefinition(u) {
			first = append(first, u)
		} else {
			rest = append(rest, u)
		}
	}
	options := ssa.DefaultApplyOptions()
	options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{"kubectl.kubernetes.io/last-applied-configuration"},
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: "Apply"}, {Name: "kubectl", OperationType: "Update"}, {Name: "before-first-apply", OperationType: "Update"},
		},
	}
	if len(first) > 0 {
		if _, err := manager.ApplyAll(ctx, first, options); err != nil {
			return fmt.Errorf("applying definitions: %w", err)
		}
	}
	for _, u := range rest {
		entry, err := manager.Apply(ctx, u, options)
		if err != nil {
			return fmt.Errorf("applying %s: %w", utils.FmtUnstructured(u), err)
		}
		fmt.Println(entry.String())
	}
	return store(ctx, manager, namespace, objects)
}

// store writes the ConfigMap that lists the objects.
func store(ctx context.Context, manager *ssa.ResourceManager, namespace string, objects []*unstructured.Unstructured) error {
	type resource struct {
		ID      string `json:"id"`
		Version string `json:"ver"`
	}
	var resources []resource
	for _, u := range objects {
		kind := u.GroupVersionKind()
		resources = append(resources, resource{fmt.Sprintf("%s_%s_%s_%s", u.GetNamespace(), u.GetName(), kind.Group, kind.Kind), kind.Version})
	}
	data, err := json.Marshal(resources)
	if err != nil {
		return err
	}
	inventory := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": "inv-bench", "namespace": namespace,
			"labels":      map[string]any{"app.kubernetes.io/name": "bench", "app.kubernetes.io/component": "inventory", "app.kubernetes.io/created-by": owner.Field},
			"annotations": map[string]any{owner.Group + "/last-applied-time": time.Now().UTC().Format(time.RFC3339)},
		},
		"data": map[string]any{"resources": string(data)},
	}}
	return manager.Client().Patch(ctx, inventory, client.Apply, client.FieldOwner(owner.Field), client.ForceOwnership) //nolint:staticcheck // as it was
}

func diff(ctx context.Context, manager *ssa.ResourceManager, objects []*unstructured.Unstructured) error {
	for _, u := range objects {
		entry, _, _, err := manager.Diff(ctx, u, ssa.DefaultDiffOptions())
		if err != nil {
			return fmt.Errorf("comparing %s: %w", utils.FmtUnstructured(u), err)
		}
		if entry.Action != ssa.UnchangedAction {
			fmt.Println(entry.String())
		}
	}
	return nil
}
