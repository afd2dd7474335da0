// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/report"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// The formats that only "diff artifact" has.
const (
	formatUnified  = "diff"
	formatMarkdown = "markdown"
)

// diffArtifact is the flags of "diff artifact".
type diffArtifact struct {
	registryFlags
	contentFlags
	identityFlags
	output
	trust verifyFlags
	layer string
}

func newDiffArtifactCmd(a *app) *cobra.Command {
	var f diffArtifact
	cmd := &cobra.Command{
		Use:   "artifact URL [URL]",
		Short: "Show what differs between two artifacts, or between an artifact and files",
		Long: "Show object by object and field by field what differs between two artifacts, or between an artifact and what\n" +
			"would be pushed. The values of Secrets are masked. The exit code is 0 without a difference, 1 with one, and\n" +
			"another one after an error.",
		Example: "  # Between two versions\n  kustomizer diff artifact oci://ghcr.io/me/app:1.0.0 oci://ghcr.io/me/app:1.1.0\n\n" +
			"  # What a push would change, as a comment for a pull request\n" +
			"  kustomizer diff artifact oci://ghcr.io/me/app:latest -k ./deploy -o markdown\n\n" +
			"  # Between what is signed only\n" +
			"  kustomizer diff artifact oci://ghcr.io/me/app:1.0.0 oci://ghcr.io/me/app:1.1.0 --verify --cosign-key=cosign.pub\n\n" +
			"  # As a patch\n" +
			"  kustomizer diff artifact oci://ghcr.io/me/app:latest --path=./deploy -o diff",
		Args: positional("URL", "[URL...]"),
	}
	f.registryFlags.AddFlags(cmd.Flags())
	f.trust.AddFlags(cmd.Flags())
	f.contentFlags.AddFlags(a, cmd.Flags())
	f.identityFlags.AddFlags(cmd.Flags())
	f.output.AddFlags(cmd, "", formatUnified, formatJSON, formatYAML, formatMarkdown)
	addLayerFlag(cmd, &f.layer)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		found, err := f.differences(ctx, a, cmd, args)
		if err == nil {
			err = errors.Join(f.show(a, found), a.tellDifferences(cmd, found, changeOf))
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

func (f *diffArtifact) differences(ctx context.Context, a *app, cmd *cobra.Command, args []string) ([]deploy.Difference, error) {
	if err := f.output.check(); err != nil {
		return nil, err
	}
	if err := f.contentFlags.check(cmd, false); err != nil {
		return nil, err
	}
	switch {
	case len(args) > 2:
		return nil, usagef(cmd, "%s does not take the argument %q", cmd.CommandPath(), args[2])
	case len(args) == 2 && f.given():
		return nil, usagef(cmd, "an artifact is compared with one other thing: another artifact, --kustomize, --filename or --path")
	case len(args) == 1 && !f.given():
		return nil, usagef(cmd, "%s needs a second URL, or one of --kustomize, --filename, --path", cmd.CommandPath())
	}
	policy, err := f.trust.policy(ctx, a, cmd)
	if err != nil {
		return nil, err
	}
	before, err := f.pull(ctx, a, args[0], policy)
	if err != nil {
		return nil, err
	}
	var after []*unstructured.Unstructured
	switch {
	case len(args) == 2:
		after, err = f.pull(ctx, a, args[1], policy)
	case f.path != "":
		after, err = f.readTree(ctx, a)
	default:
		after, err = f.objects(ctx, a)
	}
	if err != nil {
		return nil, err
	}
	return deploy.Compare(before, after), nil
}

// pull returns the objects of an artifact, if it is as the policy demands.
func (f *diffArtifact) pull(ctx context.Context, a *app, given string, policy *trust.Policy) ([]*unstructured.Unstructured, error) {
	ref, err := artifactURL(given)
	if err != nil {
		return nil, err
	}
	keys, err := f.keys()
	if err != nil {
		return nil, err
	}
	client, err := f.client(a, ref.Repository().Host())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return deploy.ArtifactObjects(ctx, deploy.PullRequest{Client: client, Reference: ref, LayerMediaType: f.layer, Keys: keys, Verify: policy})
}

// readTree returns the objects of files as the agent would build them, were they pushed.
func (f *diffArtifact) readTree(ctx context.Context, a *app) ([]*unstructured.Unstructured, error) {
	tree, done, err := f.tree(a)
	if err != nil {
		return nil, err
	}
	defer done()
	work, err := os.MkdirTemp("", "kustomizer-diff-")
	if err != nil {
		return nil, fmt.Errorf("making room for the files: %w", err)
	}
	defer os.RemoveAll(work)
	return deploy.TreeObjects(ctx, *tree, work)
}

func (f *diffArtifact) show(a *app, found []deploy.Difference) error {
	switch f.format {
	case formatJSON, formatYAML:
		results := []differenceResult{}
		for _, d := range found {
			results = append(results, differenceResultOf(d))
		}
		return a.print(f.output, results)
	case formatUnified:
		for _, d := range found {
			text, err := unifiedDiff(d)
			if err != nil {
				return err
			}
			a.showLines(text)
		}
	case formatMarkdown:
		blocks, err := markdownDiff(found, changeOf)
		if err != nil {
			return err
		}
		a.showLines(strings.Join(blocks, "\n"))
		return nil
	default:
		for _, d := range found {
			a.ui.Result("%s %s %s", a.ui.glyphs.action, d.ID, changeOf(d))
			for _, c := range d.Fields {
				a.ui.Result("  %s: %s -> %s", c.Path, valueText(c.Before), valueText(c.After))
			}
		}
	}
	if len(found) == 0 {
		a.ui.Note("no differences")
	}
	return nil
}

// changeOf says what became of an object.
func changeOf(d deploy.Difference) string {
	switch d.Action {
	case plan.Create:
		return "added"
	case plan.Delete:
		return "removed"
	default:
		return "changed"
	}
}

// valueText is a value of a field on one line.
func valueText(v any) string {
	if v == nil {
		return "(none)"
	}
	if text, ok := v.(string); ok {
		return fmt.Sprintf("%q", text)
	}
	data, err := encode(formatJSON, v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.Join(strings.Fields(string(data)), " ")
}

// unifiedDiff shows an object's two states as a patch of its YAML.
func unifiedDiff(d deploy.Difference) (string, error) {
	before, err := yamlOf(d.Before)
	if err != nil {
		return "", err
	}
	after, err := yamlOf(d.After)
	if err != nil {
		return "", err
	}
	return udiff.Unified("a/"+d.ID.String(), "b/"+d.ID.String(), before, after), nil
}

func yamlOf(u *unstructured.Unstructured) (string, error) {
	if u == nil {
		return "", nil
	}
	text, err := object.EncodeYAML([]*unstructured.Unstructured{u})
	return string(text), err
}

func (a *app) showLines(text string) {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimRight(line, "\n"))
	}
	a.ui.Results(lines)
}
