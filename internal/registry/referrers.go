// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// Referrers lists the manifests that name an artifact as their subject, such as signatures. Where a
// registry has no API for that, they are in an index under a tag made of the digest. That there are
// none is no error; that it can't be told is one.
func (c *Client) Referrers(ctx context.Context, pinned artifact.Pinned) ([]artifact.Descriptor, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	found, err := c.referrers(ctx, pinned)
	return found, c.fail(opRefer, pinned, pinned.Repository(), err)
}

func (c *Client) referrers(ctx context.Context, pinned artifact.Pinned) ([]artifact.Descriptor, error) {
	repo := pinned.Repository()
	req, err := c.request(ctx, http.MethodGet, repo, "referrers/"+pinned.Digest().String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", artifact.MediaTypeIndex)
	resp, err := c.do(req, repo, false)
	if err != nil {
		return nil, err
	}
	defer drain(resp)
	switch resp.StatusCode {
	case http.StatusOK:
		raw, err := io.ReadAll(resp.Body) // bounded by the transport
		if err != nil {
			return nil, err
		}
		if found, err := indexed(raw); err == nil {
			return found, nil
		}
		// An answer that is no index comes from a registry that does not know the request.
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusNotAcceptable, http.StatusNotImplemented:
	default:
		return nil, transport.CheckError(resp, http.StatusOK)
	}
	return c.referrersByTag(ctx, pinned)
}

// referrersByTag reads the index that stands in for the API.
func (c *Client) referrersByTag(ctx context.Context, pinned artifact.Pinned) ([]artifact.Descriptor, error) {
	raw, _, err := c.manifest(ctx, pinned.Repository(), artifact.ReferrersTag(pinned.Digest()), false)
	switch {
	case statusIs(err, http.StatusNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return indexed(raw)
}

func indexed(raw []byte) ([]artifact.Descriptor, error) {
	index, err := artifact.ParseManifest(raw, artifact.MediaTypeIndex)
	if err != nil {
		return nil, &refusedError{code: Invalid, detail: "the list of referrers: " + oneLine(err.Error())}
	}
	return index.Manifests, nil
}
