// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// Limits of what is looked at for one artifact.
const (
	maxSignatures     = 32
	maxSignatureBytes = 1 << 20
)

// Place is where an artifact is, with what belongs to it: a repository, or a folder in the OCI image
// layout.
type Place interface {
	// Tagged returns the manifest that a tag points to; found is false if there is no such tag.
	Tagged(ctx context.Context, name string) (d artifact.Descriptor, found bool, err error)
	// Referrers lists the manifests that name a digest as their subject.
	Referrers(ctx context.Context, subject artifact.Digest) ([]artifact.Descriptor, error)
	// Manifest returns the bytes that a digest names, and their media type.
	Manifest(ctx context.Context, d artifact.Digest) (raw []byte, mediaType string, err error)
	// Blob returns the bytes that a descriptor names, which are few.
	Blob(ctx context.Context, d artifact.Descriptor) ([]byte, error)
}

// InRegistry returns a repository as the place of an artifact.
func InRegistry(c *registry.Client, repo artifact.Repository) Place { return repository{c, repo} }

type repository struct {
	client *registry.Client
	repo   artifact.Repository
}

// Tagged implements [Place].
func (r repository) Tagged(ctx context.Context, name string) (artifact.Descriptor, bool, error) {
	tag, err := r.repo.Tag(name)
	if err != nil {
		return artifact.Descriptor{}, false, err
	}
	_, d, err := r.client.TagManifest(ctx, tag)
	if registry.IsNotFound(err) {
		return artifact.Descriptor{}, false, nil
	}
	return d, err == nil, err
}

// Referrers implements [Place].
func (r repository) Referrers(ctx context.Context, subject artifact.Digest) ([]artifact.Descriptor, error) {
	return r.client.Referrers(ctx, r.repo.At(subject))
}

// Manifest implements [Place].
func (r repository) Manifest(ctx context.Context, d artifact.Digest) ([]byte, string, error) {
	return r.client.Manifest(ctx, r.repo.At(d))
}

// Blob implements [Place].
func (r repository) Blob(ctx context.Context, d artifact.Descriptor) ([]byte, error) {
	if err := checkSize(d); err != nil {
		return nil, err
	}
	var sink memory
	if err := r.client.PullBlob(ctx, r.repo, d, &sink); err != nil {
		return nil, err
	}
	return sink.content, nil
}

// memory keeps a small blob.
type memory struct{ content []byte }

// Put implements registry.Sink.
func (m *memory) Put(_ context.Context, d artifact.Descriptor, content io.Reader) error {
	var b bytes.Buffer
	_, err := b.ReadFrom(artifact.Verify(content, d))
	m.content = b.Bytes()
	return err
}

// InLayout returns a folder as the place of an artifact.
func InLayout(l *artifact.Layout) Place { return folder{l} }

type folder struct{ layout *artifact.Layout }

// Tagged implements [Place].
func (f folder) Tagged(_ context.Context, name string) (artifact.Descriptor, bool, error) {
	return f.layout.Has(name)
}

// Referrers implements [Place].
func (f folder) Referrers(_ context.Context, subject artifact.Digest) ([]artifact.Descriptor, error) {
	return f.layout.Referrers(subject)
}

// Manifest implements [Place].
func (f folder) Manifest(_ context.Context, d artifact.Digest) ([]byte, string, error) {
	raw, err := f.layout.Manifest(d)
	return raw, "", err
}

// Blob implements [Place].
func (f folder) Blob(_ context.Context, d artifact.Descriptor) ([]byte, error) {
	if err := checkSize(d); err != nil {
		return nil, err
	}
	r, err := f.layout.Blob(d).Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading the layout: %w", err)
	}
	return content, nil
}

// tooLargeError is a signature that is not read.
type tooLargeError struct{ size int64 }

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("it has %d bytes, more than %d", e.size, maxSignatureBytes)
}

func checkSize(d artifact.Descriptor) error {
	if d.Size > maxSignatureBytes {
		return &tooLargeError{d.Size}
	}
	return nil
}

// manifestAt reads the manifest that a digest names.
func manifestAt(ctx context.Context, at Place, d artifact.Digest) (*artifact.Manifest, error) {
	raw, mediaType, err := at.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	return artifact.ParseManifest(raw, mediaType)
}
