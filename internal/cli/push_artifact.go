// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
)

func newPushCmd(a *app) *cobra.Command {
	return verb("push", "Publish artifacts", newPushArtifactCmd(a))
}

// pushArtifact is the flags of "push artifact".
type pushArtifact struct {
	registryFlags
	contentFlags
	metadataFlags
	guardFlags
	recipientFlags
	output
	signing                   signFlags
	layerMediaType            string
	tags                      []string
	allowEmpty, requireImages bool
}

// pushResult is what is printed with -o. The first fields are Flux's.
type pushResult struct {
	URL        string         `json:"url"`
	Repository string         `json:"repository"`
	Tag        string         `json:"tag"`
	Digest     string         `json:"digest"`
	Sent       bool           `json:"sent"` // false if all of it was there before
	Size       int64          `json:"size"` // of the layer
	Source     string         `json:"source,omitempty"`
	Revision   string         `json:"revision,omitempty"`
	Tags       []taggedResult `json:"tags"`
	Objects    []string       `json:"objects"`
	Files      []string       `json:"files,omitempty"`
	Signatures []signedResult `json:"signatures,omitempty"`
}

const pushLong = `Build manifests, publish the objects as an OCI artifact and let a tag point to it; or, with --path,
publish files as they are. The same content and the same annotations give the same digest on every
machine. A tag that is there is moved, unless one of the flags refuses that.

What is wrong with the manifests is told before anything is sent, all of it at once. Source, revision
and date are taken from the Git repository that the content lies in, or from the CI system, where they
are not given. With --path, .sourceignore files say what to leave out, in the form of .gitignore.

With --age-recipients the content is encrypted with age, and only the annotations can be read by others.
Such an artifact has another digest each time that it is pushed, also without a change.`

func newPushArtifactCmd(a *app) *cobra.Command {
	var f pushArtifact
	cmd := &cobra.Command{
		Use:   "artifact URL",
		Short: "Build manifests and publish them as an artifact",
		Long:  pushLong,
		Example: "  # What an overlay builds\n  kustomizer push artifact oci://ghcr.io/me/app:1.0.0 -k ./deploy\n\n" +
			"  # Plain manifests, patched, under a second tag, with the digest for a script\n" +
			"  kustomizer push artifact oci://ghcr.io/me/app:1.0.0 -f ./manifests -p ./production.yaml --tag=latest -o json\n\n" +
			"  # Files as they are, for the agent to build\n" +
			"  kustomizer push artifact oci://ghcr.io/me/app:1.0.0 --path=./deploy --ignore-paths=\"*.md\"\n\n" +
			"  # Readable only with one of two keys\n" +
			"  kustomizer push artifact oci://ghcr.io/me/app:1.0.0 -k ./deploy --age-recipients=age1… --age-recipients=./team.pub\n\n" +
			"  # Signed before the tag points to it, as the workflow that runs this or with a key\n" +
			"  kustomizer push artifact oci://ghcr.io/me/app:1.0.0 -k ./deploy --sign\n" +
			"  kustomizer push artifact oci://ghcr.io/me/app:1.0.0 -k ./deploy --sign --cosign-key=cosign.key\n\n" +
			"  # With where it comes from, unless a later run was faster\n" +
			"  kustomizer push artifact oci://ghcr.io/me/app:latest -k ./deploy --tag-only-if-newer \\\n" +
			"    --source=https://github.com/me/app --revision=\"main@sha1:$(git rev-parse HEAD)\" --created=\"$(git log -1 --format=%cI)\"",
		Args: positional("URL"),
	}
	f.AddFlags(a, cmd)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		tag, meta, err := f.check(a, cmd, args[0])
		if err != nil {
			return err
		}
		recipients, err := f.recipients()
		if err != nil {
			return err
		}
		signer, layouts, err := f.signing.signer(ctx, a, cmd)
		if err != nil {
			return err
		}
		client, err := f.client(a, tag.Repository().Host())
		if err != nil {
			return err
		}
		defer client.Close()
		return f.publish(ctx, a, cmd, deploy.PublishRequest{
			Client: client, Tag: tag, MoreTags: f.tags, Metadata: meta, AllowEmpty: f.allowEmpty,
			Guard: f.guard(), LayerMediaType: f.layerMediaType, Recipients: recipients, Sign: signer, Layouts: layouts,
		})
	})
	return cmd
}

