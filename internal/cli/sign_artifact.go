// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/deploy"
)

func newSignCmd(a *app) *cobra.Command {
	return verb("sign", "Sign artifacts", newSignArtifactCmd(a))
}

func newSignArtifactCmd(a *app) *cobra.Command {
	var remote registryFlags
	var sign signFlags
	var out output
	cmd := &cobra.Command{
		Use:   "artifact URL",
		Short: "Sign an artifact",
		Long: "Sign an artifact in the formats of cosign, without cosign: with a private key, or with the identity that a\n" +
			"CI system proves by a token. What is signed is the digest that the tag points to now; it is printed. An\n" +
			"artifact that is signed with the key already is left as it is.",
		Example: "  # With a key of cosign's\n  COSIGN_PASSWORD=$PASSWORD kustomizer sign artifact oci://ghcr.io/me/app:1.0.0 --cosign-key=cosign.key\n\n" +
			"  # By digest, so that nobody can move the tag before it is signed\n" +
			"  kustomizer sign artifact oci://ghcr.io/me/app@sha256:<digest> --cosign-key=cosign.key\n\n" +
			"  # In GitHub Actions, as the workflow; the job has the permission id-token: write\n" +
			"  kustomizer sign artifact oci://ghcr.io/me/app:1.0.0\n\n" +
			"  # For those who verify with cosign 2 or older releases of Flux as well\n" +
			"  kustomizer sign artifact oci://ghcr.io/me/app:1.0.0 --cosign-key=cosign.key --signature-layout=bundle,tag",
		Args: positional("URL"),
	}
	remote.AddFlags(cmd.Flags())
	sign.addSigner(cmd.Flags())
	out.AddFlags(cmd, "", formatJSON, formatYAML)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		ref, err := artifactURL(args[0])
		if err == nil {
			err = out.check()
		}
		if err != nil {
			return err
		}
		signer, layouts, err := sign.signer(ctx, a, cmd)
		if err != nil {
			return err
		}
		client, err := remote.client(a, ref.Repository().Host())
		if err != nil {
			return err
		}
		defer client.Close()
		pinned, signed, err := deploy.SignArtifact(ctx, client, ref, *signer, layouts)
		a.saySigned(pinned.String(), signed)
		if err != nil {
			return err
		}
		if out.structured() {
			return a.print(out, signedResults(pinned.Digest().String(), signed))
		}
		a.ui.Result("%s", pinned.URL())
		return nil
	})
	return cmd
}
