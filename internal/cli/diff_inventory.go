// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/report"
)

// diffInventory is the flags of "diff inventory".
type diffInventory struct {
	applyInventory // those that decide what an apply would do
	output
}

// AddFlags adds the flags to a command.
func (f *diffInventory) AddFlags(cmd *cobra.Command) {
	f.sourceFlags.AddFlags(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&f.prune, "prune", false, "show also which objects of the inventory would be deleted")
	fs.BoolVar(&f.force, "force", false, "as with apply: objects of which a field can't be changed in place would be replaced")
	fs.BoolVar(&f.adopt, "adopt", false, "as with apply: objects that belong to another inventory would be taken over")
	f.addPruneFlags(cmd)
	f.output.AddFlags(cmd, "", formatJSON, formatYAML)
}

// differenceResult is what is printed of an object with -o.
type differenceResult struct {
	Group     string        `json:"group"`
	Kind      string        `json:"kind"`
	Namespace string        `json:"namespace,omitempty"`
	Name      string        `json:"name"`
	Action    string        `json:"action"`
	Reason    string        `json:"reason,omitempty"`
	Fields    []fieldResult `json:"fields,omitempty"`
}

type fieldResult struct {
	Path   string `json:"path"`
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
	Owner  string `json:"owner,omitempty"` // who owns the field now, if not the inventory
}

func newDiffInventoryCmd(a *app) *cobra.Command {
	var f diffInventory
	cmd := &cobra.Command{
		Use:     "inventory NAME",
		Aliases: []string{"inv"},
		Short:   "Show what an apply would change",
		Long: "Build what was given, ask the cluster what an apply would change, and show it: the same decisions, stopped\n" +
			"before the first write. The values of Secrets are masked. The exit code is 0 if nothing would change, 1 if\n" +
			"something would, and another one after an error.",
		Example: "  # What an apply would change and delete\n  kustomizer diff inventory app -k ./deploy --prune\n\n" +
			"  # Between what runs and the next version\n" +
			"  kustomizer diff inventory app -a oci://ghcr.io/me/app:1.1.0\n\n" +
			"  # Which fields, and who owns them now\n" +
			"  kustomizer diff inventory app -f ./manifests -o json",
		Args:              positional("NAME"),
		ValidArgsFunction: a.completeInventories,
	}
	f.AddFlags(cmd)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		found, err := f.differences(ctx, a, cmd, args[0])
		if err == nil {
			err = errors.Join(a.showDifferences(f.output, found), a.tellDifferences(cmd, found, wordOf))
		}
		if err != nil {
			return report.OfDiff(err)
		}
		if len(found) > 0 {
			return exitCode(report.ExitFailed)
		}
		return nil
	})
	return cmd
}

func (f *diffInventory) differences(ctx context.Context, a *app, cmd *cobra.Command, name string) ([]deploy.Difference, error) {
	if err := f.output.check(); err != nil {
		return nil, err
	}
	f.Heartbeat, f.Patience = deploy.DefaultHeartbeat, deploy.DefaultPatience
	req, engine, err := f.request(ctx, a, cmd, name)
	if err != nil {
		return nil, err
	}
	p, err := engine.PlanInventory(ctx, req)
	if err != nil {
		return nil, err
	}
	if refused := p.Refused(); len(refused) > 0 {
		return nil, &deploy.RefusedError{Steps: refused}
	}
	if conflicts := p.Conflicts(); len(conflicts) > 0 {
		return nil, &deploy.ConflictError{Steps: conflicts}
	}
	for _, s := range p.Steps {
		if s.Action == plan.Skip {
			a.ui.Note("%s is left as it is: %s", s.ID, s.Reason)
		}
	}
	return deploy.Differences(p, req.Policy.Overrides), nil
}

func (a *app) showDifferences(o output, found []deploy.Difference) error {
	if o.structured() {
		results := []differenceResult{}
		for _, d := range found {
			results = append(results, differenceResultOf(d))
		}
		return a.print(o, results)
	}
	for _, d := range found {
		line := a.ui.glyphs.action + " " + d.ID.String() + " " + wordOf(d)
		if d.Reason != "" {
			line += " (" + strings.TrimPrefix(d.Reason, "held: ") + ")"
		}
		a.ui.Result("%s", line)
		if err := a.showUnified(d); err != nil {
			return err
		}
	}
	return nil
}

// wordOf says how an object differs, in Kustomizer's words.
func wordOf(d deploy.Difference) string {
	switch d.Action {
	case plan.Create, plan.Later:
		return "created"
	case plan.Configure:
		return "drifted"
	case plan.Replace:
		return "replaced"
	case plan.Delete:
		return "deleted"
	case plan.Hold:
		return "deleted, but held"
	default:
		return string(d.Action)
	}
}

func differenceResultOf(d deploy.Difference) differenceResult {
	out := differenceResult{
		Group: d.ID.Group, Kind: d.ID.Kind, Namespace: d.ID.Namespace, Name: d.ID.Name,
		Action: string(d.Action), Reason: d.Reason,
	}
	for _, c := range d.Fields {
		out.Fields = append(out.Fields, fieldResult{Path: c.Path, Before: c.Before, After: c.After, Owner: c.Manager})
	}
	return out
}

// showUnified prints the lines that differ, for an object that is there and stays.
func (a *app) showUnified(d deploy.Difference) error {
	if d.Before == nil || d.After == nil {
		return nil
	}
	before, err := object.EncodeYAML([]*unstructured.Unstructured{d.Before})
	if err != nil {
		return err
	}
	after, err := object.EncodeYAML([]*unstructured.Unstructured{d.After})
	if err != nil {
		return err
	}
	text := udiff.Unified("live", "wanted", string(before), string(after))
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if i > 1 { // the first two lines name the files
			a.ui.Result("%s", line)
		}
	}
	return nil
}