// AddFlags adds the command's flags.
func (f *pushArtifact) AddFlags(a *app, cmd *cobra.Command) {
	fs := cmd.Flags()
	f.registryFlags.AddFlags(fs)
	f.contentFlags.AddFlags(a, fs)
	f.metadataFlags.AddFlags(fs)
	f.guardFlags.AddFlags(fs)
	f.recipientFlags.AddFlags(fs)
	f.signing.AddFlags(fs)
	f.output.AddFlags(cmd, "", formatJSON, formatYAML)
	fs.StringSliceVar(&f.tags, "tag", nil, "further tags that are to point to the artifact")
	fs.BoolVar(&f.allowEmpty, "allow-empty", false, "publish also if there is nothing to publish")
	fs.BoolVar(&f.requireImages, "require-images", false, "refuse if an image that the objects name does not exist")
	fs.StringVar(&f.layerMediaType, "layer-media-type", "", "name of the layer's type, for consumers that insist on theirs (default "+artifact.MediaTypeLayer+")")
	fs.Bool("debug", false, "accepted for Flux's sake")
	_ = fs.MarkHidden("debug")
}

// check looks at all that was given before anything is built or sent.
func (f *pushArtifact) check(a *app, cmd *cobra.Command, given string) (artifact.Tag, artifact.Metadata, error) {
	tag, err := tagURL(given)
	for _, check := range []func() error{
		func() error { return f.contentFlags.check(cmd, true) },
		f.output.check,
		f.guardFlags.check,
		func() error { return checkTags(f.tags) },
		func() error {
			if f.requireImages && f.path != "" {
				return badUsage("", "--require-images needs manifests that are built, not --path")
			}
			return nil
		},
	} {
		if err == nil {
			err = check()
		}
	}
	if err != nil {
		return artifact.Tag{}, artifact.Metadata{}, err
	}
	meta, err := f.metadata(a.getenv, f.place())
	return tag, meta, err
}

// publish builds what was asked for and pushes it.
func (f *pushArtifact) publish(ctx context.Context, a *app, cmd *cobra.Command, req deploy.PublishRequest) error {
	if f.path == "" {
		objs, err := f.build(ctx, a)
		if err != nil {
			return err
		}
		req.Objects = objs
	} else {
		tree, done, err := f.tree(a)
		if err != nil {
			return err
		}
		defer done()
		req.Tree = tree
	}
	if f.requireImages {
		images, err := f.imageClient(a, req.Tag.Repository().Host())
		if err != nil {
			return err
		}
		defer images.Close()
		req.Images = images
	}
	if req.Recipients == nil {
		a.ui.Note("pushing image %s", req.Tag)
	} else {
		a.ui.Note("pushing encrypted image %s", req.Tag)
	}
	got, err := deploy.Publish(ctx, req)
	if err != nil {
		a.sayMoved(got.Tags)
		return err
	}
	return errors.Join(f.say(a, req, got), a.tellPublished(cmd, req, got))
}

// build renders the objects and lists them.
func (f *pushArtifact) build(ctx context.Context, a *app) ([]*unstructured.Unstructured, error) {
	a.ui.Note("building manifests...")
	objs, err := f.objects(ctx, a)
	if err != nil {
		return nil, err
	}
	if !f.structured() {
		a.ui.Results(names(objs))
	}
	return objs, nil
}

func (f *pushArtifact) say(a *app, req deploy.PublishRequest, got deploy.Published) error {
	if !f.structured() {
		a.ui.Results(got.Files)
	}
	a.ui.Note("published digest %s", got.Pinned)
	if !got.Sent {
		a.ui.Note("nothing was sent: the registry has all of it")
	}
	a.saySigned(got.Pinned.Digest().String(), got.Signed)
	a.sayMoved(got.Tags)
	if !f.structured() {
		return nil
	}
	result := pushResult{
		URL: got.Pinned.URL(), Repository: req.Tag.Repository().String(), Tag: req.Tag.Name(),
		Digest: got.Pinned.Digest().String(), Sent: got.Sent, Size: got.Size,
		Source: req.Metadata.Source, Revision: req.Metadata.Revision,
		Tags: taggedResults(got.Tags), Objects: names(req.Objects), Files: got.Files,
		Signatures: signedResults(got.Pinned.Digest().String(), got.Signed),
	}
	return a.print(f.output, result)
}

// guardFlags is the group of flags that refuse to move a tag.
type guardFlags struct {
	expect                   string
	noOverwrite, onlyIfNewer bool
}

// AddFlags adds the group to a command.
func (f *guardFlags) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.noOverwrite, "no-overwrite", false, "refuse to move a tag that is there")
	fs.StringVar(&f.expect, "expect", "", "refuse to move a tag unless it points to this digest")
	fs.BoolVar(&f.onlyIfNewer, "tag-only-if-newer", false, "refuse to move a tag from what was created later, or at the same time")
}

func (f *guardFlags) check() error {
	if f.expect == "" {
		return nil
	}
	if f.noOverwrite {
		return badUsage("", "--expect and --no-overwrite exclude each other")
	}
	_, err := artifact.ParseDigest(f.expect)
	if err != nil {
		return badUsage("", "--expect: %s", err)
	}
	return nil
}

func (f *guardFlags) guard() deploy.TagGuard {
	return deploy.TagGuard{Expect: artifact.Digest(f.expect), NoOverwrite: f.noOverwrite, OnlyIfNewer: f.onlyIfNewer}
}
