// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/record"
)

func newInspectInventoryCmd(a *app) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:     "inventory NAME",
		Aliases: []string{"inv"},
		Short:   "Show what an inventory holds, and where it comes from",
		Long: "Show where an inventory comes from, which artifacts it was made of, and its objects: those of the set, those\n" +
			"that left it and were kept, and those of which an interrupted run was about to apply.",
		Example: "  # Where it comes from, and its objects\n  kustomizer inspect inventory app\n\n" +
			"  # In another namespace, for a script\n" +
			"  kustomizer inspect inventory app -n apps -o json\n\n" +
			"  # Only what is in it\n" +
			"  kustomizer inspect inventory app -o name",
		Args:              positional("NAME"),
		ValidArgsFunction: a.completeInventories,
	}
	out.AddFlags(cmd, "", formatJSON, formatYAML, formatName)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		if err := out.check(); err != nil {
			return err
		}
		owner, err := a.inventoryOwner(args[0])
		if err != nil {
			return err
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		found, ok, err := record.LoadInventory(ctx, c, owner)
		if err != nil {
			return err
		}
		if !ok {
			return &deploy.NoInventoryError{Owner: owner}
		}
		return a.showInventory(out, inventoryResultOf(found))
	})
	return cmd
}

func (a *app) showInventory(o output, r inventoryResult) error {
	switch {
	case o.structured():
		return a.print(o, r)
	case o.format == formatName:
		for _, e := range r.Entries {
			a.ui.Result("%s", e.id)
		}
		return nil
	}
	a.ui.Result("Inventory: %s/%s", r.Namespace, r.Name)
	a.ui.Result("LastAppliedAt: %s", r.LastApplied)
	a.ui.Result("Source: %s", r.Source)
	a.ui.Result("Revision: %s", r.Revision)
	if len(r.Artifacts) > 0 {
		a.ui.Result("Artifacts:")
	}
	for _, artifact := range r.Artifacts {
		a.ui.Result("- %s", artifact)
	}
	a.showEntries("Resources:", r.Entries, stateApplied)
	a.showEntries("Shared with another owner, which keeps them:", r.Entries, stateShared)
	a.showEntries("Retained:", r.Entries, stateRetained)
	a.showEntries("Pending:", r.Entries, statePending)
	if r.RunningNow != "" {
		a.ui.Note("a run is at work on it, or was when it was ended: %s", r.RunningNow)
	}
	if r.Problem != "" {
		a.ui.Warn("%s", r.Problem)
	}
	return nil
}

// showEntries prints the entries in one state, if there are any.
func (a *app) showEntries(title string, entries []inventoryLine, state string) {
	shown := false
	for _, e := range entries {
		if e.State != state {
			continue
		}
		if !shown {
			a.ui.Result("%s", title)
		}
		shown = true
		a.ui.Result("- %s", e.id)
	}
}
