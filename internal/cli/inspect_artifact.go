// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/report"
)

// inspectResult is what is printed of an artifact with -o.
type inspectResult struct {
	URL         string            `json:"url"`
	Digest      string            `json:"digest"`
	MediaType   string            `json:"mediaType"`
	Created     *time.Time        `json:"created,omitempty"`
	Source      string            `json:"source,omitempty"`
	Revision    string            `json:"revision,omitempty"`
	Size        int64             `json:"size"` // of all layers
	Annotations map[string]string `json:"annotations"`
	Layers      []layerResult     `json:"layers"`
	Files       []string          `json:"files"`
	Objects     []objectResult    `json:"objects"`
	Images      []string          `json:"images"`
	Referrers   []referrerResult  `json:"referrers"` // such as signatures, not verified
	Verified    *verifiedResult   `json:"verified,omitempty"`
}

type layerResult struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

type objectResult struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Namespace  string   `json:"namespace,omitempty"`
	Name       string   `json:"name"`
	Images     []string `json:"images,omitempty"`

	shown string
}

type referrerResult struct {
	Tag    string `json:"tag,omitempty"`
	Type   string `json:"type,omitempty"`
	Digest string `json:"digest"`
}

func newInspectArtifactCmd(a *app) *cobra.Command {
	var remote registryFlags
	var decryption identityFlags
	var verify verifyFlags
	var out output
	var imagesOnly bool
	var layer string
	cmd := &cobra.Command{
		Use:   "artifact URL",
		Short: "Show what is in an artifact",
		Long: "Show what an artifact says about itself, the objects in it with the images that they name, and what belongs\n" +
			"to it in the registry, such as signatures. The signatures are listed; verified are they only with --verify.",
		Example: "  # What it is, and which objects and images it holds\n  kustomizer inspect artifact oci://ghcr.io/me/app:1.0.0\n\n" +
			"  # The images, one a line, as for a scanner\n" +
			"  kustomizer inspect artifact oci://ghcr.io/me/app:1.0.0 --container-images\n\n" +
			"  # Only if it is signed by a workflow, and by which\n" +
			"  kustomizer inspect artifact oci://ghcr.io/me/app:1.0.0 --verify \\\n" +
			"    --certificate-oidc-issuer=https://token.actions.githubusercontent.com \\\n" +
			"    --certificate-identity-regexp='https://github\\.com/me/app/.*'\n\n" +
			"  # The digest, as for a script\n" +
			"  kustomizer inspect artifact oci://ghcr.io/me/app:1.0.0 -o json | jq -r .digest",
		Args: positional("URL"),
	}
	remote.AddFlags(cmd.Flags())
	decryption.AddFlags(cmd.Flags())
	verify.AddFlags(cmd.Flags())
	out.AddFlags(cmd, "", formatJSON, formatYAML)
	cmd.Flags().BoolVar(&imagesOnly, "container-images", false, "list only the images that the objects name")
	addLayerFlag(cmd, &layer)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		ref, err := artifactURL(args[0])
		if err != nil {
			return err
		}
		if err := out.check(); err != nil {
			return err
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
		got, err := deploy.Inspect(ctx, deploy.PullRequest{Client: client, Reference: ref, LayerMediaType: layer, Keys: keys, Verify: policy})
		if err != nil {
			return err
		}
		for _, problem := range got.Unread {
			a.ui.Warn("not all of it can be read as objects: %s", report.OneLine(problem.Error()))
		}
		return a.showInspection(out, imagesOnly, got)
	})
	return cmd
}

// addLayerFlag adds the flag that chooses among the layers of what others push.
func addLayerFlag(cmd *cobra.Command, layer *string) {
	cmd.Flags().StringVar(layer, "layer-media-type", "", "type of the layer to take; by default the first one that is an archive")
}

func inspectResultOf(got deploy.Inspection) inspectResult {
	out := inspectResult{
		URL: got.Pinned.URL(), Digest: got.Pinned.Digest().String(), MediaType: got.MediaType,
		Created: dateOf(artifact.CreatedOf(got.Annotations)), Annotations: got.Annotations,
		Source: got.Annotations[artifact.AnnotationSource], Revision: got.Annotations[artifact.AnnotationRevision],
		Layers: []layerResult{}, Files: got.Files, Objects: []objectResult{}, Images: object.Images(got.Objects),
		Referrers: []referrerResult{},
	}
	if got.Verified != nil {
		proof := verifiedResultOf(*got.Verified)
		out.Verified = &proof
	}
	if out.Images == nil {
		out.Images = []string{}
	}
	for _, l := range got.Layers {
		out.Size += l.Size
		out.Layers = append(out.Layers, layerResult{MediaType: l.MediaType, Digest: l.Digest.String(), Size: l.Size})
	}
	for _, u := range got.Objects {
		out.Objects = append(out.Objects, objectResult{
			APIVersion: u.GetAPIVersion(), Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName(),
			Images: object.ImagesOf(u), shown: object.Of(u).String(),
		})
	}
	for _, r := range got.Referrers {
		out.Referrers = append(out.Referrers, referrerResult{Tag: r.Tag, Type: r.Type, Digest: r.Digest.String()})
	}
	return out
}

func (a *app) showInspection(out output, imagesOnly bool, got deploy.Inspection) error {
	result := inspectResultOf(got)
	switch {
	case out.structured() && imagesOnly:
		return a.print(out, result.Images)
	case out.structured():
		return a.print(out, result)
	case imagesOnly:
		a.ui.Results(result.Images)
		return nil
	}
	a.showHeader(result)
	lines := []string{"Resources:"}
	for _, o := range result.Objects {
		lines = append(lines, "- "+o.shown)
		for _, image := range o.Images {
			lines = append(lines, "  - "+image)
		}
	}
	a.ui.Results(lines)
	return nil
}

// showHeader prints what an artifact says about itself, in Kustomizer's words.
func (a *app) showHeader(r inspectResult) {
	line := func(name, value string) {
		if value != "" {
			a.ui.Result("%s: %s", name, value)
		}
	}
	line("Artifact", r.URL)
	if version := r.Annotations[artifact.AnnotationVersion]; version != "" {
		line("BuiltBy", "kustomizer/v"+strings.TrimPrefix(version, "v"))
	}
	if r.Verified != nil {
		line("VerifiedBy", r.Verified.By)
		line("SignedBy", r.Verified.signer())
	}
	if r.Created != nil {
		line("CreatedAt", r.Created.Format(time.RFC3339))
	}
	line("EncryptedWith", r.Annotations[artifact.AnnotationEncrypted])
	line("Source", r.Source)
	line("Revision", r.Revision)
	line("Checksum", r.Annotations[artifact.AnnotationChecksum])
	shown := []string{
		artifact.AnnotationVersion, artifact.AnnotationCreated, artifact.AnnotationLegacyCreated,
		artifact.AnnotationSource, artifact.AnnotationRevision, artifact.AnnotationChecksum, artifact.AnnotationEncrypted,
	}
	for _, key := range slices.Sorted(maps.Keys(r.Annotations)) {
		if !slices.Contains(shown, key) {
			a.ui.Result("Annotation: %s=%s", key, r.Annotations[key])
		}
	}
	for _, l := range r.Layers {
		a.ui.Result("Layer: %s %s %d bytes", l.Digest, l.MediaType, l.Size)
	}
	for _, ref := range r.Referrers {
		a.ui.Result("Referrer: %s %s (not verified)", ref.Digest, strings.TrimSpace(ref.Tag+" "+ref.Type))
	}
}
