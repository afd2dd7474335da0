// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// The values of outputs that are true or false.
func asOutput(name string, value bool) stepOutput {
	return stepOutput{name, strconv.FormatBool(value)}
}

func asCount(name string, n int) stepOutput { return stepOutput{name, strconv.Itoa(n)} }

func heading(cmd *cobra.Command) string { return "### " + cmd.CommandPath() + "\n" }

// factsTable is a table of two columns without the rows that have no value.
func factsTable(rows ...[2]string) string {
	var shown [][]string
	for _, row := range rows {
		if row[1] != "" {
			shown = append(shown, []string{row[0], markdownCode(row[1])})
		}
	}
	return markdownTable([]string{"", ""}, shown)
}

// tellPublished gives GitHub Actions what "push artifact" did.
func (a *app) tellPublished(cmd *cobra.Command, req deploy.PublishRequest, got deploy.Published) error {
	outputs := []stepOutput{
		{"url", got.Pinned.URL()},
		{"repository", req.Tag.Repository().String()},
		{"digest", got.Pinned.Digest().String()},
		{"tag", req.Tag.Name()},
		{"tags", tagNames(got.Tags)},
		{"revision", req.Metadata.Revision},
		asOutput("sent", got.Sent),
	}
	return a.tellWorkflow(outputs, func() ([]string, error) {
		contents := slices.Concat(got.Files, names(req.Objects))
		what := "objects"
		if req.Tree != nil {
			what = "files"
		}
		blocks := []string{heading(cmd), factsTable(
			[2]string{"artifact", req.Tag.URL()}, [2]string{"digest", got.Pinned.Digest().String()},
			[2]string{"source", req.Metadata.Source}, [2]string{"revision", req.Metadata.Revision},
		), tagsTable(got.Tags)}
		if !got.Sent {
			blocks = append(blocks, "Nothing was sent: the registry has all of it.\n")
		}
		return append(blocks, markdownFolded(fmt.Sprintf("%d %s", len(contents), what), "", strings.Join(contents, "\n"))), nil
	})
}

// tellTagged gives GitHub Actions what "tag artifact" did.
func (a *app) tellTagged(cmd *cobra.Command, tagged []registry.Tagged) error {
	if len(tagged) == 0 {
		return nil
	}
	pinned := tagged[0].Pinned
	outputs := []stepOutput{
		{"url", pinned.URL()},
		{"repository", pinned.Repository().String()},
		{"digest", pinned.Digest().String()},
		{"tags", tagNames(tagged)},
	}
	return a.tellWorkflow(outputs, func() ([]string, error) {
		facts := factsTable([2]string{"artifact", pinned.Repository().URL()}, [2]string{"digest", pinned.Digest().String()})
		return []string{heading(cmd), facts, tagsTable(tagged)}, nil
	})
}

func tagNames(tagged []registry.Tagged) string {
	var names []string
	for _, t := range tagged {
		names = append(names, t.Tag.Name())
	}
	return strings.Join(names, "\n")
}

func tagsTable(tagged []registry.Tagged) string {
	var rows [][]string
	for _, t := range tagged {
		before := "new"
		switch {
		case t.Moved():
			before = "moved from " + markdownCode(t.Previous.String())
		case t.Previous != "":
			before = "as before"
		}
		rows = append(rows, []string{markdownCode(t.Tag.Name()), before})
	}
	return markdownTable([]string{"tag", ""}, rows)
}

// tellCopied gives GitHub Actions what "copy artifact" did.
func (a *app) tellCopied(cmd *cobra.Command, to string, got deploy.Copied) error {
	var images [][]string
	var pinned []string
	for _, image := range got.Images {
		images = append(images, []string{markdownCode(image.Image), markdownCode(image.To), markdownCode(image.Digest.String())})
		pinned = append(pinned, image.To+"@"+image.Digest.String())
	}
	outputs := []stepOutput{{"digest", got.Digest.String()}, {"tag", got.Tag}, {"images", strings.Join(pinned, "\n")}}
	return a.tellWorkflow(outputs, func() ([]string, error) {
		blocks := []string{heading(cmd), factsTable(
			[2]string{"to", to}, [2]string{"tag", got.Tag}, [2]string{"digest", got.Digest.String()},
			[2]string{"signatures and the like", strconv.Itoa(got.Referrers)},
		)}
		if len(images) > 0 {
			blocks = append(blocks, markdownTable([]string{"image", "copied to", "digest"}, images))
		}
		return blocks, nil
	})
}

// tellDifferences gives GitHub Actions what a diff command found.
func (a *app) tellDifferences(cmd *cobra.Command, found []deploy.Difference, word func(deploy.Difference) string) error {
	count := map[plan.Action]int{}
	for _, d := range found {
		count[d.Action]++
	}
	outputs := []stepOutput{
		asOutput("changed", len(found) > 0),
		asCount("created", count[plan.Create]+count[plan.Later]),
		asCount("configured", count[plan.Configure]),
		asCount("replaced", count[plan.Replace]),
		asCount("deleted", count[plan.Delete]),
		asCount("held", count[plan.Hold]),
	}
	return a.tellWorkflow(outputs, func() ([]string, error) {
		blocks, err := markdownDiff(found, word)
		return append([]string{heading(cmd)}, blocks...), err
	})
}

// tellApplied gives GitHub Actions what "apply inventory" did, also where it failed in between.
func (a *app) tellApplied(cmd *cobra.Command, req deploy.InventoryRequest, out deploy.Outcome) error {
	count, unchanged := map[plan.Action]int{}, 0
	var rows [][]string
	for _, c := range out.Changes {
		count[c.Action]++
		rows = append(rows, []string{markdownCode(c.ID.String()), verbOf(c.Action)})
	}
	if out.Plan != nil {
		for _, s := range out.Plan.Steps {
			if s.Action == plan.Unchanged {
				unchanged++
			}
		}
	}
	outputs := []stepOutput{
		asOutput("changed", len(out.Changes) > 0),
		asCount("created", count[plan.Create]),
		asCount("configured", count[plan.Configure]),
		asCount("replaced", count[plan.Replace]),
		asCount("deleted", count[plan.Delete]),
		asCount("unchanged", unchanged),
	}
	return a.tellWorkflow(outputs, func() ([]string, error) {
		blocks := []string{heading(cmd), factsTable(
			[2]string{"inventory", req.Owner.Namespace + "/" + req.Owner.Name}, [2]string{"source", req.Source}, [2]string{"revision", req.Revision},
		)}
		if len(rows) > 0 {
			blocks = append(blocks, markdownTable([]string{"object", ""}, rows))
		}
		ending := "."
		if out.Err != nil {
			ending = "; then it failed."
		}
		return append(blocks, fmt.Sprintf("%d changed, %d unchanged%s\n", len(rows), unchanged, ending)), nil
	})
}
