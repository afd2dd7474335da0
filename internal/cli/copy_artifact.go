// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// layoutScheme begins the name of a folder or tar in the OCI image layout, as with oras and skopeo.
const layoutScheme = "oci-layout:"

func newCopyCmd(a *app) *cobra.Command {
	return verb("copy", "Copy artifacts between registries and folders", newCopyArtifactCmd(a))
}

// copyArtifact is the flags of "copy artifact".
type copyArtifact struct {
	output
	identityFlags
	from, to          registryFlags
	connection        connectionFlags
	images            bool
	referrers         bool
	imagesTo, mapping string
	layer             string
	trust             verifyFlags
}

// copyResult is what is printed with -o.
type copyResult struct {
	Digest    string        `json:"digest"`
	Tag       string        `json:"tag,omitempty"`
	Manifests int           `json:"manifests"`
	Blobs     int           `json:"blobs"`
	Referrers int           `json:"referrers"`
	Images    []imageResult `json:"images"`
}

type imageResult struct {
	Image  string `json:"image"`
	To     string `json:"to"`
	Digest string `json:"digest"`
}

func newCopyArtifactCmd(a *app) *cobra.Command {
	var f copyArtifact
	cmd := &cobra.Command{
		Use:   "artifact FROM TO",
		Short: "Copy an artifact to another registry, or to and from a folder",
		Long: "Copy an artifact, unchanged and with what belongs to it, such as signatures. FROM and TO are references\n" +
			"(oci://registry/repository:tag) or folders in the OCI image layout (oci-layout:PATH or oci-layout:PATH:TAG; a\n" +
			"PATH that ends in .tar is a file). Without a tag, TO gets that of FROM. With --with-images the images that the\n" +
			"objects name are copied as well, and a kustomization is written that gives them their new names. What is\n" +
			"encrypted is copied as it is; only to find its images it has to be decrypted.",
		Example: "  # To another registry, under the same tag\n  kustomizer copy artifact oci://ghcr.io/me/app:1.0.0 oci://registry.example.com/me/app\n\n" +
			"  # To a place without a network, with the images: first to a file, there from the file\n" +
			"  kustomizer copy artifact oci://ghcr.io/me/app:1.0.0 oci-layout:app.tar --with-images\n" +
			"  kustomizer copy artifact oci-layout:app.tar:1.0.0 oci://registry.local/me/app --with-images --images-mapping=images.yaml\n\n" +
			"  # Only what is signed, also without a network\n" +
			"  kustomizer copy artifact oci-layout:app.tar:1.0.0 oci://registry.local/me/app --verify --cosign-key=cosign.pub\n\n" +
			"  # Without its signatures\n" +
			"  kustomizer copy artifact oci://ghcr.io/me/app:1.0.0 oci-layout:./app --referrers=false",
		Args: positional("FROM", "TO"),
	}
	f.AddFlags(cmd)
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		req, err := f.request(ctx, a, cmd, args)
		if err != nil {
			return err
		}
		defer req.Client.Close()
		got, err := deploy.CopyArtifact(ctx, req)
		if err != nil {
			return err
		}
		return errors.Join(f.say(a, args[1], got), a.tellCopied(cmd, args[1], got))
	})
	return cmd
}

// AddFlags adds the command's flags.
func (f *copyArtifact) AddFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.output.AddFlags(cmd, "", formatJSON, formatYAML)
	fs.StringVar(&f.from.creds, "from-creds", "", "credentials for the registry of FROM, as USER:PASSWORD; prefer kustomizer login")
	fs.StringVar(&f.to.creds, "to-creds", "", "credentials for the registry of TO, as USER:PASSWORD; prefer kustomizer login")
	f.from.provider.AddFlags(fs, "from-provider", "the registry of FROM")
	f.to.provider.AddFlags(fs, "to-provider", "the registry of TO")
	f.connection.AddFlags(fs)
	fs.BoolVar(&f.referrers, "referrers", true, "with what belongs to the artifact, such as signatures and SBOMs")
	fs.BoolVar(&f.images, "with-images", false, "with the images that its objects name")
	fs.StringVar(&f.imagesTo, "images-to", "", "where in a registry images go, below which are the names of theirs (default: beside TO)")
	fs.StringVar(&f.mapping, "images-mapping", "", "file for the kustomization that gives images their new names (default: standard output)")
	addLayerFlag(cmd, &f.layer)
	f.identityFlags.AddFlags(fs)
	f.trust.AddFlags(fs)
}

func (f *copyArtifact) request(ctx context.Context, a *app, cmd *cobra.Command, args []string) (deploy.CopyRequest, error) {
	req := deploy.CopyRequest{Referrers: f.referrers, Images: f.images, LayerType: f.layer}
	var err error
	if req.From, err = copyPlace(args[0], true); err != nil {
		return req, err
	}
	if req.To, err = copyPlace(args[1], false); err != nil {
		return req, err
	}
	if !f.images && (f.imagesTo != "" || f.mapping != "") {
		return req, badUsage("", "--images-to and --images-mapping are for --with-images")
	}
	if err := f.output.check(); err != nil {
		return req, err
	}
	if req.Verify, err = f.trust.policy(ctx, a, cmd); err != nil {
		return req, err
	}
	if req.ImagesBase = strings.TrimSuffix(strings.TrimPrefix(f.imagesTo, artifact.Scheme), "/"); req.ImagesBase == "" && req.To.Layout == "" {
		repo := req.To.Reference.Repository()
		req.ImagesBase = strings.TrimSuffix(repo.Host()+"/"+path.Dir(repo.Path()), "/.")
	}
	if req.Keys, err = f.keys(); err != nil {
		return req, err
	}
	req.Client, err = f.client(a, req)
	return req, err
}

