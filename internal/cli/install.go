// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// installFlags are Flux's, and --image, --dry-run and --approve-prune.
type installFlags struct {
	export, dryRun, force bool
	version               string
	components, extra     []string
	registry, image       string
	pullSecret, creds     string
	watchAllNamespaces    bool
	networkPolicy         bool
	logLevel              string
	clusterDomain         string
	tolerationKeys        []string
	approved              string
}

// AddFlags adds the flags to a command.
func (f *installFlags) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.export, "export", false, "print what would be installed, and touch nothing")
	fs.BoolVar(&f.dryRun, "dry-run", false, "ask the cluster what would change, and change nothing")
	fs.BoolVar(&f.force, "force", false, "install over an agent that another tool manages")
	fs.StringVar(&f.version, "version", "", "version of the agent's image (default: this program's)")
	fs.StringSliceVar(&f.components, "components", agentComponents(), "components of Flux to stand in for: the agent is all of them")
	fs.StringSliceVar(&f.extra, "components-extra", nil, "further components of Flux: there are none")
	fs.StringVar(&f.registry, "registry", deploy.AgentRegistry, "registry of the agent's image")
	fs.StringVar(&f.image, "image", "", "reference of the agent's image, in place of --registry and --version")
	fs.StringVar(&f.creds, "registry-creds", "", "USER:PASSWORD from which --image-pull-secret is made")
	fs.StringVar(&f.pullSecret, "image-pull-secret", "", "name of the Secret with which the image is pulled")
	fs.BoolVar(&f.watchAllNamespaces, "watch-all-namespaces", true, "watch the resources in all namespaces, not in the agent's only")
	fs.StringVar(&f.logLevel, "log-level", "info", "what the agent logs: "+strings.Join(deploy.LogLevels(), ", "))
	fs.BoolVar(&f.networkPolicy, "network-policy", true, "let nothing reach the agent but what needs to")
	fs.StringVar(&f.clusterDomain, "cluster-domain", deploy.AgentClusterDomain, "the cluster's own DNS domain")
	fs.StringSliceVar(&f.tolerationKeys, "toleration-keys", nil, "keys of taints on which the agent may run")
	fs.StringVar(&f.approved, "approve-prune", "", "`HASH` of the deletions to release, as the refusal named it")
}

// agentComponents names the controllers of Flux whose work the agent does.
func agentComponents() []string { return []string{"source-controller", "kustomize-controller"} }

func newInstallCmd(a *app) *cobra.Command {
	var flags installFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the agent in the cluster, or upgrade it",
		Long: "Install puts the agent and the definitions of its resources into the cluster and waits until it runs.\n" +
			"It changes no definition that is newer or that somebody else manages, and refuses beside Flux's controllers.",
		Example: "  # Install the agent, or bring it up to date\n  kustomizer install\n\n" +
			"  # An image of one's own, from a private registry\n  kustomizer install --image=registry.example/kustomizer:1.0.0 --image-pull-secret=pull\n\n" +
			"  # As YAML, to keep in Git\n  kustomizer install --export > kustomizer.yaml",
		Args: positional(),
	}
	flags.AddFlags(cmd.Flags())
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, _ []string) error {
		opts, err := a.installOptions(cmd, flags)
		if err != nil {
			return err
		}
		if flags.export {
			return a.exportInstall(opts)
		}
		return a.install(ctx, opts, flags)
	})
	return cmd
}

// installOptions makes the request's options from the flags.
func (a *app) installOptions(cmd *cobra.Command, f installFlags) (deploy.InstallOptions, error) {
	if err := checkComponents(append(f.components, f.extra...)); err != nil {
		return deploy.InstallOptions{}, err
	}
	if f.image != "" && (cmd.Flags().Changed("registry") || cmd.Flags().Changed("version")) {
		return deploy.InstallOptions{}, badUsage("", "--image names registry and version: it can't be given with --registry or --version")
	}
	namespace, err := a.deliveryNamespace()
	if err != nil {
		return deploy.InstallOptions{}, err
	}
	opts := deploy.InstallOptions{
		Namespace: namespace, Image: f.image, ImagePullSecret: f.pullSecret, LogLevel: f.logLevel,
		OneNamespace: !f.watchAllNamespaces, NoNetworkPolicy: !f.networkPolicy,
		ClusterDomain: f.clusterDomain, TolerationKeys: f.tolerationKeys,
	}
	if opts.Image == "" {
		opts.Image = deploy.DefaultImage(f.registry, cmp.Or(f.version, a.program.Version))
	}
	ref, err := artifact.ParseReference(opts.Image)
	if err != nil {
		return deploy.InstallOptions{}, badUsage("", "the agent's image: %s", err)
	}
	if opts.RegistryCredential, err = a.installCredential(f, ref); err != nil {
		return deploy.InstallOptions{}, err
	}
	if _, err := deploy.Manifests(opts); err != nil {
		return deploy.InstallOptions{}, badUsage("", "%s", err)
	}
	return opts, nil
}

