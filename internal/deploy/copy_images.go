// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/object"
)

// CopiedImage is an image and where it is now.
type CopiedImage struct {
	Image  string // as the objects name it
	Name   string // without tag and digest
	To     string // repository, or name in the layout
	Digest artifact.Digest
}

// objects returns what the copied artifact holds.
func (c *copier) objects(ctx context.Context, d artifact.Descriptor, raw []byte) ([]*unstructured.Unstructured, error) {
	m, err := artifact.ParseManifest(raw, d.MediaType)
	if err != nil {
		return nil, err
	}
	if artifact.IsIndex(m.MediaType) {
		child, err := m.Child()
		if err != nil {
			return nil, err
		}
		inner, mediaType, err := c.from.manifest(ctx, child.Digest)
		if err != nil {
			return nil, err
		}
		if m, err = artifact.ParseManifest(inner, mediaType); err != nil {
			return nil, err
		}
	}
	layer, err := m.Layer(c.req.LayerType)
	if err != nil {
		return nil, err
	}
	blob, done, err := c.from.open(ctx, layer)
	defer done()
	if err != nil {
		return nil, err
	}
	tree, err := openBlob(ctx, blob, c.req.Keys, filepath.Join(c.work, "objects"))
	if err != nil {
		return nil, err
	}
	defer tree.close()
	yaml, _, err := readYAML(tree.files)
	if err != nil {
		return nil, fmt.Errorf("reading the artifact's files: %w", err)
	}
	located, err := object.Decode(yaml, d.Digest.String())
	if err := object.IgnoreNotObjects(err); err != nil {
		return nil, fmt.Errorf("looking for images: %w", err)
	}
	objs := make([]*unstructured.Unstructured, 0, len(located))
	for _, l := range located {
		objs = append(objs, l.Object)
	}
	return objs, nil
}

// copyImages copies the images that the objects name. Each is read once by its tag, and is the same
// digest from then on.
func (c *copier) copyImages(ctx context.Context, d artifact.Descriptor, raw []byte) error {
	objs, err := c.objects(ctx, d, raw)
	if err != nil {
		return err
	}
	for _, image := range object.Images(objs) {
		copied, err := c.copyImage(ctx, image)
		if err != nil {
			return fmt.Errorf("copying the image %s: %w", image, err)
		}
		c.done.Images = append(c.done.Images, copied)
	}
	return nil
}

func (c *copier) copyImage(ctx context.Context, image string) (CopiedImage, error) {
	ref, err := artifact.ParseImage(image)
	if err != nil {
		return CopiedImage{}, err
	}
	out := CopiedImage{Image: image, Name: artifact.ImageName(image)}
	from, digest, err := c.imageSource(ctx, ref)
	if err != nil {
		return out, err
	}
	to, tag, err := c.imageTarget(ref)
	if err != nil {
		return out, err
	}
	raw, d, err := c.copyManifest(ctx, from, to, digest)
	if err != nil {
		return out, err
	}
	out.Digest, out.To = digest, strings.TrimPrefix(to.String(), artifact.Scheme)
	if tag == "" {
		return out, nil
	}
	return out, to.tag(ctx, tag, d, raw)
}

// imageSource finds an image: in the layout that is copied from, else in its registry.
func (c *copier) imageSource(ctx context.Context, ref artifact.Reference) (end, artifact.Digest, error) {
	if layout, ok := c.from.(layoutEnd); ok {
		digest, found, err := layout.resolve(ctx, ref.String())
		if err == nil && !found {
			err = &artifact.LayoutError{Path: layout.name, Reason: "the image is not in it: copy it there with --with-images first"}
		}
		return layout, digest, err
	}
	pinned, err := pin(ctx, c.req.Client, ref)
	return repositoryEnd{client: c.req.Client, repo: ref.Repository(), work: c.work}, pinned.Digest(), err
}

// imageTarget says where an image goes: in a layout under its own name, in a registry below the base,
// under the names of its registry and its repository.
func (c *copier) imageTarget(ref artifact.Reference) (end, string, error) {
	if layout, ok := c.to.(layoutEnd); ok {
		return layout, ref.String(), nil
	}
	host := strings.NewReplacer(":", "-", "[", "", "]", "").Replace(ref.Repository().Host())
	repo, err := artifact.ParseRepository(c.req.ImagesBase + "/" + host + "/" + ref.Repository().Path())
	if err != nil {
		return nil, "", err
	}
	tag, _ := ref.Tag()
	return repositoryEnd{client: c.req.Client, repo: repo, work: c.work}, tag.Name(), nil
}
