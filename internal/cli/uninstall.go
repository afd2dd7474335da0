// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
)

func newUninstallCmd(a *app) *cobra.Command {
	var consent confirmation
	var keepNamespace, dryRun bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the agent and the definitions of its resources; what it deployed stays",
		Long: "Uninstall removes the agent, its rights and records, the definitions of OCIRepository and Kustomization\n" +
			"with all such resources, and the namespace if it holds nothing else. What was deployed stays, without exception.\n" +
			"A definition that somebody else manages stays, and its resources with it.",
		Example: "  # See what would be removed\n" +
			"  kustomizer uninstall --dry-run\n\n" +
			"  # Remove it, after a question\n" +
			"  kustomizer uninstall\n\n" +
			"  # In a script, and leave the namespace\n" +
			"  kustomizer uninstall --keep-namespace --yes",
		Args: positional(),
	}
	consent.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&keepNamespace, "keep-namespace", false, "leave the namespace in place")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be removed, and touch nothing")
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, _ []string) error {
		namespace, err := a.deliveryNamespace()
		if err != nil {
			return err
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		found, err := deploy.PrepareUninstall(ctx, c, namespace, keepNamespace)
		if err != nil {
			return err
		}
		if dryRun {
			a.showRemoval(found)
			return nil
		}
		if found.Empty() {
			a.showKept(found.Kept)
			a.ui.Success("nothing to remove: kustomizer is not installed in the namespace %s", namespace)
			return nil
		}
		if err := a.confirm(cmd, consent, "%s", removalQuestion(found)); err != nil {
			return err
		}
		a.ui.Action("removing kustomizer from the namespace %s", namespace)
		if err := found.Remove(ctx, c, func(r deploy.Removal) { a.ui.Result("%s %s", r.ID, r.Action) }); err != nil {
			return err
		}
		a.showKept(found.Kept)
		a.ui.Success("uninstall finished")
		return nil
	})
	return cmd
}

// removalQuestion says what a person is about to remove.
func removalQuestion(u *deploy.Uninstallation) string {
	question := "remove kustomizer from the namespace " + u.Namespace
	if len(u.Definitions) > 0 {
		question += fmt.Sprintf(", and with the definitions all their %d resources (what these deployed stays)", len(u.Resources))
	}
	return question
}

// showRemoval prints what a removal would do.
func (a *app) showRemoval(u *deploy.Uninstallation) {
	for _, o := range u.Agent {
		a.ui.Result("%s %s (dry run)", object.Of(o), deploy.Removed)
	}
	for _, o := range u.Resources {
		a.ui.Result("%s %s (dry run)", object.Of(o), deploy.Released)
	}
	for _, o := range append(u.Definitions, u.Records...) {
		a.ui.Result("%s %s (dry run)", object.Of(o), deploy.Removed)
	}
	if u.Home != nil {
		a.ui.Result("%s %s (dry run)", object.Of(u.Home), deploy.Removed)
	}
	a.showKept(u.Kept)
}

func (a *app) showKept(kept []deploy.Kept) {
	for _, k := range kept {
		a.ui.Warn("%s stays: %s", k.ID, k.Reason)
	}
}
