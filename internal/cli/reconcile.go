// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/report"
)

func newReconcileCmd(a *app) *cobra.Command {
	return verb("reconcile", "Have the agent look at a resource now",
		verb("source", "Fetch a source now", newReconcileSourceCmd(a)), newReconcileKustomizationCmd(a))
}

func newReconcileSourceCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "oci NAME",
		Short: "Look for a new version now and wait until it is fetched",
		Example: "  # Look for what the tag points to now\n" +
			"  kustomizer reconcile source oci demo-app\n\n" +
			"  # In another namespace\n" +
			"  kustomizer reconcile source oci demo-app -n apps\n\n" +
			"  # Give a slow registry longer\n" +
			"  kustomizer reconcile source oci demo-app --timeout=10m",
		Args:              positional("NAME"),
		ValidArgsFunction: a.completeNames(ociRepositories(), 1),
	}
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		c, ns, err := a.delivery()
		if err != nil {
			return err
		}
		return a.reconcile(ctx, c, ociRepositories(), ns, args[0])
	})
	return cmd
}

func newReconcileKustomizationCmd(a *app) *cobra.Command {
	var withSource bool
	cmd := &cobra.Command{
		Use:     "kustomization NAME",
		Aliases: []string{"ks"},
		Short:   "Apply a Kustomization now and wait until that is done",
		Example: "  # Apply what the source holds now\n  kustomizer reconcile kustomization demo-app\n\n" +
			"  # Look for a new version of its source first\n" +
			"  kustomizer reconcile kustomization demo-app --with-source\n\n" +
			"  # In another namespace\n" +
			"  kustomizer reconcile kustomization demo-app -n apps",
		Args:              positional("NAME"),
		ValidArgsFunction: a.completeNames(kustomizations(), 1),
	}
	cmd.Flags().BoolVar(&withSource, "with-source", false, "look for a new version of the source first")
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		c, ns, err := a.delivery()
		if err != nil {
			return err
		}
		if withSource {
			if err := a.reconcileSourceOf(ctx, c, ns, args[0]); err != nil {
				return err
			}
		}
		return a.reconcile(ctx, c, kustomizations(), ns, args[0])
	})
	return cmd
}

// delivery makes what commands on the agent's resources begin with: the connection and the namespace.
func (a *app) delivery() (*cluster.Cluster, string, error) {
	ns, err := a.deliveryNamespace()
	if err != nil {
		return nil, "", err
	}
	c, err := a.connect()
	return c, ns, err
}

// reconcileSourceOf reconciles the source of a Kustomization.
func (a *app) reconcileSourceOf(ctx context.Context, c *cluster.Cluster, namespace, name string) error {
	r, err := read(ctx, c, kustomizations(), namespace, name)
	if err != nil {
		return err
	}
	if r.suspended {
		return suspendedError(kustomizations(), r)
	}
	var ks kustomizev1.Kustomization
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(r.object.Object, &ks); err != nil {
		return err
	}
	ref := ks.Spec.SourceRef
	if ref.Kind != sourcev1.OCIRepositoryKind {
		return badUsage("leave --with-source out", "the source of %s is a %s, which is not fetched by this program", r.id, ref.Kind)
	}
	if ref.Namespace != "" {
		namespace = ref.Namespace
	}
	return a.reconcile(ctx, c, ociRepositories(), namespace, ref.Name)
}

// reconcile asks the agent to look at a resource now, and waits for the answer.
func (a *app) reconcile(ctx context.Context, c *cluster.Cluster, k kind, namespace, name string) error {
	r, err := read(ctx, c, k, namespace, name)
	if err != nil {
		return err
	}
	if r.suspended {
		return suspendedError(k, r)
	}
	a.ui.Action("annotating %s %s in %s namespace", k.title, r.id.Name, namespace)
	r, request, err := requestReconcile(ctx, c, r)
	if err != nil {
		return err
	}
	a.ui.Success("%s annotated", k.title)
	a.ui.Wait("waiting for %s reconciliation", k.title)
	if r, err = a.awaitReady(ctx, c, k, r, request); err != nil {
		return err
	}
	a.ui.Success("%s revision %s", k.verb, r.revision)
	return nil
}

func suspendedError(k kind, r resource) error {
	return &report.RefusedError{
		Message: r.id.String() + " is suspended",
		Hint:    "resume it: kustomizer resume " + strings.Join([]string{k.noun, r.id.Name, "-n", r.id.Namespace}, " "),
	}
}
