// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// CopyPlace is where an artifact is, or is to be: in a registry, or, if Layout is not empty, in a
// folder or a tar in the OCI image layout.
type CopyPlace struct {
	Reference artifact.Reference
	Layout    string          // a folder, or a file whose name ends in .tar
	Tag       string          // in the layout
	Digest    artifact.Digest // in the layout
}

// CopyRequest says what to copy to where.
type CopyRequest struct {
	Client     *registry.Client // of all registries that take part
	From, To   CopyPlace
	Referrers  bool // with what belongs to the artifact, such as signatures
	Images     bool // with the images that its objects name
	ImagesBase string
	LayerType  string        // of the layer with the objects; empty for the first that can be read
	Keys       Keys          // to find the images of an artifact that is encrypted; nil for none
	Verify     *trust.Policy // what is demanded of the artifact before it is copied; nil for nothing
}

// Copied says what was copied.
type Copied struct {
	Digest    artifact.Digest
	Tag       string // at the target; empty if it has none
	Manifests int    // that were sent, the artifact's own among them
	Blobs     int    // that were sent
	Referrers int
	Images    []CopiedImage
	Verified  *trust.Verified // by what it is trusted, where that was demanded
}

// CopyArtifact copies an artifact, by digest and unchanged, with what belongs to it. The tag is set last.
func CopyArtifact(ctx context.Context, req CopyRequest) (Copied, error) {
	work, err := os.MkdirTemp("", "kustomizer-copy-")
	if err != nil {
		return Copied{}, fmt.Errorf("making room for the copy: %w", err)
	}
	defer os.RemoveAll(work)
	c := &copier{req: req, work: work, seen: map[artifact.Digest]bool{}}
	if c.from, err = c.source(ctx); err != nil {
		return Copied{}, err
	}
	to, finish, err := c.target(ctx)
	if err != nil {
		return Copied{}, err
	}
	c.to = to
	if err := c.run(ctx); err != nil {
		return c.done, err
	}
	return c.done, finish()
}

// copier is one copy at work.
type copier struct {
	req      CopyRequest
	work     string
	from, to end
	seen     map[artifact.Digest]bool // manifests that were copied
	done     Copied
}

func isTar(path string) bool { return strings.HasSuffix(path, ".tar") }

// source opens where the artifact is. A tar is unpacked first.
func (c *copier) source(ctx context.Context) (end, error) {
	place := c.req.From
	if place.Layout == "" {
		return repositoryEnd{client: c.req.Client, repo: place.Reference.Repository(), work: c.work}, nil
	}
	dir := place.Layout
	if isTar(dir) {
		var err error
		if dir, err = c.unpack(ctx, place.Layout, "from"); err != nil {
			return nil, err
		}
	}
	layout, err := artifact.OpenLayout(dir)
	return layoutEnd{layout: layout, name: place.Layout}, err
}

func (c *copier) unpack(ctx context.Context, file, name string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("opening the layout: %w", err)
	}
	defer f.Close()
	dir := filepath.Join(c.work, name)
	_, err = artifact.Extract(ctx, f, artifact.MediaTypeTar, dir, artifact.LayoutLimits())
	if err != nil {
		return "", fmt.Errorf("unpacking %s: %w", file, err)
	}
	return dir, nil
}

// target opens where the artifact is to be. A tar is written when all is copied; what is in one that is
// there stays in it.
func (c *copier) target(ctx context.Context) (end, func() error, error) {
	nothing := func() error { return nil }
	place := c.req.To
	if place.Layout == "" {
		return repositoryEnd{client: c.req.Client, repo: place.Reference.Repository(), work: c.work}, nothing, nil
	}
	dir := place.Layout
	if isTar(dir) {
		dir = filepath.Join(c.work, "to")
		if _, err := os.Stat(place.Layout); !errors.Is(err, fs.ErrNotExist) {
			if _, err := c.unpack(ctx, place.Layout, "to"); err != nil {
				return nil, nothing, err
			}
		}
	}
	layout, err := artifact.CreateLayout(dir)
	if err != nil {
		return nil, nothing, err
	}
	to := layoutEnd{layout: layout, name: place.Layout}
	if isTar(place.Layout) {
		return to, func() error { return layout.PackLayout(place.Layout) }, nil
	}
	return to, nothing, nil
}

func (c *copier) run(ctx context.Context) error {
	digest, err := c.resolve(ctx)
	if err != nil {
		return err
	}
	c.done.Digest = digest
	if c.done.Verified, err = verified(ctx, c.from.trusted(), c.from.repository().At(digest), c.req.Verify); err != nil {
		return err
	}
	raw, d, err := c.copyManifest(ctx, c.from, c.to, digest)
	if err != nil {
		return err
	}
	if c.req.Referrers {
		if err := c.copyReferrers(ctx, digest, 0); err != nil {
			return err
		}
	}
	if c.req.Images {
		if err := c.copyImages(ctx, d, raw); err != nil {
			return err
		}
	}
	c.done.Tag = c.targetTag()
	_, toLayout := c.to.(layoutEnd)
	if c.done.Tag == "" && !toLayout {
		return nil
	}
	return c.to.tag(ctx, c.done.Tag, d, raw)
}

