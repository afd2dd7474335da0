// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/cluster"
)

func newSuspendCmd(a *app) *cobra.Command {
	return verb("suspend", "Have the agent leave a resource alone",
		verb("source", "Stop fetching sources", newSuspendKindCmd(a, ociRepositories(), "oci [NAME...]")),
		newSuspendKindCmd(a, kustomizations(), "kustomization [NAME...]"))
}

func newResumeCmd(a *app) *cobra.Command {
	return verb("resume", "Have the agent take a suspended resource up again",
		verb("source", "Fetch sources again", newResumeKindCmd(a, ociRepositories(), "oci [NAME...]")),
		newResumeKindCmd(a, kustomizations(), "kustomization [NAME...]"))
}

func newSuspendKindCmd(a *app, k kind, use string) *cobra.Command {
	var all bool
	word, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use:     use,
		Aliases: without(k.aliases, word),
		Short:   "Suspend " + k.title + " resources",
		Example: "  # Leave it as it is from now on\n" +
			"  kustomizer suspend " + k.noun + " demo-app\n\n" +
			"  # Several\n" +
			"  kustomizer suspend " + k.noun + " demo-app demo-prod\n\n" +
			"  # All of the namespace\n" +
			"  kustomizer suspend " + k.noun + " --all",
		Args:              positional("[NAME...]"),
		ValidArgsFunction: a.completeNames(k, 0),
	}
	cmd.Flags().BoolVar(&all, "all", false, "all in the namespace")
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		c, chosen, err := a.choose(ctx, cmd, k, args, all)
		if err != nil {
			return err
		}
		return each(chosen, func(r resource) error {
			a.ui.Action("suspending %s %s in %s namespace", k.noun, r.id.Name, r.id.Namespace)
			if _, err := patch(ctx, c, r, map[string]any{"spec": map[string]any{"suspend": true}}); err != nil {
				return err
			}
			a.ui.Success("%s suspended", k.noun)
			return nil
		})
	})
	return cmd
}

func newResumeKindCmd(a *app, k kind, use string) *cobra.Command {
	var all, wait bool
	word, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use:     use,
		Aliases: without(k.aliases, word),
		Short:   "Resume " + k.title + " resources",
		Long:    "Resume " + k.title + " resources. A single one is waited for until it is ready; several are with --wait.",
		Example: "  # Go on, and wait until it is ready\n" +
			"  kustomizer resume " + k.noun + " demo-app\n\n" +
			"  # Several\n" +
			"  kustomizer resume " + k.noun + " demo-app demo-prod\n\n" +
			"  # All of the namespace, each after the one before is ready\n" +
			"  kustomizer resume " + k.noun + " --all --wait",
		Args:              positional("[NAME...]"),
		ValidArgsFunction: a.completeNames(k, 0),
	}
	cmd.Flags().BoolVar(&all, "all", false, "all in the namespace")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for each before the next is resumed")
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		c, chosen, err := a.choose(ctx, cmd, k, args, all)
		if err != nil {
			return err
		}
		return each(chosen, func(r resource) error { return a.resume(ctx, c, k, r, wait || len(chosen) == 1) })
	})
	return cmd
}

func (a *app) resume(ctx context.Context, c *cluster.Cluster, k kind, r resource, wait bool) error {
	a.ui.Action("resuming %s %s in %s namespace", k.noun, r.id.Name, r.id.Namespace)
	request := time.Now().Format(time.RFC3339Nano)
	r, err := patch(ctx, c, r, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{fluxmeta.ReconcileRequestAnnotation: request}},
		"spec":     map[string]any{"suspend": false},
	})
	if err != nil {
		return err
	}
	a.ui.Success("%s resumed", k.noun)
	if !wait {
		return nil
	}
	a.ui.Wait("waiting for %s reconciliation", k.title)
	if r, err = a.awaitReady(ctx, c, k, r, request); err != nil {
		return err
	}
	a.ui.Success("%s %s reconciliation completed", k.title, r.id.Name)
	a.ui.Success("%s revision %s", k.verb, r.revision)
	return nil
}

// choose reads the resources that were named, or all of the namespace. All must exist before
// anything is done to one.
func (a *app) choose(ctx context.Context, cmd *cobra.Command, k kind, names []string, all bool) (*cluster.Cluster, []resource, error) {
	switch {
	case all && len(names) > 0:
		return nil, nil, usagef(cmd, "give names or --all, not both")
	case !all && len(names) == 0:
		return nil, nil, usagef(cmd, "%s needs NAME or --all", cmd.CommandPath())
	}
	c, ns, err := a.delivery()
	if err != nil {
		return nil, nil, err
	}
	if all {
		found, _, err := list(ctx, c, k, cluster.Selection{Namespace: ns})
		if err == nil && len(found) == 0 {
			a.ui.Note("no resources found in namespace %s", ns)
		}
		return c, found, err
	}
	var out []resource
	var errs []error
	for _, name := range names {
		r, err := read(ctx, c, k, ns, name)
		out, errs = append(out, r), append(errs, err)
	}
	return c, out, errors.Join(errs...)
}

// each does something to each resource, to all of them also where one fails.
func each(resources []resource, do func(resource) error) error {
	var errs []error
	for _, r := range resources {
		errs = append(errs, do(r))
	}
	return errors.Join(errs...)
}