// checkComponents refuses controllers of Flux whose work nothing here does.
func checkComponents(names []string) error {
	for _, name := range names {
		if !slices.Contains(agentComponents(), name) {
			return badUsage("leave it out, or install Flux's own beside the agent",
				"the agent does the work of %s, not of %q", strings.Join(agentComponents(), " and "), name)
		}
	}
	return nil
}

// installCredential makes the content of the image pull secret.
func (a *app) installCredential(f installFlags, image artifact.Reference) ([]byte, error) {
	if f.creds == "" {
		return nil, nil
	}
	a.ui.Warn("a password on the command line can be seen by others on this machine")
	username, password, ok := strings.Cut(f.creds, ":")
	if !ok || username == "" || password == "" {
		return nil, badUsage("", "--registry-creds wants USER:PASSWORD")
	}
	if f.pullSecret == "" {
		return nil, badUsage("", "--registry-creds needs --image-pull-secret, the name of the Secret to make")
	}
	return dockerConfig(image.Repository().Host(), username, password)
}

func (a *app) exportInstall(opts deploy.InstallOptions) error {
	objs, err := deploy.Manifests(opts)
	if err != nil {
		return err
	}
	data, err := object.EncodeYAML(objs)
	if err != nil {
		return err
	}
	a.ui.Data(data)
	return nil
}

// install prepares, applies and waits.
func (a *app) install(ctx context.Context, opts deploy.InstallOptions, f installFlags) error {
	a.ui.Generate("generating manifests")
	c, err := a.connect()
	if err != nil {
		return err
	}
	installation, err := deploy.PrepareInstall(ctx, c, opts, f.force)
	if err != nil {
		return err
	}
	a.ui.Success("manifests build completed")
	for _, kept := range installation.Kept {
		a.ui.Warn("%s stays as it is: %s", kept.ID, kept.Reason)
	}
	engine := &deploy.Engine{Cluster: c, AgentNamespace: opts.Namespace}
	req := installation.Request(opts.Namespace, f.approved)
	if f.dryRun {
		return a.planInstall(ctx, engine, req)
	}
	a.ui.Action("installing components in %s namespace", opts.Namespace)
	p := &installProgress{ui: a.ui}
	out := engine.Install(ctx, req, deploy.Progress{Changed: p.changed, Waiting: p.pending})
	if out.Err == nil && p.changes == 0 {
		a.ui.Note("  everything is as it should be: nothing was changed")
	}
	return a.finishInstall(out)
}

// planInstall prints what an installation would change.
func (a *app) planInstall(ctx context.Context, engine *deploy.Engine, req deploy.Request) error {
	p, err := engine.Plan(ctx, req)
	if err != nil {
		return err
	}
	for _, step := range append(p.Steps, p.Stale...) {
		a.ui.Result("%s %s (dry run)", step.ID, planned(step))
	}
	if refused := p.Refused(); len(refused) > 0 {
		return &deploy.RefusedError{Steps: refused}
	}
	return nil
}

// planned says in a word what would be done.
func planned(step plan.Step) string {
	switch step.Action {
	case plan.Create, plan.Later:
		return "created"
	case plan.Configure:
		return "configured"
	case plan.Replace:
		return "replaced"
	case plan.Delete:
		return "deleted"
	case plan.Unchanged:
		return "unchanged"
	default:
		return string(step.Action) + ": " + step.Reason
	}
}

// installProgress prints what was done; that health is waited for, once; and then what is not
// ready, whenever that changes.
type installProgress struct {
	ui      *printer
	changes int
	waiting bool
	last    string
}

func (p *installProgress) changed(c apply.Change) {
	p.changes++
	p.ui.Result("%s %s", c.ID, c.Verb())
	if c.Unrehearsed != "" {
		p.ui.Warn("%s %s", c.ID, plan.Unrehearsable(c.Unrehearsed))
	}
}

func (p *installProgress) pending(r observe.Report) {
	if !p.waiting {
		p.ui.Wait("verifying installation")
		p.waiting = true
	}
	pending := make([]string, 0, len(r.Pending))
	for _, n := range r.Pending {
		pending = append(pending, fmt.Sprintf("%s: %s", n.ID, n.Status.Cause))
	}
	if now := strings.Join(pending, "; "); now != p.last && now != "" {
		p.ui.Wait("%s", now)
		p.last = now
	}
}

// finishInstall prints how it ended.
func (a *app) finishInstall(out deploy.Outcome) error {
	for _, note := range out.Notes {
		a.ui.Warn("%s", note)
	}
	if out.Err != nil {
		return out.Err
	}
	a.ui.Success("%s: deployment ready", deploy.AgentName)
	a.ui.Note("  profile flux: the agent acts with an administrator's rights, and allows what Flux allows")
	a.ui.Success("install finished")
	return nil
}
