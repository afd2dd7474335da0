// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"regexp"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
)

func newListCmd(a *app) *cobra.Command {
	return verb("list", "List artifacts", newListArtifactsCmd(a))
}

// filterFlags is the group of flags that choose among the tags of a repository.
type filterFlags struct{ semver, fluxSemver, regex string }

// AddFlags adds the group to a command.
func (f *filterFlags) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.semver, "semver", "", "only tags that are versions in this range, such as \">=1.0.0 <2.0.0\"; the newest first")
	fs.StringVar(&f.fluxSemver, "filter-semver", "", "the same as --semver")
	fs.StringVar(&f.regex, "filter-regex", "", "only tags that match this regular expression")
}

func (f *filterFlags) filter() (deploy.VersionFilter, error) {
	var out deploy.VersionFilter
	given := f.semver
	if given == "" {
		given = f.fluxSemver
	} else if f.fluxSemver != "" {
		return out, badUsage("", "--semver and --filter-semver are the same: give one of them")
	}
	var err error
	if given != "" {
		if out.SemVer, err = semver.NewConstraint(given); err != nil {
			return out, badUsage("for example --semver=\">=1.0.0 <2.0.0\"", "--semver %q is not a range of versions: %s", given, err)
		}
	}
	if f.regex != "" {
		if out.Regex, err = regexp.Compile(f.regex); err != nil {
			return out, badUsage("", "--filter-regex: %s", err)
		}
	}
	return out, nil
}

// versionResult is what is printed of a version with -o.
type versionResult struct {
	URL      string     `json:"url"`
	Tag      string     `json:"tag"`
	Digest   string     `json:"digest"`
	Created  *time.Time `json:"created,omitempty"`
	Source   string     `json:"source,omitempty"`
	Revision string     `json:"revision,omitempty"`
	Size     int64      `json:"size"`
}

func versionResultOf(v deploy.Version) versionResult {
	return versionResult{
		URL: v.Tag.URL(), Tag: v.Tag.Name(), Digest: v.Digest.String(), Created: dateOf(v.Created), Size: v.Size,
		Source: v.Annotations[artifact.AnnotationSource], Revision: v.Annotations[artifact.AnnotationRevision],
	}
}

// dateOf returns a time for JSON, where none has no field.
func dateOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func newListArtifactsCmd(a *app) *cobra.Command {
	var remote registryFlags
	var filter filterFlags
	var out output
	cmd := &cobra.Command{
		Use:     "artifacts REPOSITORY",
		Aliases: []string{"artifact"},
		Short:   "List the versions of an artifact",
		Long: "List the tags of a repository with what they point to, when it was created and what from. Tags that belong\n" +
			"to other artifacts, such as signatures, are left out.",
		Example: "  # All tags, with what they point to\n  kustomizer list artifacts oci://ghcr.io/me/app\n\n" +
			"  # The newest of a range of versions first\n" +
			"  kustomizer list artifacts oci://ghcr.io/me/app --semver=\">=1.0.0 <2.0.0\"\n\n" +
			"  # For a script\n" +
			"  kustomizer list artifacts oci://ghcr.io/me/app --filter-regex=\"^main-\" -o name",
		Args: positional("REPOSITORY"),
	}
	remote.AddFlags(cmd.Flags())
	filter.AddFlags(cmd.Flags())
	out.AddFlags(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		repo, err := repositoryURL(args[0])
		if err != nil {
			return err
		}
		chosen, err := filter.filter()
		if err != nil {
			return err
		}
		if err := out.check(); err != nil {
			return err
		}
		client, err := remote.client(a, repo.Host())
		if err != nil {
			return err
		}
		defer client.Close()
		versions, err := deploy.Versions(ctx, client, repo, chosen)
		if err != nil {
			return err
		}
		return a.showVersions(out, repo, versions)
	})
	return cmd
}

func (a *app) showVersions(out output, repo artifact.Repository, versions []deploy.Version) error {
	results, rows := []versionResult{}, [][]string{}
	for _, v := range versions {
		r := versionResultOf(v)
		results = append(results, r)
		created := ""
		if r.Created != nil {
			created = r.Created.Format(time.RFC3339)
		}
		if a.program.command() == "flux" {
			rows = append(rows, []string{r.URL, r.Digest, r.Source, r.Revision})
		} else {
			rows = append(rows, []string{r.Tag, r.URL, v.Digest.Short(), created, r.Source, r.Revision})
		}
	}
	switch {
	case out.structured():
		return a.print(out, results)
	case len(results) == 0:
		a.ui.Note("no versions found in %s", repo)
	case out.format == formatName:
		for _, r := range results {
			a.ui.Result("%s", r.URL)
		}
	case a.program.command() == "flux":
		a.table([]string{"ARTIFACT", "DIGEST", "SOURCE", "REVISION"}, rows)
	default:
		a.table([]string{"VERSION", "URL", "DIGEST", "CREATED", "SOURCE", "REVISION"}, rows)
	}
	return nil
}

// repositoryURL reads an argument that must be the reference of a repository.
func repositoryURL(given string) (artifact.Repository, error) {
	ref, err := artifact.ParseURL(given)
	if err != nil {
		return artifact.Repository{}, err
	}
	if !ref.IsRepository() {
		return artifact.Repository{}, badUsage("leave it out: "+ref.Repository().URL(), "%q has a tag or a digest, a repository is wanted", given)
	}
	return ref.Repository(), nil
}
