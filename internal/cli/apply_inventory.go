// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/report"
)

// applyInventory is the flags of "apply inventory".
type applyInventory struct {
	sourceFlags
	lockFlags
	confirmation
	wait, force, prune, adopt bool
	createNamespace, dryRun   bool
	source, revision          string
	approved, guard           string
	protect                   []string
}

// AddFlags adds the flags to a command.
func (f *applyInventory) AddFlags(cmd *cobra.Command) {
	f.sourceFlags.AddFlags(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&f.wait, "wait", false, "wait until all objects are ready, and all deleted ones gone")
	fs.BoolVar(&f.force, "force", false, "delete and create anew objects of which a field can't be changed in place")
	fs.BoolVar(&f.prune, "prune", false, "delete the objects that are in the inventory and no longer among those given")
	fs.BoolVar(&f.adopt, "adopt", false, "take over objects that belong to another inventory")
	fs.StringVar(&f.source, "source", "", "URL of where the manifests come from; credentials in it are left out")
	fs.StringVar(&f.revision, "revision", "", "what they come from there, such as main@sha1:<commit>")
	fs.BoolVar(&f.createNamespace, "create-namespace", false, "create the namespace of the inventory if it is not there")
	fs.BoolVar(&f.dryRun, "dry-run", false, "ask the cluster what would change, and change nothing")
	f.addPruneFlags(cmd)
	f.confirmation.AddFlags(fs)
	f.lockFlags.AddFlags(cmd)
}

func (f *applyInventory) addPruneFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.approved, "approve-prune", "", "`HASH` of the deletions to release, as the refusal named it")
	addGuardFlags(cmd.Flags(), &f.guard, &f.protect)
}

// addGuardFlags adds the flags that say what the brake does.
func addGuardFlags(fs *pflag.FlagSet, on *string, protect *[]string) {
	fs.StringVar(on, "prune-guard", "on", "hold deletions that look like a mistake: on or off")
	addProtectFlag(fs, protect)
}

func addProtectFlag(fs *pflag.FlagSet, protect *[]string) {
	fs.StringSliceVar(protect, "protect-kinds", nil, "`Kind.group` of objects that are deleted only after approval, beside those of the common operators of databases, queues and storage")
}

// guard reads the flags that say what the brake does.
func guard(on string, protect []string) (off bool, kinds []schema.GroupKind, err error) {
	if on != "on" && on != "off" {
		return false, nil, badUsage("", "--prune-guard %q is neither on nor off", on)
	}
	kinds, err = plan.ParseKinds(protect)
	if err != nil {
		return false, nil, badUsage("", "--protect-kinds: %v", err)
	}
	return on == "off", kinds, nil
}

func (f *applyInventory) policy() (plan.Policy, error) {
	off, kinds, err := guard(f.guard, f.protect)
	return plan.Policy{
		Prune: f.prune, Force: f.force, Adopt: f.adopt, Approved: f.approved, GuardOff: off, ProtectKinds: kinds,
	}, err
}

