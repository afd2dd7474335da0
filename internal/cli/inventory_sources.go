// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// sourceFlags is the group of flags that say where the objects of an inventory come from.
type sourceFlags struct {
	registryFlags
	identityFlags
	trust     verifyFlags
	kustomize string
	filenames []string
	patches   []string
	artifacts []string
}

// AddFlags adds the group to a command.
func (f *sourceFlags) AddFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&f.kustomize, "kustomize", "k", "", "directory with a kustomization.yaml")
	fs.StringSliceVarP(&f.filenames, "filename", "f", nil, "files, directories with .yaml and .yml files at any depth, or - for the standard input")
	fs.StringSliceVarP(&f.artifacts, "artifact", "a", nil, "artifacts, as oci://REPOSITORY:TAG or oci://REPOSITORY@DIGEST")
	fs.StringSliceVarP(&f.patches, "patch", "p", nil, "files in the form of a kustomization with patches, applied over everything, one after another")
	f.registryFlags.AddFlags(fs)
	f.identityFlags.AddFlags(fs)
	f.trust.AddFlags(fs)
}

// sources checks what was given, before any of it is read.
func (f *sourceFlags) sources(ctx context.Context, a *app, cmd *cobra.Command) (deploy.Sources, error) {
	if f.kustomize == "" && len(f.filenames) == 0 && len(f.artifacts) == 0 {
		return deploy.Sources{}, usagef(cmd, "%s needs at least one of --kustomize, --filename, --artifact", cmd.CommandPath())
	}
	if slices.Contains(f.filenames, "") || slices.Contains(f.patches, "") {
		return deploy.Sources{}, usagef(cmd, "an empty name is no file")
	}
	keys, err := f.keys()
	if err != nil {
		return deploy.Sources{}, err
	}
	src := deploy.Sources{
		Keys:      keys,
		Kustomize: f.kustomize, Files: f.filenames, Patches: f.patches, Stdin: a.streams.In,
		Client: func(host string) (*registry.Client, error) { return f.client(a, host) },
	}
	for _, given := range f.artifacts {
		ref, err := artifactURL(given)
		if err != nil {
			return deploy.Sources{}, err
		}
		src.Artifacts = append(src.Artifacts, ref)
	}
	if f.trust.verify && len(src.Artifacts) == 0 {
		return deploy.Sources{}, usagef(cmd, "--verify is for --artifact: there is nothing to verify")
	}
	src.Verify, err = f.trust.policy(ctx, a, cmd)
	return src, err
}

// collect reads, pulls and builds what was given.
func (f *sourceFlags) collect(ctx context.Context, a *app, src deploy.Sources) (deploy.Collected, error) {
	c, err := a.config()
	if err != nil {
		return deploy.Collected{}, err
	}
	a.ui.Note("building inventory...")
	collected, err := deploy.Collect(ctx, src)
	if err != nil {
		return collected, err
	}
	c.order().Sort(collected.Objects)
	for i, pinned := range collected.Artifacts {
		a.sayVerified(collected.Verified[i])
		a.ui.Note("pulled digest %s", pinned)
	}
	return collected, nil
}

// inventoryOwner returns the owner that an inventory of that name is.
func (a *app) inventoryOwner(name string) (plan.Owner, error) {
	if err := checkInventoryName(name); err != nil {
		return plan.Owner{}, err
	}
	namespace, err := a.inventoryNamespace()
	if err != nil {
		return plan.Owner{}, err
	}
	c, err := a.config()
	if err != nil {
		return plan.Owner{}, err
	}
	owner := plan.Inventory(namespace, name)
	owner.LabelGroup, owner.Manager = c.FieldManager.Group, c.FieldManager.Name
	return owner, nil
}

// checkInventoryName says whether a name can be that of a ConfigMap, with what is put around it, and
// a label's value.
func checkInventoryName(name string) error {
	if err := checkName("an inventory", name); err != nil {
		return err
	}
	const most = 63
	if len(name) > most {
		return badUsage("", "%q can't be the name of an inventory: it has more than %d characters", name, most)
	}
	return nil
}

// inventoryEngine connects to the cluster.
func (a *app) inventoryEngine() (*deploy.Engine, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	namespace := a.getenv("FLUX_SYSTEM_NAMESPACE")
	if namespace == "" {
		namespace = fluxNamespace
	}
	return &deploy.Engine{Cluster: c, AgentNamespace: namespace}, nil
}

// lockFlags is the group of flags that govern how runs are kept apart.
type lockFlags struct{ deploy.LockTimes }

// AddFlags adds the group to a command.
func (f *lockFlags) AddFlags(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.Patience, "lock-timeout", deploy.DefaultPatience, "how long a sign of life of another run on the same inventory is waited for before its lock is taken over")
	cmd.Flags().DurationVar(&f.Heartbeat, "lock-heartbeat", deploy.DefaultHeartbeat, "how often this run gives a sign of life; must be well below the --lock-timeout of others")
}

func (f *lockFlags) check() error {
	if f.Heartbeat <= 0 || f.Patience <= 0 || f.Heartbeat*2 > f.Patience {
		return badUsage("", "--lock-timeout must be at least twice --lock-heartbeat, and both more than zero")
	}
	return nil
}
