// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
)

func newBuildInventoryCmd(a *app) *cobra.Command {
	var sources sourceFlags
	var out output
	cmd := &cobra.Command{
		Use:     "inventory NAME",
		Aliases: []string{"inv"},
		Short:   "Print the objects of an inventory, as an apply would send them",
		Long: "Build kustomizations, files and artifacts, apply patches over all of them, and print the objects in the\n" +
			"order in which they are applied, with the labels of the inventory. No cluster is asked.",
		Example: "  # What an apply of an overlay would send\n  kustomizer build inventory app -k ./deploy\n\n" +
			"  # An artifact with the patches of an environment\n" +
			"  kustomizer build inventory app -a oci://ghcr.io/me/app:1.0.0 -p ./staging.yaml\n\n" +
			"  # Only if it is signed\n" +
			"  kustomizer build inventory app -a oci://ghcr.io/me/app:1.0.0 --verify --cosign-key=cosign.pub\n\n" +
			"  # What another tool prints\n" +
			"  helm template app ./chart | kustomizer build inventory app -f - -o name",
		Args: positional("NAME"),
	}
	sources.AddFlags(cmd)
	out.AddFlags(cmd, formatYAML, formatJSON, formatName)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		src, err := sources.sources(ctx, a, cmd)
		if err == nil {
			err = out.check()
		}
		if err != nil {
			return err
		}
		owner, err := a.inventoryOwner(args[0])
		if err != nil {
			return err
		}
		collected, err := sources.collect(ctx, a, src)
		if err != nil {
			return err
		}
		objs, err := deploy.BuildInventory(owner, collected)
		if err != nil {
			return err
		}
		return a.printObjects(out, objs)
	})
	return cmd
}

// names returns how objects are named in lists.
func names(objs []*unstructured.Unstructured) []string {
	out := make([]string, 0, len(objs))
	for _, u := range objs {
		out = append(out, object.Of(u).String())
	}
	return out
}

// printObjects writes objects as YAML documents, as a list in JSON, or by name.
func (a *app) printObjects(o output, objs []*unstructured.Unstructured) error {
	switch o.format {
	case formatName:
		a.ui.Results(names(objs))
		return nil
	case formatJSON:
		items := make([]any, len(objs))
		for i, u := range objs {
			items[i] = u.Object
		}
		return a.print(o, map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	}
	data, err := object.EncodeYAML(objs)
	if err != nil {
		return err
	}
	a.ui.Data(data)
	return nil
}