// resolve returns the digest of what is copied: the only place where the tag is read.
func (c *copier) resolve(ctx context.Context) (artifact.Digest, error) {
	place := c.req.From
	if place.Layout == "" {
		pinned, err := pin(ctx, c.req.Client, place.Reference)
		return pinned.Digest(), err
	}
	if place.Digest != "" {
		return place.Digest, nil
	}
	if layout, ok := c.from.(layoutEnd); ok && place.Tag == "" {
		d, err := layout.layout.Resolve("")
		c.req.From.Tag = artifact.RefName(d)
		return d.Digest, err
	}
	digest, found, err := c.from.resolve(ctx, place.Tag)
	if err == nil && !found {
		err = &artifact.LayoutError{Path: place.Layout, Reason: fmt.Sprintf("there is no %q in it", place.Tag)}
	}
	return digest, err
}

// targetTag is the tag at the target: the one that was given, else that of the source.
func (c *copier) targetTag() string {
	tagOf := func(p CopyPlace) (string, bool) {
		if p.Layout != "" {
			return p.Tag, p.Tag != "" || p.Digest != ""
		}
		tag, tagged := p.Reference.Tag()
		_, pinned := p.Reference.Pinned()
		return tag.Name(), tagged || pinned
	}
	if tag, given := tagOf(c.req.To); given {
		return tag
	}
	tag, _ := tagOf(c.req.From)
	return tag
}

// copyManifest copies a manifest and all that it points to, what it points to first.
func (c *copier) copyManifest(ctx context.Context, from, to end, digest artifact.Digest) ([]byte, artifact.Descriptor, error) {
	raw, mediaType, err := from.manifest(ctx, digest)
	if err != nil {
		return nil, artifact.Descriptor{}, err
	}
	d := artifact.Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(raw))}
	m, err := artifact.ParseManifest(raw, mediaType)
	if err != nil {
		return nil, d, fmt.Errorf("reading %s of %s: %w", digest, from, err)
	}
	d.ArtifactType = m.ArtifactType
	if m.Config != nil && d.ArtifactType == "" && m.Subject != nil {
		d.ArtifactType = m.Config.MediaType
	}
	for _, child := range m.Manifests {
		if _, _, err := c.copyManifest(ctx, from, to, child.Digest); err != nil {
			return nil, d, err
		}
	}
	blobs := m.Layers
	if m.Config != nil {
		blobs = append(append([]artifact.Descriptor{}, blobs...), *m.Config)
	}
	for _, blob := range blobs {
		if err := c.copyBlob(ctx, from, to, blob); err != nil {
			return nil, d, err
		}
	}
	if err := to.putManifest(ctx, d, raw); err != nil {
		return nil, d, err
	}
	c.done.Manifests++
	return raw, d, nil
}

func (c *copier) copyBlob(ctx context.Context, from, to end, d artifact.Descriptor) error {
	there, err := to.hasBlob(ctx, d)
	if err != nil || there {
		return err
	}
	blob, done, err := from.open(ctx, d)
	defer done()
	if err != nil {
		return err
	}
	if err := to.putBlob(ctx, blob); err != nil {
		return err
	}
	c.done.Blobs++
	return nil
}

// maxReferrerDepth bounds how far signatures of signatures are followed.
const maxReferrerDepth = 3

// copyReferrers copies what belongs to an artifact, and what belongs to that.
func (c *copier) copyReferrers(ctx context.Context, subject artifact.Digest, depth int) error {
	if depth >= maxReferrerDepth || c.seen[subject] {
		return nil
	}
	c.seen[subject] = true
	found, err := c.from.referrers(ctx, subject)
	if err != nil {
		return err
	}
	for _, r := range found {
		_, d, err := c.copyManifest(ctx, c.from, c.to, r.Digest)
		if err != nil {
			return err
		}
		d.Annotations = r.Annotations
		if err := c.to.refer(ctx, subject, d); err != nil {
			return err
		}
		c.done.Referrers++
		if err := c.copyReferrers(ctx, r.Digest, depth+1); err != nil {
			return err
		}
	}
	for _, name := range artifact.CompanionTags(subject) {
		if name == artifact.ReferrersTag(subject) {
			continue // made anew at the target, where it is needed
		}
		digest, there, err := c.from.resolve(ctx, name)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		raw, d, err := c.copyManifest(ctx, c.from, c.to, digest)
		if err != nil {
			return err
		}
		if err := c.to.tag(ctx, name, d, raw); err != nil {
			return err
		}
		c.done.Referrers++
	}
	return nil
}
