// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

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

const (
	maxReferrers     = 10_000
	maxReferrerPages = 50
)

func (c *Client) referrers(ctx context.Context, pinned artifact.Pinned) ([]artifact.Descriptor, error) {
	var found []artifact.Descriptor
	var query url.Values
	for range maxReferrerPages {
		page, next, known, err := c.referrerPage(ctx, pinned, query)
		switch {
		case err != nil:
			return nil, err
		case !known && query == nil:
			return c.referrersByTag(ctx, pinned)
		case !known:
			return nil, &refusedError{code: Invalid, detail: "the list of referrers breaks off between two pages"}
		}
		found = append(found, page...)
		if len(found) > maxReferrers {
			break
		}
		if next == nil {
			return found, nil
		}
		query = next
	}
	return nil, &refusedError{
		code: TooLarge, detail: fmt.Sprintf("there are more than %d referrers, or more than %d pages of them", maxReferrers, maxReferrerPages),
	}
}

// referrerPage asks for a part of the list. Known is false where the registry has no API for it.
func (c *Client) referrerPage(ctx context.Context, pinned artifact.Pinned, query url.Values) (
	found []artifact.Descriptor, next url.Values, known bool, err error,
) {
	repo := pinned.Repository()
	req, err := c.request(ctx, http.MethodGet, repo, "referrers/"+pinned.Digest().String(), query)
	if err != nil {
		return nil, nil, false, err
	}
	req.Header.Set("Accept", artifact.MediaTypeIndex)
	resp, err := c.do(req, repo, false)
	if err != nil {
		return nil, nil, false, err
	}
	defer drain(resp)
	switch resp.StatusCode {
	case http.StatusOK:
		raw, err := io.ReadAll(resp.Body) // bounded by the transport
		if err != nil {
			return nil, nil, false, err
		}
		found, err := indexed(raw)
		if mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); err != nil && mediaType != artifact.MediaTypeIndex {
			// An answer that is no index comes from a registry that does not know the request.
			return nil, nil, false, nil
		}
		// An index that can't be read says that there is something, and not what.
		return found, nextPage(resp.Header.Get("Link")), true, err
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusNotAcceptable, http.StatusNotImplemented:
		return nil, nil, false, nil
	default:
		return nil, nil, false, transport.CheckError(resp, http.StatusOK)
	}
}

// Refer sees that a manifest is found among the referrers of its subject. A registry with an API for
// that has noticed it by itself; for others it is added to the index under the tag that stands in for
// the API. Somebody else may write that index at the same moment, so it is looked at once more.
func (c *Client) Refer(ctx context.Context, subject artifact.Pinned, referrer artifact.Descriptor) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	err := c.refer(ctx, subject, referrer)
	return c.fail(opTag, subject, subject.Repository(), err)
}

func (c *Client) refer(ctx context.Context, subject artifact.Pinned, referrer artifact.Descriptor) error {
	repo := subject.Repository()
	for range maxAttempts {
		known, err := c.referrers(ctx, subject)
		if err != nil || slices.ContainsFunc(known, func(d artifact.Descriptor) bool { return d.Digest == referrer.Digest }) {
			return err
		}
		raw, err := artifact.Index(append(known, referrer))
		if err != nil {
			return err
		}
		if err := c.putManifest(ctx, repo, artifact.ReferrersTag(subject.Digest()), artifact.MediaTypeIndex, raw); err != nil {
			return err
		}
	}
	known, err := c.referrers(ctx, subject)
	if err == nil && !slices.ContainsFunc(known, func(d artifact.Descriptor) bool { return d.Digest == referrer.Digest }) {
		err = &refusedError{code: Rejected, detail: "the registry does not list " + referrer.Digest.String() + " among the referrers"}
	}
	return err
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
		return nil, &refusedError{code: Invalid, detail: "the list of referrers: " + artifact.OneLine(err.Error())}
	}
	return index.Manifests, nil
}
