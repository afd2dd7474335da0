// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func newExportCmd(a *app) *cobra.Command {
	return verb("export", "Print resources as YAML, without what the cluster added",
		verb("source", "Print sources as YAML", newExportKindCmd(a, ociRepositories(), "oci [NAME...]")),
		newExportKindCmd(a, kustomizations(), "kustomization [NAME...]"))
}

func newExportKindCmd(a *app, k kind, use string) *cobra.Command {
	var all bool
	word, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use:     use,
		Aliases: without(k.aliases, word),
		Short:   "Print " + k.title + " resources as YAML",
		Example: "  # All of the namespace, to keep in Git\n" +
			"  kustomizer export " + k.noun + " --all > " + strings.ReplaceAll(k.noun, " ", "-") + ".yaml\n\n" +
			"  # One\n" +
			"  kustomizer export " + k.noun + " demo-app\n\n" +
			"  # All of another namespace\n" +
			"  kustomizer export " + k.noun + " --all -n apps",
		Args:              positional("[NAME...]"),
		ValidArgsFunction: a.completeNames(k, 0),
	}
	cmd.Flags().BoolVar(&all, "all", false, "all in the namespace")
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		_, chosen, err := a.choose(ctx, cmd, k, args, all)
		if err != nil {
			return err
		}
		return each(chosen, func(r resource) error { return a.export(asWritten(r.object)) })
	})
	return cmd
}

// asWritten returns a resource as a person would have written it: without status, and without
// metadata that clusters and commands add.
func asWritten(u *unstructured.Unstructured) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: map[string]any{"spec": u.Object["spec"]}}
	out.SetGroupVersionKind(u.GroupVersionKind())
	out.SetName(u.GetName())
	out.SetNamespace(u.GetNamespace())
	out.SetLabels(u.GetLabels())
	annotations := u.GetAnnotations()
	delete(annotations, fluxmeta.ReconcileRequestAnnotation)
	delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
	if len(annotations) > 0 {
		out.SetAnnotations(annotations)
	}
	return out
}