func newApplyInventoryCmd(a *app) *cobra.Command {
	var f applyInventory
	cmd := &cobra.Command{
		Use:     "inventory NAME",
		Aliases: []string{"inv"},
		Short:   "Apply kustomizations, files and artifacts, and keep an inventory of the objects",
		Long: "Build what was given, ask the cluster what would change, and make it so: definitions and namespaces first,\n" +
			"nothing before all of it was accepted in a dry-run. What is applied is on record before it is applied. With\n" +
			"--prune, objects that are in the inventory and no longer in the set are deleted; a deletion that looks like\n" +
			"a mistake is held, and the refusal says how to release it. On a terminal the plan is shown, and has to be\n" +
			"confirmed, before anything is deleted or replaced; elsewhere --prune and --force are the consent.",
		Example: "  # Apply an overlay, delete what is no longer in it, and wait until all is ready\n  kustomizer apply inventory app -k ./deploy --prune --wait\n\n" +
			"  # An artifact by tag, with where it comes from, into a namespace that is made for the inventory\n" +
			"  kustomizer apply inventory app -n apps --create-namespace -a oci://ghcr.io/me/app:1.0.0 \\\n" +
			"    --source=https://github.com/me/app --revision=v1.0.0\n\n" +
			"  # Only if the artifact is signed by the workflow that makes releases\n" +
			"  kustomizer apply inventory app -a oci://ghcr.io/me/app:1.0.0 --prune --verify \\\n" +
			"    --certificate-oidc-issuer=https://token.actions.githubusercontent.com \\\n" +
			"    --certificate-identity-regexp='https://github\\.com/me/app/\\.github/workflows/release\\.yaml@refs/tags/v.*'\n\n" +
			"  # See what would happen\n" +
			"  kustomizer apply inventory app -f ./manifests -p ./production.yaml --prune --dry-run\n\n" +
			"  # What another tool prints\n" +
			"  helm template app ./chart | kustomizer apply inventory app -f - --yes",
		Args:              positional("NAME"),
		ValidArgsFunction: a.completeInventories,
	}
	f.AddFlags(cmd)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		req, engine, err := f.request(ctx, a, cmd, args[0])
		if err != nil {
			return err
		}
		if f.dryRun {
			return a.dryRunInventory(ctx, engine, req)
		}
		return a.applyInventory(ctx, cmd, f, engine, req)
	})
	return cmd
}

// request checks the flags, collects the objects and connects.
func (f *applyInventory) request(ctx context.Context, a *app, cmd *cobra.Command, name string) (deploy.InventoryRequest, *deploy.Engine, error) {
	none := deploy.InventoryRequest{}
	src, err := f.sources(ctx, a, cmd)
	if err == nil {
		err = f.lockFlags.check()
	}
	if err != nil {
		return none, nil, err
	}
	policy, err := f.policy()
	if err != nil {
		return none, nil, err
	}
	c, err := a.config()
	if err != nil {
		return none, nil, err
	}
	policy.Order = c.order()
	owner, err := a.inventoryOwner(name)
	if err != nil {
		return none, nil, err
	}
	engine, err := a.inventoryEngine()
	if err != nil {
		return none, nil, err
	}
	collected, err := f.collect(ctx, a, src)
	return deploy.InventoryRequest{
		Owner: owner, Collected: collected, Policy: policy, Wait: f.wait, CreateNamespace: f.createNamespace,
		Source: withoutUserinfo(f.source), Revision: f.revision, Lock: f.LockTimes,
	}, engine, err
}

// applyInventory runs a request and tells how it goes on.
func (a *app) applyInventory(ctx context.Context, cmd *cobra.Command, f applyInventory, engine *deploy.Engine, req deploy.InventoryRequest) error {
	a.ui.Note("applying %d manifest(s)...", len(req.Collected.Objects))
	progress := a.inventoryProgress(ctx, req.Policy.Order, "waiting for resources to become ready...")
	consent := consent{app: a, cmd: cmd, sure: f.confirmation, given: map[object.ID]bool{}}
	first := true
	req.Approve = func(_ context.Context, p *plan.Plan) error {
		if err := consent.ask(p); err != nil {
			return err
		}
		if first {
			progress.planned(slices.Concat(p.Steps, p.Stale)...)
		}
		first = false
		return nil
	}
	out := engine.ApplyInventory(ctx, req, progress.hooks())
	progress.end()
	a.sayInventoryNotes(out)
	told := a.tellApplied(cmd, req, out)
	if out.Err != nil {
		return errors.Join(a.howToRelease(cmd, needsNamespace(out.Err, req.Owner.Namespace)), told)
	}
	if req.Wait {
		a.ui.Note("all resources are ready")
	}
	return told
}

