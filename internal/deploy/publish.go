// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/secrets"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// PublishRequest says what to publish, and where.
type PublishRequest struct {
	Client   *registry.Client
	Tag      artifact.Tag
	MoreTags []string                     // of the same repository, set after the first one
	Objects  []*unstructured.Unstructured // in the order in which they are to be read
	// Tree is published as it is, in place of objects.
	Tree           *artifact.Tree
	Metadata       artifact.Metadata
	LayerMediaType string // empty for the default
	// Recipients are who can read the artifact; nil for everybody.
	Recipients *secrets.Recipients
	// AllowEmpty: an artifact without objects is meant. Deployed, it would delete everything.
	AllowEmpty bool
	Guard      TagGuard
	// Images looks up the images that the objects name; what is missing refuses the artifact. Nil
	// for not looking.
	Images *registry.Client
	// Sign: the artifact is signed, by digest, before any tag points to it. Nil for not signing.
	Sign    *trust.Signer
	Layouts []trust.Layout // of the signature; empty for the default
}

// Published says where an artifact is now.
type Published struct {
	Pinned artifact.Pinned
	Sent   bool              // false if all of it was there before
	Files  []string          // of a tree
	Size   int64             // of the layer
	Tags   []registry.Tagged // what each tag points to now, and pointed to before
	Signed []trust.Signed
}

// EmptyArtifactError says that there is nothing to publish.
type EmptyArtifactError struct{ Tag artifact.Tag }

// Error implements error.
func (e *EmptyArtifactError) Error() string {
	return fmt.Sprintf("there is nothing to publish as %s: no objects were rendered", e.Tag)
}

// Publish packs objects or a tree into an artifact and pushes it. The tags are set last, so that they
// never point to half an artifact. What is returned holds as far as it came, also with an error.
func Publish(ctx context.Context, req PublishRequest) (Published, error) {
	tags, err := tagsOf(req.Tag, req.MoreTags)
	if err != nil {
		return Published{}, err
	}
	if req.Images != nil {
		if err := RequireImages(ctx, req.Images, object.Images(req.Objects)); err != nil {
			return Published{}, err
		}
	}
	spool, err := os.MkdirTemp("", "kustomizer-push-")
	if err != nil {
		return Published{}, fmt.Errorf("making room for the artifact: %w", err)
	}
	defer os.RemoveAll(spool)
	looking := lookAhead(ctx, req, tags)
	packed, files, err := pack(ctx, req, spool)
	known, lookErr := looking(err == nil)
	if err != nil {
		return Published{}, err
	}
	out := Published{Pinned: req.Tag.Repository().At(packed.Digest), Files: files, Size: packed.Layers[0].Size}
	if lookErr != nil {
		return out, asPushing(lookErr)
	}
	mover := tagMover{client: req.Client, guard: req.Guard, pinned: out.Pinned, created: req.Metadata.Created, known: known}
	if err := mover.look(ctx, tags); err != nil || !mover.moves() && req.Sign == nil {
		out.Tags = mover.done
		return out, asPushing(err)
	}
	if out.Sent, err = req.Client.Upload(ctx, req.Tag.Repository(), packed); err != nil {
		return out, err
	}
	if req.Sign != nil {
		out.Signed, err = trust.Sign(ctx, trust.SignRequest{Client: req.Client, Pinned: out.Pinned, Signer: *req.Sign, Layouts: req.Layouts})
		if err != nil {
			return out, fmt.Errorf("publishing %s without a signature, and without a tag: %w", out.Pinned, err)
		}
	}
	err = mover.move(ctx, packed.MediaType, packed.Manifest)
	out.Tags = mover.done
	return out, err
}

// lookAhead asks what the tags point to while the artifact is packed, where nothing depends on its
// being the latest: a guard looks right before it decides. Who calls it has to ask for the answer; if
// that is not wanted any more, it is not waited for.
func lookAhead(ctx context.Context, req PublishRequest, tags []artifact.Tag) func(wanted bool) (map[artifact.Tag]artifact.Digest, error) {
	found := map[artifact.Tag]artifact.Digest{}
	if req.Guard != (TagGuard{}) || req.Tree == nil && len(req.Objects) == 0 {
		return func(bool) (map[artifact.Tag]artifact.Digest, error) { return found, nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		for _, tag := range tags {
			now, err := req.Client.Current(ctx, tag)
			if err != nil {
				done <- err
				return
			}
			found[tag] = now
		}
		done <- nil
	}()
	return func(wanted bool) (map[artifact.Tag]artifact.Digest, error) {
		if !wanted {
			cancel()
		}
		err := <-done
		cancel()
		return found, err
	}
}

// asPushing lets an error from looking at the tags name what was wanted.
func asPushing(err error) error {
	var e *registry.Error
	if errors.As(err, &e) {
		e.Op = "pushing"
	}
	return err
}

func tagsOf(first artifact.Tag, more []string) ([]artifact.Tag, error) {
	tags := []artifact.Tag{first}
	for _, name := range more {
		tag, err := first.Repository().Tag(name)
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
	}
	return tags, nil
}

func pack(ctx context.Context, req PublishRequest, spool string) (*artifact.Packed, []string, error) {
	opts := artifact.PackOptions{LayerMediaType: req.LayerMediaType}
	if req.Recipients != nil {
		opts.Encrypt = req.Recipients.Encrypt
	}
	if req.Tree != nil {
		packed, files, err := artifact.PackTree(ctx, *req.Tree, req.Metadata, opts, spool)
		if err == nil && len(files) == 0 && !req.AllowEmpty {
			err = &EmptyArtifactError{Tag: req.Tag}
		}
		return packed, files, err
	}
	if len(req.Objects) == 0 && !req.AllowEmpty {
		return nil, nil, &EmptyArtifactError{Tag: req.Tag}
	}
	yaml, err := object.EncodeYAML(req.Objects)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the objects: %w", err)
	}
	packed, err := artifact.PackYAML(yaml, req.Metadata, opts)
	return packed, nil, err
}
