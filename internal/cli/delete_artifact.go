// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
)

// deleteArtifact is the flags of "delete artifact".
type deleteArtifact struct {
	registryFlags
	filterFlags
	confirmation
	output
	tags   []string
	keep   int
	dryRun bool
}

// deletedResult is what is printed with -o.
type deletedResult struct {
	Repository string          `json:"repository"`
	Tags       []versionResult `json:"tags"`
	Digests    []string        `json:"digests"` // that were removed, since no tag is left to point to them
	DryRun     bool            `json:"dryRun,omitempty"`
}

func newDeleteArtifactCmd(a *app) *cobra.Command {
	var f deleteArtifact
	cmd := &cobra.Command{
		Use:   "artifact URL [TAG...]",
		Short: "Delete versions of an artifact from the registry",
		Long: "Delete tags of a repository, or all but the newest few, and what no other tag points to. What a tag that\n" +
			"stays points to is never removed. The newest are those created last, or with --semver those of the highest\n" +
			"version.",
		Example: "  # One tag, without being asked\n  kustomizer delete artifact oci://ghcr.io/me/app:1.0.0-rc.1 --yes\n\n" +
			"  # Several\n" +
			"  kustomizer delete artifact oci://ghcr.io/me/app pr-12 pr-13 --yes\n\n" +
			"  # All builds of main but the newest ten; first only shown\n" +
			"  kustomizer delete artifact oci://ghcr.io/me/app --filter-regex=\"^main-\" --keep=10 --dry-run",
		Args: positional("URL", "[TAG...]"),
	}
	f.AddFlags(cmd)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		req, err := f.request(cmd, args)
		if err != nil {
			return err
		}
		if req.Client, err = f.client(a, req.Repository.Host()); err != nil {
			return err
		}
		defer req.Client.Close()
		planned, err := deploy.PlanDeletion(ctx, req)
		if err != nil {
			return err
		}
		return f.delete(ctx, a, cmd, req, planned)
	})
	return cmd
}

// AddFlags adds the command's flags.
func (f *deleteArtifact) AddFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.registryFlags.AddFlags(fs)
	f.filterFlags.AddFlags(fs)
	f.confirmation.AddFlags(fs)
	f.output.AddFlags(cmd, "", formatJSON, formatYAML)
	fs.StringSliceVar(&f.tags, "tag", nil, "tags to delete, as the arguments")
	fs.IntVar(&f.keep, "keep", 0, "how many of the newest versions to keep; all others that the filters let through are deleted")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only show what would be deleted")
}

func (f *deleteArtifact) request(cmd *cobra.Command, args []string) (deploy.DeleteVersionsRequest, error) {
	var req deploy.DeleteVersionsRequest
	ref, err := artifact.ParseURL(args[0])
	if err != nil {
		return req, err
	}
	if _, pinned := ref.Pinned(); pinned {
		return req, badUsage("name its tags", "%q has a digest: tags are deleted, and with the last of them what they point to", args[0])
	}
	req.Repository, req.Tags, req.Keep = ref.Repository(), append(args[1:], f.tags...), f.keep
	if tag, ok := ref.Tag(); ok {
		req.Tags = append(req.Tags, tag.Name())
	}
	if req.Filter, err = f.filter(); err != nil {
		return req, err
	}
	filtered := f.semver != "" || f.fluxSemver != "" || f.regex != ""
	switch {
	case f.keep < 0 || cmd.Flags().Changed("keep") && f.keep == 0:
		return req, usagef(cmd, "--keep must be at least 1")
	case f.keep > 0 && len(req.Tags) > 0:
		return req, usagef(cmd, "--keep can't be given with tags")
	case f.keep == 0 && len(req.Tags) == 0:
		return req, usagef(cmd, "%s needs tags to delete, or --keep", cmd.CommandPath())
	case f.keep == 0 && filtered:
		return req, usagef(cmd, "--semver and --filter-regex are for --keep")
	}
	if err := checkTags(req.Tags); err != nil {
		return req, err
	}
	return req, f.output.check()
}

func (f *deleteArtifact) delete(ctx context.Context, a *app, cmd *cobra.Command, req deploy.DeleteVersionsRequest, planned deploy.VersionsToDelete) error {
	word := "deleted"
	if f.dryRun {
		word = "would be deleted"
	}
	if len(planned.Tags) > 0 && !f.dryRun {
		for _, v := range planned.Tags {
			a.ui.Note("to be deleted: %s %s", v.Tag, v.Digest)
		}
		if err := a.confirm(cmd, f.confirmation, "delete %s", countOf(planned)); err != nil {
			return err
		}
		gone, err := deploy.DeleteVersions(ctx, req.Client, planned)
		if err != nil {
			for _, tag := range gone {
				a.ui.Note("%s deleted", tag)
			}
			return err
		}
	}
	if f.structured() {
		return a.print(f.output, f.result(planned))
	}
	for _, v := range planned.Tags {
		a.ui.Result("%s %s", v.Tag, word)
	}
	for _, d := range planned.Digests {
		a.ui.Result("%s %s", req.Repository.At(d), word)
	}
	if len(planned.Tags) == 0 {
		a.ui.Note("there is nothing to delete")
	}
	return nil
}

func (f *deleteArtifact) result(planned deploy.VersionsToDelete) deletedResult {
	out := deletedResult{Repository: planned.Repository.String(), Tags: []versionResult{}, Digests: []string{}, DryRun: f.dryRun}
	for _, v := range planned.Tags {
		out.Tags = append(out.Tags, versionResultOf(v))
	}
	for _, d := range planned.Digests {
		out.Digests = append(out.Digests, d.String())
	}
	return out
}

func countOf(planned deploy.VersionsToDelete) string {
	if len(planned.Tags) == 1 {
		return planned.Tags[0].Tag.String()
	}
	return fmt.Sprintf("%d tags of %s", len(planned.Tags), planned.Repository)
}
