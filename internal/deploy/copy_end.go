// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/store"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// end is a place that artifacts are copied from or to: a repository, or a folder.
type end interface {
	// resolve returns what a tag stands for; found is false if there is no such tag.
	resolve(ctx context.Context, tag string) (d artifact.Digest, found bool, err error)
	manifest(ctx context.Context, d artifact.Digest) (raw []byte, mediaType string, err error)
	referrers(ctx context.Context, subject artifact.Digest) ([]artifact.Descriptor, error)
	// open makes a blob readable; done lets go of it.
	open(ctx context.Context, d artifact.Descriptor) (b artifact.Blob, done func(), err error)

	hasBlob(ctx context.Context, d artifact.Descriptor) (bool, error)
	putBlob(ctx context.Context, b artifact.Blob) error
	putManifest(ctx context.Context, d artifact.Descriptor, raw []byte) error
	tag(ctx context.Context, name string, d artifact.Descriptor, raw []byte) error
	refer(ctx context.Context, subject artifact.Digest, referrer artifact.Descriptor) error
	// trusted is the place as signatures are looked for in it, and repository its name in them: that of
	// a folder is empty.
	trusted() trust.Place
	repository() artifact.Repository
	String() string
}

// repositoryEnd is a repository of a registry.
type repositoryEnd struct {
	client *registry.Client
	repo   artifact.Repository
	work   string // for blobs on their way
}

func (e repositoryEnd) String() string { return e.repo.URL() }

func (e repositoryEnd) trusted() trust.Place { return trust.InRegistry(e.client, e.repo) }

func (e repositoryEnd) repository() artifact.Repository { return e.repo }

func (e repositoryEnd) resolve(ctx context.Context, name string) (artifact.Digest, bool, error) {
	tag, err := e.repo.Tag(name)
	if err != nil {
		return "", false, err
	}
	pinned, err := e.client.Resolve(ctx, tag)
	if registry.IsNotFound(err) {
		return "", false, nil
	}
	return pinned.Digest(), err == nil, err
}

func (e repositoryEnd) manifest(ctx context.Context, d artifact.Digest) ([]byte, string, error) {
	return e.client.Manifest(ctx, e.repo.At(d))
}

func (e repositoryEnd) referrers(ctx context.Context, subject artifact.Digest) ([]artifact.Descriptor, error) {
	return e.client.Referrers(ctx, e.repo.At(subject))
}

// maxCopiedBlob bounds what is copied in one piece.
const maxCopiedBlob = 20 << 30

func (e repositoryEnd) open(ctx context.Context, d artifact.Descriptor) (artifact.Blob, func(), error) {
	dir, err := os.MkdirTemp(e.work, "blob-")
	if err != nil {
		return artifact.Blob{}, func() {}, fmt.Errorf("making room for a blob: %w", err)
	}
	done := func() { _ = os.RemoveAll(dir) }
	if d.Size > maxCopiedBlob {
		detail := fmt.Sprintf("a blob has %d bytes, more than %d", d.Size, int64(maxCopiedBlob))
		return artifact.Blob{}, done, &artifact.RefusedError{Reason: artifact.TooLarge, Detail: detail}
	}
	spool, err := store.Open(dir, maxCopiedBlob)
	if err == nil {
		err = e.client.PullBlob(ctx, e.repo, d, spool)
	}
	if err != nil {
		return artifact.Blob{}, done, err
	}
	file, err := spool.Open(ctx, d.Digest)
	if err != nil {
		return artifact.Blob{}, done, err
	}
	name := file.Name()
	if err := file.Close(); err != nil {
		return artifact.Blob{}, done, fmt.Errorf("keeping a blob: %w", err)
	}
	return artifact.Blob{Descriptor: d, Open: artifact.FileOpener(name)}, done, nil
}

func (e repositoryEnd) hasBlob(ctx context.Context, d artifact.Descriptor) (bool, error) {
	return e.client.HasBlob(ctx, e.repo, d)
}

func (e repositoryEnd) putBlob(ctx context.Context, b artifact.Blob) error {
	return e.client.PushBlob(ctx, e.repo, b)
}

func (e repositoryEnd) putManifest(ctx context.Context, d artifact.Descriptor, raw []byte) error {
	return e.client.PushManifest(ctx, e.repo.At(d.Digest), d.MediaType, raw)
}

func (e repositoryEnd) tag(ctx context.Context, name string, d artifact.Descriptor, raw []byte) error {
	tag, err := e.repo.Tag(name)
	if err != nil {
		return err
	}
	if now, err := e.client.Current(ctx, tag); err != nil || now == d.Digest {
		return err
	}
	return e.client.Point(ctx, tag, d.Digest, d.MediaType, raw)
}

func (e repositoryEnd) refer(ctx context.Context, subject artifact.Digest, referrer artifact.Descriptor) error {
	return e.client.Refer(ctx, e.repo.At(subject), referrer)
}

// layoutEnd is a folder in the OCI image layout.
type layoutEnd struct {
	layout *artifact.Layout
	name   string // as the user gave it
}

func (e layoutEnd) String() string { return e.name }

func (e layoutEnd) trusted() trust.Place { return trust.InLayout(e.layout) }

func (e layoutEnd) repository() artifact.Repository { return artifact.Repository{} }

func (e layoutEnd) resolve(_ context.Context, tag string) (artifact.Digest, bool, error) {
	d, found, err := e.layout.Has(tag)
	return d.Digest, found, err
}

func (e layoutEnd) manifest(_ context.Context, d artifact.Digest) ([]byte, string, error) {
	raw, err := e.layout.Manifest(d)
	if err != nil {
		return nil, "", err
	}
	var m struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", d, err)
	}
	if m.MediaType == "" {
		m.MediaType = artifact.MediaTypeManifest
	}
	return raw, m.MediaType, nil
}

func (e layoutEnd) referrers(_ context.Context, subject artifact.Digest) ([]artifact.Descriptor, error) {
	return e.layout.Referrers(subject)
}

func (e layoutEnd) open(_ context.Context, d artifact.Descriptor) (artifact.Blob, func(), error) {
	return e.layout.Blob(d), func() {}, nil
}

func (e layoutEnd) hasBlob(_ context.Context, d artifact.Descriptor) (bool, error) {
	return e.layout.HasBlob(d), nil
}

func (e layoutEnd) putBlob(ctx context.Context, b artifact.Blob) error {
	content, err := b.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	return e.layout.Put(ctx, b.Descriptor, content)
}

func (e layoutEnd) putManifest(_ context.Context, d artifact.Descriptor, raw []byte) error {
	return e.layout.PutManifest(d.Digest, raw)
}

func (e layoutEnd) tag(_ context.Context, name string, d artifact.Descriptor, _ []byte) error {
	return e.layout.Name(d, name)
}

func (e layoutEnd) refer(_ context.Context, _ artifact.Digest, referrer artifact.Descriptor) error {
	return e.layout.Name(referrer, "")
}
