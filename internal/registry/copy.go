// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// HasBlob says whether a blob is in a repository, which is asked as one who wants to push there.
func (c *Client) HasBlob(ctx context.Context, repo artifact.Repository, d artifact.Descriptor) (bool, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	there, err := c.blobExists(ctx, repo, d)
	return there, c.fail(opPush, repo.At(d.Digest), repo, err)
}

// PushBlob sends a blob unless it is there.
func (c *Client) PushBlob(ctx context.Context, repo artifact.Repository, b artifact.Blob) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	_, err := c.pushBlob(ctx, repo, b, ownTurn())
	return c.fail(opPush, repo.At(b.Digest), repo, err)
}

// PushManifest sends a manifest by digest. What it points to has to be there.
func (c *Client) PushManifest(ctx context.Context, pinned artifact.Pinned, mediaType string, raw []byte) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	repo := pinned.Repository()
	err := c.putManifest(ctx, repo, pinned.Digest().String(), mediaType, raw)
	return c.fail(opPush, pinned, repo, err)
}