// client makes one client for all registries that take part.
func (f *copyArtifact) client(a *app, req deploy.CopyRequest) (*registry.Client, error) {
	var credentials registry.Credentials = a.docker()
	for _, side := range []struct {
		flags registryFlags
		place deploy.CopyPlace
	}{{f.from, req.From}, {f.to, req.To}} {
		if !side.flags.chosen() || side.place.Layout != "" {
			continue
		}
		if side.flags.creds != "" {
			a.ui.Warn("credentials on the command line are visible to others: prefer %s login", a.program.name())
		}
		host := side.place.Reference.Repository().Host()
		own, err := side.flags.credentials(a, host)
		if err != nil {
			return nil, err
		}
		credentials = perHost{host: host, own: own, others: credentials}
	}
	return f.connection.connect(a, credentials)
}

// copyPlace reads an argument: a reference, or the path of a layout with a tag or a digest.
func copyPlace(given string, source bool) (deploy.CopyPlace, error) {
	rest, isLayout := strings.CutPrefix(given, layoutScheme)
	if !isLayout {
		if !strings.HasPrefix(given, artifact.Scheme) {
			return deploy.CopyPlace{}, badUsage("for example oci://ghcr.io/me/app:1.0.0 or oci-layout:./app", "%q is neither oci:// nor oci-layout:", given)
		}
		if source {
			ref, err := artifactURL(given)
			return deploy.CopyPlace{Reference: ref}, err
		}
		ref, err := artifact.ParseURL(given)
		if _, pinned := ref.Pinned(); err == nil && pinned {
			err = badUsage("give a tag, or nothing", "%q has a digest: what is copied keeps its own", given)
		}
		return deploy.CopyPlace{Reference: ref}, err
	}
	place := deploy.CopyPlace{Layout: rest}
	if file, digest, found := strings.Cut(rest, "@"); found {
		d, err := artifact.ParseDigest(digest)
		if err != nil {
			return place, badUsage("", "%s", err)
		}
		place.Layout, place.Digest = file, d
	} else if colon := strings.LastIndex(rest, ":"); colon > strings.LastIndexAny(rest, `/\`) && colon > 1 {
		place.Layout, place.Tag = rest[:colon], rest[colon+1:]
		if err := checkTags([]string{place.Tag}); err != nil {
			return place, err
		}
	}
	if place.Layout == "" {
		return place, badUsage("for example oci-layout:./app", "%q has no path", given)
	}
	return place, nil
}

func (f *copyArtifact) say(a *app, to string, got deploy.Copied) error {
	a.sayVerified(got.Verified)
	a.ui.Note("copied digest %s to %s", got.Digest, to)
	if got.Referrers > 0 {
		a.ui.Note("copied what belongs to it: %d", got.Referrers)
	}
	if f.mapping != "" {
		text, err := imageMapping(got.Images)
		if err == nil {
			err = os.WriteFile(f.mapping, text, 0o644) //nolint:gosec // names of images are no secret
		}
		if err != nil {
			return fmt.Errorf("writing the names of the images: %w", err)
		}
	}
	if f.structured() {
		out := copyResult{
			Digest: got.Digest.String(), Tag: got.Tag, Manifests: got.Manifests, Blobs: got.Blobs, Referrers: got.Referrers, Images: []imageResult{},
		}
		for _, image := range got.Images {
			out.Images = append(out.Images, imageResult{Image: image.Image, To: image.To, Digest: image.Digest.String()})
		}
		return a.print(f.output, out)
	}
	for _, image := range got.Images {
		a.ui.Note("copied image %s to %s@%s", image.Image, image.To, image.Digest)
	}
	if !f.images || f.mapping != "" || strings.HasPrefix(to, layoutScheme) {
		return nil
	}
	text, err := imageMapping(got.Images)
	if err != nil {
		return err
	}
	a.ui.Data(text)
	return nil
}

// imageMapping is a component of kustomize that gives images their new names.
func imageMapping(images []deploy.CopiedImage) ([]byte, error) {
	type override struct {
		Name    string `json:"name"`
		NewName string `json:"newName"`
		Digest  string `json:"digest"`
	}
	overrides, seen := []override{}, map[string]string{}
	for _, image := range images {
		if digest, twice := seen[image.Name]; twice && digest != image.Digest.String() {
			return nil, badUsage("", "the image %s is used in two versions, which kustomize can't tell apart by name: the mapping is in -o json", image.Name)
		} else if twice {
			continue
		}
		seen[image.Name] = image.Digest.String()
		overrides = append(overrides, override{Name: image.Name, NewName: image.To, Digest: image.Digest.String()})
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "images": overrides,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the names of the images: %w", err)
	}
	return text, nil
}
