// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// Pushed says what [Client.Push] did.
type Pushed struct {
	Pinned   artifact.Pinned
	Previous artifact.Digest // what the tag pointed to before; empty if there was no tag
	Sent     bool            // false if all of it was there before
}

// Push sends an artifact and points a tag to it. The order is layers, config, manifest by digest, and
// the tag last: whenever it ends early, the tag still points to what it did before, or to all of the
// new artifact. Blobs that are there are not sent again.
func (c *Client) Push(ctx context.Context, tag artifact.Tag, p *artifact.Packed) (Pushed, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	repo := tag.Repository()
	result := Pushed{Pinned: repo.At(p.Digest)}
	fail := func(err error) (Pushed, error) { return result, c.fail(opPush, tag, repo, err) }

	previous, err := c.current(ctx, tag)
	if err != nil {
		return fail(err)
	}
	result.Previous = previous
	if previous == p.Digest {
		return result, nil
	}
	sent, err := c.upload(ctx, repo, p)
	result.Sent = sent
	if err != nil {
		return fail(err)
	}
	if err := c.point(ctx, tag, p.Digest, p.MediaType, p.Manifest); err != nil {
		return fail(err)
	}
	return result, nil
}

// Upload sends what of an artifact is not there, up to the manifest by digest, and sets no tag. It
// says whether anything was sent.
func (c *Client) Upload(ctx context.Context, repo artifact.Repository, p *artifact.Packed) (sent bool, err error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	sent, err = c.upload(ctx, repo, p)
	return sent, c.fail(opPush, repo.At(p.Digest), repo, err)
}

// upload sends what of an artifact is not there, up to the manifest by digest. Where blobs are missing, so is
// the manifest, and is not asked for.
func (c *Client) upload(ctx context.Context, repo artifact.Repository, p *artifact.Packed) (sent bool, err error) {
	sent, err = c.pushBlobs(ctx, repo, append(slices.Clone(p.Layers), p.Config))
	if err != nil {
		return sent, err
	}
	if !sent {
		switch _, err := c.digestOf(ctx, repo, p.Digest.String(), true); {
		case err == nil:
			return false, nil
		case !statusIs(err, http.StatusNotFound):
			return false, err
		}
	}
	return true, c.putManifest(ctx, repo, p.Digest.String(), p.MediaType, p.Manifest)
}

// current returns what a tag points to, or nothing if it does not exist.
func (c *Client) current(ctx context.Context, tag artifact.Tag) (artifact.Digest, error) {
	digest, err := c.digestOf(ctx, tag.Repository(), tag.Name(), true)
	if statusIs(err, http.StatusNotFound) {
		return "", nil
	}
	return digest, err
}

func statusIs(err error, status int) bool {
	var answered *transport.Error
	return errors.As(err, &answered) && answered.StatusCode == status
}

// point lets a tag name a manifest. Where the answer got lost, or says that the registry failed, it
// looks at what the tag points to before it says that it did not work.
func (c *Client) point(ctx context.Context, tag artifact.Tag, d artifact.Digest, mediaType string, raw []byte) error {
	repo := tag.Repository()
	err := c.putManifest(ctx, repo, tag.Name(), mediaType, raw)
	var answered *transport.Error
	if err == nil || errors.As(err, &answered) && answered.StatusCode < http.StatusInternalServerError {
		return err
	}
	if now, lookErr := c.digestOf(ctx, repo, tag.Name(), true); lookErr == nil && now == d {
		return nil
	}
	return err
}

func (c *Client) putManifest(ctx context.Context, repo artifact.Repository, identifier, mediaType string, raw []byte) error {
	d := artifact.DigestOf(raw)
	return c.retrying(ctx, func() error {
		req, err := c.request(ctx, http.MethodPut, repo, "manifests/"+identifier, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", mediaType)
		setBody(req, int64(len(raw)), artifact.BytesOpener(raw))
		resp, err := c.do(req, repo, true)
		if err != nil {
			return err
		}
		defer drain(resp)
		if err := transport.CheckError(resp, http.StatusCreated, http.StatusOK, http.StatusAccepted); err != nil {
			return err
		}
		if echoed := resp.Header.Get("Docker-Content-Digest"); echoed != "" && echoed != d.String() {
			return &refusedError{code: DigestMismatch, detail: fmt.Sprintf("the registry stored %s as %s", d, artifact.OneLine(echoed))}
		}
		return nil
	})
}

// pushBlobs sends blobs one after the other, and says whether any was missing. While the registry stores one,
// which is mostly waiting for its disk, it is sent the next.
func (c *Client) pushBlobs(ctx context.Context, repo artifact.Repository, blobs []artifact.Blob) (sent bool, err error) {
	const atOnce = 2 // the one that is sent, and the next
	var missing atomic.Bool
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	turn := ownTurn()
	for _, blob := range blobs {
		mine, next := turn, make(chan struct{})
		turn = next
		pass := sync.OnceFunc(func() { close(next) })
		group.Go(func() error {
			sent, err := c.pushBlob(ctx, repo, announced(blob, pass), mine)
			if sent {
				missing.Store(true)
			}
			if err == nil { // else no other has its turn
				pass()
			}
			return err
		})
	}
	err = group.Wait()
	return missing.Load(), err
}

// announced is a blob that tells when all of it has been read.
func announced(b artifact.Blob, read func()) artifact.Blob {
	open := b.Open
	b.Open = func() (io.ReadCloser, error) {
		content, err := open()
		if err != nil {
			return nil, err
		}
		return &announcing{ReadCloser: content, left: b.Size, read: read}, nil
	}
	return b
}

type announcing struct {
	io.ReadCloser
	left int64
	read func()
}

// Read implements io.Reader.
func (a *announcing) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if a.left -= int64(n); a.left <= 0 {
		a.read()
	}
	return n, err
}

