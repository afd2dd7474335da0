// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/report"
)

func newDeleteCmd(a *app) *cobra.Command {
	return verb("delete", "Delete resources",
		verb("source", "Delete sources", newDeleteKindCmd(a, ociRepositories(), "oci NAME")),
		newDeleteKindCmd(a, kustomizations(), "kustomization NAME"),
		newDeleteInventoryCmd(a),
		newDeleteArtifactCmd(a))
}

func newDeleteKindCmd(a *app, k kind, use string) *cobra.Command {
	var sure confirmation
	cmd := &cobra.Command{
		Use:   use,
		Short: "Delete a " + k.title,
		Example: "  # After a question\n" +
			"  kustomizer delete " + k.noun + " demo-app\n\n" +
			"  # Without being asked, as in a script\n" +
			"  kustomizer delete " + k.noun + " demo-app --yes\n\n" +
			"  # In another namespace\n" +
			"  kustomizer delete " + k.noun + " demo-app -n apps --yes",
		Args: positional("NAME"), ValidArgsFunction: a.completeNames(k, 1),
	}
	if k.Kind == kustomizations().Kind {
		cmd.Aliases = []string{"ks"}
		cmd.Long = "Delete a Kustomization. What it applied is deleted with it where its deletionPolicy and prune say so;\n" +
			"the question says which it is."
	}
	sure.AddFlags(cmd.Flags())
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		c, ns, err := a.delivery()
		if err != nil {
			return err
		}
		r, err := read(ctx, c, k, ns, args[0])
		if err != nil {
			return err
		}
		consequence, err := consequenceOf(r)
		if err != nil {
			return err
		}
		if err := a.confirm(cmd, sure, "delete %s%s", r.id, consequence); err != nil {
			return err
		}
		a.ui.Action("deleting %s %s in %s namespace", k.noun, r.id.Name, r.id.Namespace)
		if err := remove(ctx, c, k, r); err != nil {
			return err
		}
		a.ui.Success("%s deleted", k.noun)
		return nil
	})
	return cmd
}

// consequenceOf says what the deletion of a resource takes with it.
func consequenceOf(r resource) (string, error) {
	if r.id.Kind != kustomizations().Kind {
		return "", nil
	}
	var ks kustomizev1.Kustomization
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(r.object.Object, &ks); err != nil {
		return "", fmt.Errorf("reading %s: %w", r.id, err)
	}
	policy := ks.GetDeletionPolicy()
	deletes := policy == kustomizev1.DeletionPolicyDelete || policy == kustomizev1.DeletionPolicyWaitForTermination ||
		policy == kustomizev1.DeletionPolicyMirrorPrune && ks.Spec.Prune
	if !deletes || ks.Spec.Suspend {
		return "; the objects that it applied stay", nil
	}
	count := 0
	if ks.Status.Inventory != nil {
		count = len(ks.Status.Inventory.Entries)
	}
	return fmt.Sprintf(" and with it the %d objects that it applied", count), nil
}

// remove deletes the resource that was looked at. Its status may change in the meantime, which is
// no reason to stop; a change of what it asks for is.
func remove(ctx context.Context, c *cluster.Cluster, k kind, r resource) error {
	for range attempts {
		err := c.Delete(ctx, r.id, k.Version, cluster.DeleteOptions{UID: r.object.GetUID(), ResourceVersion: r.object.GetResourceVersion()})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil || !apierrors.IsConflict(err) {
			return wrap(err, "deleting", r)
		}
		now, err := read(ctx, c, k, r.id.Namespace, r.id.Name)
		if err != nil {
			return err
		}
		if now.object.GetUID() != r.object.GetUID() || now.generation != r.generation {
			return &report.RefusedError{Message: r.id.String() + " was changed since it was looked at: nothing was deleted", Hint: "look at it and try again"}
		}
		r = now
	}
	return &report.RefusedError{Message: r.id.String() + " changes all the time: nothing was deleted", Hint: "suspend it first, then try again"}
}

func wrap(err error, doing string, r resource) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", doing, r.id, err)
}
