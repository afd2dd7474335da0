// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/deploy"
)

func newVerifyCmd(a *app) *cobra.Command {
	return verb("verify", "Verify the signatures of artifacts", newVerifyArtifactCmd(a))
}

func newVerifyArtifactCmd(a *app) *cobra.Command {
	var remote registryFlags
	var verify verifyFlags
	var out output
	cmd := &cobra.Command{
		Use:   "artifact URL",
		Short: "Verify that an artifact is signed",
		Long: "Verify that the digest that a tag points to now is signed: with a key, by an identity, or as a trust policy of\n" +
			"the Notary Project demands. Signatures by this program and by cosign 1, 2 and 3 are read, without cosign. The\n" +
			"digest is printed: use that, not the tag. The exit code is 7 if it is not trusted, and if there is no\n" +
			"signature at all.",
		Example: "  # Signed with a key\n  kustomizer verify artifact oci://ghcr.io/me/app:1.0.0 --cosign-key=cosign.pub\n\n" +
			"  # Signed by a workflow of a repository, on a tag\n" +
			"  kustomizer verify artifact oci://ghcr.io/me/app:1.0.0 \\\n" +
			"    --certificate-oidc-issuer=https://token.actions.githubusercontent.com \\\n" +
			"    --certificate-identity-regexp='https://github\\.com/me/app/\\.github/workflows/release\\.yaml@refs/tags/v.*'\n\n" +
			"  # By either of two, one of them only from its main branch, with a Sigstore of one's own\n" +
			"  kustomizer verify artifact oci://ghcr.io/me/app:1.0.0 --trusted-root=trusted_root.json \\\n" +
			"    --identity=issuer=https://accounts.example.com,subject=jane@example.com \\\n" +
			"    --identity=issuer=https://gitlab.example.com,subject-regexp='https://gitlab\\.example\\.com/me/app//.*',source-repository-ref=refs/heads/main\n\n" +
			"  # Signed with notation\n" +
			"  kustomizer verify artifact oci://ghcr.io/me/app:1.0.0 --notation-policy=trustpolicy.json --notation-certificate=ca.crt",
		Args: positional("URL"),
	}
	remote.AddFlags(cmd.Flags())
	verify.addPolicy(cmd.Flags())
	out.AddFlags(cmd, "", formatJSON, formatYAML)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		ref, err := artifactURL(args[0])
		if err == nil {
			err = out.check()
		}
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
		pinned, got, err := deploy.VerifyArtifact(ctx, client, ref, *policy)
		if err != nil {
			return err
		}
		if out.structured() {
			return a.print(out, verifiedResultOf(got))
		}
		a.sayVerified(&got)
		a.ui.Result("%s", pinned.URL())
		return nil
	})
	return cmd
}
