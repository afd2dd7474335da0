// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// deleteInventory is the flags of "delete inventory".
type deleteInventory struct {
	lockFlags
	confirmation
	wait     bool
	approved string
	protect  []string
	kinds    []schema.GroupKind // of protect
}

// AddFlags adds the flags to a command.
func (f *deleteInventory) AddFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&f.wait, "wait", true, "wait until all objects are gone")
	fs.StringVar(&f.approved, "approve-prune", "", "`HASH` of the protected objects to delete as well, as the refusal named it")
	addProtectFlag(fs, &f.protect)
	f.confirmation.AddFlags(fs)
	f.lockFlags.AddFlags(cmd)
}

func newDeleteInventoryCmd(a *app) *cobra.Command {
	var f deleteInventory
	cmd := &cobra.Command{
		Use:     "inventory NAME",
		Aliases: []string{"inv"},
		Short:   "Delete the objects of an inventory, and the inventory",
		Long: "Delete what the record proves to be the inventory's, in the reverse of the order in which it was applied, and\n" +
			"then the inventory itself. Objects that hold data (volumes, what claims or owns them, databases of the common\n" +
			"operators) or other people's objects (a namespace that is not empty, a definition of which there are objects)\n" +
			"stay, and stay in the inventory, until exactly they are approved.",
		Example: "  # Delete all objects of an inventory, after a question\n  kustomizer delete inventory app\n\n" +
			"  # Without being asked, as in a script, and without waiting for finalizers\n" +
			"  kustomizer delete inventory app -n apps --yes --wait=false\n\n" +
			"  # With the volumes that the refusal named\n" +
			"  kustomizer delete inventory app --yes --approve-prune=<hash>",
		Args:              positional("NAME"),
		ValidArgsFunction: a.completeInventories,
	}
	f.AddFlags(cmd)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		_, kinds, err := guard("on", f.protect)
		if err != nil {
			return err
		}
		f.kinds = kinds
		owner, err := a.inventoryOwner(args[0])
		if err != nil {
			return err
		}
		engine, err := a.inventoryEngine()
		if err != nil {
			return err
		}
		a.ui.Note("retrieving inventory...")
		return a.deleteInventory(ctx, cmd, f, engine, owner)
	})
	return cmd
}

func (a *app) deleteInventory(ctx context.Context, cmd *cobra.Command, f deleteInventory, engine *deploy.Engine, owner plan.Owner) error {
	waitFor := ""
	if f.wait {
		waitFor = "waiting for resources to be terminated..."
	}
	c, err := a.config()
	if err != nil {
		return err
	}
	progress := a.inventoryProgress(ctx, c.order(), waitFor)
	out := engine.DeleteInventory(ctx, deploy.InventoryDeletion{
		Owner: owner, Wait: f.wait, Approved: f.approved, ProtectKinds: f.kinds, Order: c.order(), Lock: f.LockTimes,
		Approve: func(_ context.Context, p *plan.Plan) error {
			err := a.approveDeletion(cmd, f, p)
			if err == nil {
				progress.planned(p.Stale...)
			}
			return err
		},
	}, progress.hooks())
	progress.end()
	for _, note := range out.Notes {
		a.ui.Warn("%s", note)
	}
	for _, s := range out.Left {
		a.ui.Warn("%s stays: %s", s.ID, s.Reason)
	}
	if out.Err != nil {
		return a.howToRelease(cmd, out.Err)
	}
	if out.LeftRecord != "" {
		a.ui.Note("what stays is listed in ConfigMap/%s/%s", owner.Namespace, out.LeftRecord)
	}
	a.ui.Result("ConfigMap/%s/%s deleted", owner.Namespace, owner.Name)
	if f.wait {
		a.ui.Note("all resources have been deleted")
	}
	return nil
}

// approveDeletion shows what would be deleted, and asks.
func (a *app) approveDeletion(cmd *cobra.Command, f deleteInventory, p *plan.Plan) error {
	going := p.Deletions()
	if !f.yes {
		for _, s := range going {
			a.ui.Action("%s would be deleted", s.ID)
		}
	}
	if p.Spared != nil && !p.Spared.Released {
		for _, s := range p.Stale {
			if slices.Contains(p.Spared.Objects, s.ID) {
				a.ui.Warn("%s stays unless it is approved: %s", s.ID, s.Reason)
			}
		}
	}
	what := fmt.Sprintf("delete the inventory %s in the namespace %s and %d object(s)", p.Owner.Name, p.Owner.Namespace, len(going))
	if err := a.confirm(cmd, f.confirmation, "%s", what); err != nil {
		return err
	}
	a.ui.Note("deleting %d manifest(s)...", len(going))
	return nil
}
