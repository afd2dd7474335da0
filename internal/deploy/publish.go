// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// PublishRequest says what to publish, and where.
type PublishRequest struct {
	Client   *registry.Client
	Tag      artifact.Tag
	MoreTags []string                     // of the same repository, set after the first one
	Objects  []*unstructured.Unstructured // in the order in which they are to be read
	Metadata artifact.Metadata
	// AllowEmpty: an artifact without objects is meant. Deployed, it would delete everything.
	AllowEmpty bool
}

// Published says where an artifact is now.
type Published struct {
	Pinned artifact.Pinned
	Sent   bool              // false if all of it was there before
	Tags   []registry.Tagged // what each tag points to now, and pointed to before
}

// EmptyArtifactError says that there is nothing to publish.
type EmptyArtifactError struct{ Tag artifact.Tag }

// Error implements error.
func (e *EmptyArtifactError) Error() string {
	return fmt.Sprintf("there is nothing to publish as %s: no objects were rendered", e.Tag)
}

// Publish packs objects into an artifact and pushes it. The tags are set last, so that they never
// point to half an artifact. What is returned holds as far as it came, also with an error.
func Publish(ctx context.Context, req PublishRequest) (Published, error) {
	if len(req.Objects) == 0 && !req.AllowEmpty {
		return Published{}, &EmptyArtifactError{Tag: req.Tag}
	}
	yaml, err := object.EncodeYAML(req.Objects)
	if err != nil {
		return Published{}, fmt.Errorf("encoding the objects: %w", err)
	}
	packed, err := artifact.PackYAML(yaml, req.Metadata, artifact.PackOptions{})
	if err != nil {
		return Published{}, err
	}
	pushed, err := req.Client.Push(ctx, req.Tag, packed)
	out := Published{Pinned: pushed.Pinned, Sent: pushed.Sent}
	if err != nil {
		return out, err
	}
	out.Tags = append(out.Tags, registry.Tagged{Tag: req.Tag, Pinned: pushed.Pinned, Previous: pushed.Previous})
	for _, name := range req.MoreTags {
		tagged, err := req.Client.Tag(ctx, pushed.Pinned, name)
		if err != nil {
			return out, err
		}
		out.Tags = append(out.Tags, tagged)
	}
	return out, nil
}

// TagArtifact lets further tags point to an artifact, which is read once: all of them name the same
// digest, whatever happens to its tag meanwhile.
func TagArtifact(ctx context.Context, c *registry.Client, ref artifact.Reference, names ...string) ([]registry.Tagged, error) {
	pinned, err := pin(ctx, c, ref)
	if err != nil {
		return nil, err
	}
	var done []registry.Tagged
	for _, name := range names {
		tagged, err := c.Tag(ctx, pinned, name)
		if err != nil {
			return done, err
		}
		done = append(done, tagged)
	}
	return done, nil
}

// pin resolves a reference to a digest.
func pin(ctx context.Context, c *registry.Client, ref artifact.Reference) (artifact.Pinned, error) {
	got, err := resolve(ctx, FetchRequest{Client: c, Reference: ref})
	return got.Pinned, err
}
