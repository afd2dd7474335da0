// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/deploy"
)

func newPullCmd(a *app) *cobra.Command {
	return verb("pull", "Get artifacts", newPullArtifactCmd(a))
}

func newPullArtifactCmd(a *app) *cobra.Command {
	var remote registryFlags
	var decryption identityFlags
	var verify verifyFlags
	var dir, layer string
	var force bool
	cmd := &cobra.Command{
		Use:   "artifact URL",
		Short: "Print the manifests of an artifact, or write its files",
		Long: "Print the manifests of an artifact as YAML, or write its files to a directory. Size, digest, checksum and\n" +
			"every entry of the archive are checked before anything is printed or written.",
		Example: "  # Its objects, as YAML\n  kustomizer pull artifact oci://ghcr.io/me/app:1.0.0\n\n" +
			"  # Into a new directory\n" +
			"  kustomizer pull artifact oci://ghcr.io/me/app:1.0.0 -o ./app\n\n" +
			"  # Over what is in a directory; files that the artifact does not have stay\n" +
			"  kustomizer pull artifact oci://ghcr.io/me/app:1.0.0 -o ./app --force\n\n" +
			"  # One that is encrypted\n" +
			"  kustomizer pull artifact oci://ghcr.io/me/encrypted:1.0.0 --age-identities=./key.txt\n\n" +
			"  # Only if it is signed with a key\n" +
			"  kustomizer pull artifact oci://ghcr.io/me/app:1.0.0 --verify --cosign-key=cosign.pub\n\n" +
			"  # By digest\n" +
			"  kustomizer pull artifact oci://ghcr.io/me/app@sha256:<digest>",
		Args: positional("URL"),
	}
	remote.AddFlags(cmd.Flags())
	decryption.AddFlags(cmd.Flags())
	verify.AddFlags(cmd.Flags())
	cmd.Flags().StringVarP(&dir, "output", "o", "", "directory to write the files to; it must be empty or not exist")
	cmd.Flags().BoolVar(&force, "force", false, "write to a directory that is not empty: over files of the same name, others are left alone")
	addLayerFlag(cmd, &layer)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		ref, err := artifactURL(args[0])
		if err != nil {
			return err
		}
		if force && dir == "" {
			return usagef(cmd, "--force is for --output")
		}
		keys, err := decryption.keys()
		if err != nil {
			return err
		}
		policy, err := verify.policy(ctx, a, cmd)
		if err != nil {
			return err
		}
		client, err := remote.client(a, ref.Repository().Host())
		if err != nil {
			return err
		}
		defer client.Close()
		got, err := deploy.PullArtifact(ctx, deploy.PullRequest{
			Client: client, Reference: ref, LayerMediaType: layer, Keys: keys, Dir: dir, Force: force, Verify: policy,
		})
		if err != nil {
			return err
		}
		a.tellPulled(dir, got)
		return nil
	})
	return cmd
}

func (a *app) tellPulled(dir string, got deploy.Pulled) {
	a.sayVerified(got.Verified)
	a.ui.Note("pulled digest %s", got.Pinned)
	switch {
	case dir != "":
		a.ui.Note("wrote the files to %s", dir)
	case len(got.YAML) == 0:
		a.ui.Note("there is no YAML in it")
	default:
		a.ui.Data(got.YAML)
	}
}