// sayInventoryNotes prints what a person should know though nothing failed.
func (a *app) sayInventoryNotes(out deploy.Outcome) {
	kept := 0
	for _, note := range out.Notes {
		if strings.HasSuffix(note, " is kept: prune is off") {
			kept++
			continue
		}
		a.ui.Warn("%s", note)
	}
	if kept > 0 {
		a.ui.Note("%d object(s) of the inventory are no longer in the set and stay: --prune deletes them", kept)
	}
	for _, c := range out.Changes {
		if c.Unrehearsed != "" {
			a.ui.Warn("%s %s", c.ID, plan.Unrehearsable(c.Unrehearsed))
		}
	}
	if out.Plan == nil {
		return
	}
	for _, s := range out.Plan.Steps {
		if s.Action == plan.Skip {
			a.ui.Note("%s is left as it is: %s", s.ID, s.Reason)
		}
	}
}

// needsNamespace says how to get the namespace that an inventory is to lie in.
func needsNamespace(err error, namespace string) error {
	if !cluster.IsNamespaceMissing(err) {
		return err
	}
	return &report.NotFoundError{
		What: "the namespace " + namespace + " of the inventory",
		Hint: "have it created with --create-namespace, or name another one with -n",
	}
}

// howToRelease adds to a refusal of the brake the command that releases it.
func (a *app) howToRelease(cmd *cobra.Command, err error) error {
	var held *deploy.HeldError
	if !errors.As(err, &held) {
		return err
	}
	return &report.RefusedError{
		Message: err.Error(),
		Hint:    "if exactly these are to be deleted: " + a.again(cmd) + " --approve-prune=" + held.Brake.Hash,
	}
}

// consent asks a person before anything is deleted or replaced, once for each object.
type consent struct {
	app   *app
	cmd   *cobra.Command
	sure  confirmation
	given map[object.ID]bool
}

func (c consent) ask(p *plan.Plan) error {
	var asked []plan.Step
	for _, s := range slices.Concat(p.Steps, p.Stale) {
		if (s.Action == plan.Delete || s.Action == plan.Replace) && !c.given[s.ID] {
			asked = append(asked, s)
		}
	}
	if len(asked) == 0 || c.sure.yes || !c.app.streams.Interactive {
		return nil
	}
	c.app.showPlan(p)
	if err := c.app.confirm(c.cmd, c.sure, "delete or replace %d object(s)", len(asked)); err != nil {
		return err
	}
	for _, s := range asked {
		c.given[s.ID] = true
	}
	return nil
}

// showPlan prints what would be done, for a person to decide about.
func (a *app) showPlan(p *plan.Plan) {
	for _, s := range slices.Concat(p.Steps, p.Stale) {
		switch s.Action {
		case plan.Unchanged, plan.Forget, plan.Keep, plan.Skip:
		default:
			a.ui.Action("%s", planLine(s))
		}
	}
}

// planLine says what would be done to an object.
func planLine(s plan.Step) string {
	switch s.Action {
	case plan.Later:
		return fmt.Sprintf("%s created (known once its namespace or kind is there)", s.ID)
	case plan.Hold:
		return fmt.Sprintf("%s held: %s", s.ID, strings.TrimPrefix(s.Reason, "held: "))
	default:
		return fmt.Sprintf("%s %s", s.ID, planned(s))
	}
}

// dryRunInventory prints what an apply would do.
func (a *app) dryRunInventory(ctx context.Context, engine *deploy.Engine, req deploy.InventoryRequest) error {
	a.ui.Note("applying %d manifest(s) (dry run)...", len(req.Collected.Objects))
	p, err := engine.PlanInventory(ctx, req)
	if err != nil {
		return err
	}
	var lines []string
	for _, s := range slices.Concat(p.Steps, p.Stale) {
		lines = append(lines, planLine(s)+" (dry run)")
	}
	a.ui.Results(lines)
	if refused := p.Refused(); len(refused) > 0 {
		return &deploy.RefusedError{Steps: refused}
	}
	if conflicts := p.Conflicts(); len(conflicts) > 0 {
		return &deploy.ConflictError{Steps: conflicts}
	}
	return nil
}
