// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// The operations of an [Error].
const (
	opResolve = "resolving"
	opPull    = "pulling"
	opPush    = "pushing"
	opTag     = "tagging"
	opList    = "listing the tags of"
	opDelete  = "deleting"
	opRefer   = "looking for what refers to"
	opLogin   = "logging in to"
)

// Resolve asks what a tag points to. Once the registry's challenge has been answered it costs one
// HEAD request.
func (c *Client) Resolve(ctx context.Context, tag artifact.Tag) (artifact.Pinned, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	digest, err := c.digestOf(ctx, tag.Repository(), tag.Name(), false)
	if err != nil {
		return artifact.Pinned{}, c.fail(opResolve, tag, tag.Repository(), err)
	}
	return tag.Repository().At(digest), nil
}

// Exists says whether the manifest with a digest is in its repository.
func (c *Client) Exists(ctx context.Context, pinned artifact.Pinned) (bool, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	_, err := c.digestOf(ctx, pinned.Repository(), pinned.Digest().String(), false)
	err = c.fail(opResolve, pinned, pinned.Repository(), err)
	if IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// digestOf returns the digest of what a tag or a digest names: of the header that answers HEAD, or,
// where a registry does not send one, of the manifest itself.
func (c *Client) digestOf(ctx context.Context, repo artifact.Repository, identifier string, push bool) (artifact.Digest, error) {
	resp, err := c.manifestRequest(ctx, http.MethodHead, repo, identifier, push)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		if digest, err := artifact.ParseDigest(resp.Header.Get("Docker-Content-Digest")); err == nil {
			return digest, nil
		}
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
	case http.StatusNotFound:
		// Some registries don't know HEAD; GET tells them from those where nothing is there, and
		// says what it is that is missing. Before a push that there is nothing is what is expected.
		if push {
			return "", transport.CheckError(resp, http.StatusOK)
		}
	default:
		return "", transport.CheckError(resp, http.StatusOK)
	}
	raw, _, err := c.manifest(ctx, repo, identifier, push)
	if err != nil {
		return "", err
	}
	return artifact.DigestOf(raw), nil
}

func (c *Client) manifestRequest(ctx context.Context, method string, repo artifact.Repository, identifier string, push bool) (*http.Response, error) {
	req, err := c.request(ctx, method, repo, "manifests/"+identifier, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", strings.Join(artifact.ManifestMediaTypes(), ", "))
	return c.do(req, repo, push)
}

// request makes a request below a repository's part of the API. The scheme is decided by the
// session's transport.
func (c *Client) request(ctx context.Context, method string, repo artifact.Repository, at string, query url.Values) (*http.Request, error) {
	target, err := c.target(repo)
	if err != nil {
		return nil, err
	}
	u := url.URL{
		Scheme: target.Scheme(), Host: target.RegistryStr(),
		Path: "/v2/" + target.RepositoryStr() + "/" + at, RawQuery: query.Encode(),
	}
	return http.NewRequestWithContext(ctx, method, u.String(), nil)
}

func (c *Client) do(req *http.Request, repo artifact.Repository, push bool) (*http.Response, error) {
	return c.doFor(req, repo, purposeOf(push))
}

func (c *Client) doFor(req *http.Request, repo artifact.Repository, p purpose) (*http.Response, error) {
	client, err := c.session(req.Context(), repo, p)
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}

// manifest returns the bytes of a manifest and the media type that the registry declares.
func (c *Client) manifest(ctx context.Context, repo artifact.Repository, identifier string, push bool) ([]byte, string, error) {
	resp, err := c.manifestRequest(ctx, http.MethodGet, repo, identifier, push)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, "", err
	}
	raw, err := io.ReadAll(resp.Body) // bounded by the transport
	if err != nil {
		return nil, "", err
	}
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return raw, strings.TrimSpace(mediaType), nil
}