// ownTurn is the turn of a blob that waits for no other.
func ownTurn() <-chan struct{} {
	turn := make(chan struct{})
	close(turn)
	return turn
}

// pushBlob sends a blob, when its turn has come, unless it is there. It says whether it was missing.
func (c *Client) pushBlob(ctx context.Context, repo artifact.Repository, b artifact.Blob, turn <-chan struct{}) (sent bool, err error) {
	err = c.retrying(ctx, func() error {
		there, err := c.blobExists(ctx, repo, b.Descriptor)
		if err != nil || there {
			return err
		}
		sent = true
		location, err := c.beginUpload(ctx, repo)
		if err != nil {
			return err
		}
		select {
		case <-turn:
			return c.sendBlob(ctx, repo, b, location)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return sent, err
}

func (c *Client) blobExists(ctx context.Context, repo artifact.Repository, d artifact.Descriptor) (bool, error) {
	req, err := c.request(ctx, http.MethodHead, repo, "blobs/"+d.Digest.String(), nil)
	if err != nil {
		return false, err
	}
	resp, err := c.do(req, repo, true)
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed); err != nil {
		return false, err
	}
	return resp.StatusCode == http.StatusOK, nil
}

// beginUpload asks for a place to send a blob to.
func (c *Client) beginUpload(ctx context.Context, repo artifact.Repository) (*url.URL, error) {
	req, err := c.request(ctx, http.MethodPost, repo, "blobs/uploads/", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.do(req, repo, true)
	if err != nil {
		return nil, err
	}
	defer drain(resp)
	if err := transport.CheckError(resp, http.StatusAccepted); err != nil {
		return nil, err
	}
	location, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || location.String() == "" {
		return nil, &refusedError{code: Invalid, detail: "the registry names no place to upload to"}
	}
	from := resp.Request.URL
	location = from.ResolveReference(location)
	switch {
	case location.Scheme != from.Scheme && location.Scheme != "https" && hostOf(location) != hostOf(from):
		return nil, &refusedError{code: Redirected, detail: fmt.Sprintf("the place to upload to, %s, is without TLS", artifact.OneLine(location.Host))}
	case hostOf(location) != hostOf(from) && !isLoopback(from.Hostname()) && isInternal(location.Hostname()):
		return nil, &refusedError{code: Redirected, detail: fmt.Sprintf("the place to upload to, %s, is an internal address", artifact.OneLine(location.Host))}
	}
	return location, nil
}

// sendBlob sends all of a blob in one request.
func (c *Client) sendBlob(ctx context.Context, repo artifact.Repository, b artifact.Blob, location *url.URL) error {
	query := location.Query()
	query.Set("digest", b.Digest.String())
	location.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, location.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	setBody(req, b.Size, b.Open)
	resp, err := c.do(req, repo, true)
	if err != nil {
		return err
	}
	defer drain(resp)
	return transport.CheckError(resp, http.StatusCreated, http.StatusNoContent)
}

// setBody gives a request a body that can be read again, and is not opened before it is needed.
func setBody(req *http.Request, size int64, open func() (io.ReadCloser, error)) {
	req.ContentLength = size
	req.GetBody = open
	req.Body = &lateBody{open: open}
	if size == 0 {
		req.Body = http.NoBody
	}
}

// lateBody opens its content at the first read.
type lateBody struct {
	open func() (io.ReadCloser, error)

	mu     sync.Mutex // net/http may close a body while it is being read
	body   io.ReadCloser
	closed bool
}

// Read implements io.Reader.
func (l *lateBody) Read(p []byte) (int, error) {
	body, err := l.content()
	if err != nil {
		return 0, err
	}
	return body.Read(p)
}

func (l *lateBody) content() (io.ReadCloser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, http.ErrBodyReadAfterClose
	}
	if l.body == nil {
		body, err := l.open()
		if err != nil {
			return nil, &localError{err}
		}
		l.body = body
	}
	return l.body, nil
}

// Close implements io.Closer.
func (l *lateBody) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed = true; l.body == nil {
		return nil
	}
	return l.body.Close()
}

// retrying repeats an upload from its beginning when the connection or the registry failed, three
// times in all.
func (c *Client) retrying(ctx context.Context, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil || attempt == maxAttempts || ctx.Err() != nil || !worthPushingAgain(ctx, err) {
			return err
		}
		if err := sleep(ctx, jitter(c.base.pause<<(attempt-1))); err != nil {
			return err
		}
	}
}

func worthPushingAgain(ctx context.Context, err error) bool {
	var answered *transport.Error
	if errors.As(err, &answered) {
		return temporary(answered.StatusCode) || answered.StatusCode == http.StatusRequestedRangeNotSatisfiable
	}
	if isLocal(err) {
		return false
	}
	var e Error
	e.explain(err)
	return e.Code == Unreachable && worthRepeating(ctx, err)
}
