// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// Tagged says what [Client.Tag] did.
type Tagged struct {
	Tag      artifact.Tag
	Pinned   artifact.Pinned
	Previous artifact.Digest // what the tag pointed to before; empty if there was no tag
}

// Moved says whether the tag pointed to something else before.
func (t Tagged) Moved() bool { return t.Previous != "" && t.Previous != t.Pinned.Digest() }

// Current asks what a tag points to now. A tag that does not exist points to nothing, the empty
// digest; that is no error.
func (c *Client) Current(ctx context.Context, tag artifact.Tag) (artifact.Digest, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	digest, err := c.current(ctx, tag)
	return digest, c.fail(opResolve, tag, tag.Repository(), err)
}

// Tag lets another tag of the same repository name an artifact. A tag that names it already is left
// as it is.
func (c *Client) Tag(ctx context.Context, pinned artifact.Pinned, name string) (Tagged, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	repo := pinned.Repository()
	tag, err := repo.Tag(name)
	if err != nil {
		return Tagged{}, err
	}
	result := Tagged{Tag: tag, Pinned: pinned}
	previous, err := c.current(ctx, tag)
	if err != nil {
		return result, c.fail(opTag, tag, repo, err)
	}
	result.Previous = previous
	if previous == pinned.Digest() {
		return result, nil
	}
	raw, mediaType, err := c.manifest(ctx, repo, pinned.Digest().String(), true)
	if err != nil {
		return result, c.fail(opTag, pinned, repo, err)
	}
	if _, err := io.Copy(io.Discard, artifact.Verify(bytes.NewReader(raw), artifact.Descriptor{Digest: pinned.Digest(), Size: int64(len(raw))})); err != nil {
		return result, c.fail(opTag, pinned, repo, err)
	}
	return result, c.fail(opTag, tag, repo, c.point(ctx, tag, pinned.Digest(), mediaType, raw))
}

// Point lets a tag name a manifest that is in the repository already, given with its bytes.
func (c *Client) Point(ctx context.Context, tag artifact.Tag, d artifact.Digest, mediaType string, raw []byte) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	return c.fail(opTag, tag, tag.Repository(), c.point(ctx, tag, d, mediaType, raw))
}

// DeleteTag removes a tag and leaves what it points to. A registry that can't do that answers with
// [Rejected] or [ServerError]; a tag that is not there is no error.
func (c *Client) DeleteTag(ctx context.Context, tag artifact.Tag) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	return c.fail(opDelete, tag, tag.Repository(), c.deleteManifest(ctx, tag.Repository(), tag.Name()))
}

// Delete removes an artifact, and with it every tag that still points to it. One that is not there
// is no error.
func (c *Client) Delete(ctx context.Context, pinned artifact.Pinned) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	repo := pinned.Repository()
	return c.fail(opDelete, pinned, repo, c.deleteManifest(ctx, repo, pinned.Digest().String()))
}

func (c *Client) deleteManifest(ctx context.Context, repo artifact.Repository, identifier string) error {
	req, err := c.request(ctx, http.MethodDelete, repo, "manifests/"+identifier, nil)
	if err != nil {
		return err
	}
	resp, err := c.doFor(req, repo, toDelete)
	if err != nil {
		return err
	}
	defer drain(resp)
	return transport.CheckError(resp, http.StatusAccepted, http.StatusOK, http.StatusNoContent, http.StatusNotFound)
}