// Manifest returns the bytes of a manifest, which are those that the digest names, and the media type
// that the registry declares for them.
func (c *Client) Manifest(ctx context.Context, pinned artifact.Pinned) (raw []byte, mediaType string, err error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	repo := pinned.Repository()
	err = c.twice(func() error {
		raw, mediaType, err = c.manifest(ctx, repo, pinned.Digest().String(), false)
		if err != nil {
			return err
		}
		sum := pinned.Digest().NewHash()
		sum.Write(raw)
		if !pinned.Digest().Matches(sum) {
			return &artifact.MismatchError{Want: pinned.Digest(), Size: int64(len(raw))}
		}
		return nil
	})
	if err != nil {
		return nil, "", c.fail(opPull, pinned, repo, err)
	}
	return raw, mediaType, nil
}

// TagManifest returns the manifest that a tag points to now, with its digest, which is that of the
// bytes.
func (c *Client) TagManifest(ctx context.Context, tag artifact.Tag) (raw []byte, d artifact.Descriptor, err error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	raw, mediaType, err := c.manifest(ctx, tag.Repository(), tag.Name(), false)
	if err != nil {
		return nil, artifact.Descriptor{}, c.fail(opPull, tag, tag.Repository(), err)
	}
	return raw, artifact.Descriptor{MediaType: mediaType, Digest: artifact.DigestOf(raw), Size: int64(len(raw))}, nil
}

// twice repeats something once if it received other bytes than it asked for: a broken cache in
// between is usually broken once.
func (c *Client) twice(do func() error) error {
	var mismatch *artifact.MismatchError
	err := do()
	if errors.As(err, &mismatch) {
		err = do()
	}
	return err
}

// Sink takes the bytes of a blob. Unless they are those of the descriptor it keeps nothing, and
// returns an [artifact.MismatchError] or an [artifact.ShortError].
type Sink interface {
	Put(ctx context.Context, d artifact.Descriptor, content io.Reader) error
}

// PullBlob copies a blob of a repository to a sink. A download that breaks off is begun again, three
// times in all.
func (c *Client) PullBlob(ctx context.Context, repo artifact.Repository, d artifact.Descriptor, to Sink) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	var err error
	for attempt := 1; attempt <= maxAttempts; attempt++ {
		err = c.twice(func() error { return c.pullOnce(ctx, repo, d, to) })
		if err == nil || !brokeOff(ctx, err) {
			break
		}
		if sleep(ctx, jitter(c.base.pause<<(attempt-1))) != nil {
			break
		}
	}
	return c.fail(opPull, repo.At(d.Digest), repo, err)
}

// brokeOff says whether a download ended before its end. Requests that were not answered at all have
// been repeated by the transport.
func brokeOff(ctx context.Context, err error) bool {
	var short *artifact.ShortError
	var broken *brokenError
	return ctx.Err() == nil && (errors.As(err, &short) || errors.As(err, &broken))
}

// brokenError is one of the connection while a body was read.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

func (c *Client) pullOnce(ctx context.Context, repo artifact.Repository, d artifact.Descriptor, to Sink) error {
	req, err := c.request(ctx, http.MethodGet, repo, "blobs/"+d.Digest.String(), nil)
	if err != nil {
		return err
	}
	resp, err := c.do(req, repo, false)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return err
	}
	if resp.ContentLength >= 0 && resp.ContentLength != d.Size {
		return &refusedError{code: DigestMismatch, detail: fmt.Sprintf(
			"the registry announces %d bytes for %s, its manifest says %d", resp.ContentLength, d.Digest, d.Size)}
	}
	body := &watched{r: resp.Body}
	err = to.Put(ctx, d, body)
	var mismatch *artifact.MismatchError
	var short *artifact.ShortError
	switch {
	case err == nil, errors.As(err, &mismatch), errors.As(err, &short):
		return err
	case isRefused(body.err):
		return body.err
	case body.err != nil:
		return &brokenError{body.err}
	default:
		return &localError{err}
	}
}

// watched remembers the error that its reader ended with, to tell the network's from the sink's.
type watched struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// localError is one of the sink: nothing that a registry can do about.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

func isRefused(err error) bool {
	var refused *refusedError
	return errors.As(err, &refused)
}

func isLocal(err error) bool {
	var local *localError
	return errors.As(err, &local)
}
