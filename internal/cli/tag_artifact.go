// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/deploy"
)

func newTagCmd(a *app) *cobra.Command {
	return verb("tag", "Point tags to artifacts", newTagArtifactCmd(a))
}

func newTagArtifactCmd(a *app) *cobra.Command {
	var remote registryFlags
	var out output
	var guard guardFlags
	var more []string
	cmd := &cobra.Command{
		Use:   "artifact URL TAG...",
		Short: "Let further tags point to an artifact",
		Long: "Let further tags of the same repository point to an artifact, as to promote what was tested. A tag that is\n" +
			"there is moved.",
		Example: "  # Have a second tag point to the same\n  kustomizer tag artifact oci://ghcr.io/me/app:1.0.0 latest\n\n" +
			"  # What was tested, whatever the tag means by now\n" +
			"  kustomizer tag artifact oci://ghcr.io/me/app@sha256:<digest> stable\n\n" +
			"  # Unless what it points to was made later, as in a CI job that was overtaken\n" +
			"  kustomizer tag artifact oci://ghcr.io/me/app:1.0.0 latest --tag-only-if-newer\n\n" +
			"  # As Flux has it\n" +
			"  kustomizer tag artifact oci://ghcr.io/me/app:1.0.0 --tag=latest --tag=stable",
		Args: positional("URL", "[TAG...]"),
	}
	remote.AddFlags(cmd.Flags())
	out.AddFlags(cmd, "", formatJSON, formatYAML)
	guard.AddFlags(cmd.Flags())
	cmd.Flags().StringSliceVar(&more, "tag", nil, "tags, in place of the arguments")
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		ref, err := artifactURL(args[0])
		if err != nil {
			return err
		}
		names := append(args[1:], more...)
		if len(names) == 0 {
			return usagef(cmd, "%s needs a TAG to set", cmd.CommandPath())
		}
		if err := checkTags(names); err != nil {
			return err
		}
		if err := errors.Join(out.check(), guard.check()); err != nil {
			return err
		}
		client, err := remote.client(a, ref.Repository().Host())
		if err != nil {
			return err
		}
		defer client.Close()
		tagged, err := deploy.TagArtifact(ctx, deploy.TagRequest{Client: client, Reference: ref, Names: names, Guard: guard.guard()})
		for _, t := range tagged {
			a.ui.Note("tagged %s", t.Tag)
		}
		a.sayMoved(tagged)
		if err = errors.Join(err, a.tellTagged(cmd, tagged)); err != nil || !out.structured() {
			return err
		}
		return a.print(out, taggedResults(tagged))
	})
	return cmd
}
