// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/report"
)

// approvalAnnotation releases the held deletions of the plan whose hash is its value.
const approvalAnnotation = "kustomizer.dev/approve-prune"

// shortestPlan is how many digits of a plan's hash must be given at least.
const shortestPlan = 12

func newApproveCmd(a *app) *cobra.Command {
	return verb("approve", "Release what the agent holds back", newApprovePruneCmd(a))
}

func newApprovePruneCmd(a *app) *cobra.Command {
	var sure confirmation
	var plan string
	var deletion deletionFlags
	cmd := &cobra.Command{
		Use:   "prune ks/NAME",
		Short: "Release deletions that the agent holds back",
		Long: "Release the deletions that the agent holds back for a Kustomization (reason PruneHeld). What would be\n" +
			"deleted is shown first. The approval is for exactly that plan: where the artifact, the Kustomization or\n" +
			"one of the objects has changed when the agent acts, it holds again.\n\n" +
			"With --deletion it is approved, before the Kustomization is deleted, that the protected objects which its\n" +
			"deletion would leave in the cluster (volumes, databases, a namespace that is not empty) go with it.",
		Example: "  # Have deleted what the brake holds, after a look at it\n  kustomizer approve prune ks/demo-app\n\n" +
			"  # In a script, for a plan that was looked at before\n" +
			"  kustomizer approve prune ks/demo-app --plan=1f1ed2aa5510\n\n" +
			"  # Delete a Kustomization with its volumes\n" +
			"  kustomizer approve prune ks/demo-app --deletion && kustomizer delete kustomization demo-app",
		Args:              positional("ks/NAME"),
		ValidArgsFunction: a.completeNames(kustomizations(), 1),
	}
	sure.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&plan, "plan", "", "hash of the plan that is approved, or at least its first 12 digits; asks no question")
	deletion.AddFlags(cmd.Flags())
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		c, ns, err := a.delivery()
		if err != nil {
			return err
		}
		r, err := read(ctx, c, kustomizations(), ns, args[0])
		if err != nil {
			return err
		}
		hash, lines, err := heldPlan(r)
		if deletion.deletion {
			hash, lines, err = a.deletionPlan(ctx, r, deletion)
		}
		if err != nil {
			return err
		}
		if err := matchPlan(hash, plan, r); err != nil {
			return err
		}
		for _, line := range lines {
			a.ui.Result("%s", line)
		}
		if plan == "" {
			if err := a.confirm(cmd, sure, "delete these objects of %s", r.id); err != nil {
				return err
			}
		}
		if _, err := annotate(ctx, c, r, approvalAnnotation, hash); err != nil {
			return err
		}
		if deletion.deletion {
			a.ui.Success("approved plan %s: these go with %s when it is deleted", hash[:shortestPlan], r.id)
			return nil
		}
		a.ui.Success("approved plan %s of %s: the agent acts on it now", hash[:shortestPlan], r.id)
		return nil
	})
	return cmd
}

// heldPlan returns the hash of the plan that is held for a Kustomization now, and what it would delete.
func heldPlan(r resource) (string, []string, error) {
	ready := r.ready()
	hash, found := report.HeldPlan(ready.Message)
	if ready.Reason != report.ReasonPruneHeld || !found || ready.ObservedGeneration != r.generation {
		return "", nil, &report.RefusedError{
			Message: "no deletions are held for " + r.id.String(),
			Hint:    "see its status: kustomizer get kustomizations " + r.id.Name + " -n " + r.id.Namespace,
		}
	}
	return hash, report.Lines(ready.Message), nil
}

// matchPlan checks that the plan that is held is the one that was approved, if one was named.
func matchPlan(held, approved string, r resource) error {
	approved = strings.TrimPrefix(approved, "sha256:")
	switch {
	case approved == "":
		return nil
	case len(approved) < shortestPlan:
		return badUsage("", "--plan needs at least %d digits of the hash", shortestPlan)
	case !strings.HasPrefix(held, approved):
		return &report.RefusedError{
			Message: "the plan that is held for " + r.id.String() + " is another one: " + held[:shortestPlan],
			Hint:    "look at it first: kustomizer approve prune ks/" + r.id.Name + " -n " + r.id.Namespace,
		}
	}
	return nil
}
