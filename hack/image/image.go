// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const repository = "https://github.com/kustomizer/kustomizer"

// A platformImage is the image for one platform of an index.
type platformImage struct {
	platform *v1.Platform
	image    v1.Image
}

// newImage lays the binary on an empty base.
func newImage(binary []byte, platform *v1.Platform, req request) (v1.Image, error) {
	layer, err := newLayer(binary, req.created)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: req.created}, CreatedBy: "hack/image"},
	})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Created = v1.Time{Time: req.created}
	config.Config = v1.Config{
		User:       user,
		Entrypoint: []string{"/" + binaryPath},
		Env:        []string{"PATH=/usr/local/bin", "SSL_CERT_FILE=/" + rootsPath},
		WorkingDir: "/tmp",
		Labels:     labels(req),
	}
	return mutate.ConfigFile(img, config)
}

func labels(req request) map[string]string {
	l := map[string]string{
		"org.opencontainers.image.title":       "kustomizer",
		"org.opencontainers.image.description": "Publishes Kubernetes configuration as OCI artifacts and deploys it continuously",
		"org.opencontainers.image.source":      repository,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     req.version,
	}
	if req.revision != "" {
		l["org.opencontainers.image.revision"] = req.revision
	}
	return l
}

// newIndex lists the images under their platforms.
func newIndex(images []platformImage) v1.ImageIndex {
	addenda := make([]mutate.IndexAddendum, 0, len(images))
	for _, img := range images {
		addenda = append(addenda, mutate.IndexAddendum{Add: img.image, Descriptor: v1.Descriptor{Platform: img.platform}})
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), addenda...)
}

// writeLayout stores the index in a directory, in place of what the directory's own index named.
func writeLayout(dir string, index v1.ImageIndex) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(index)
}

// push sends the index and all it names to a registry.
func push(ctx context.Context, ref name.Reference, index v1.ImageIndex) error {
	return remote.WriteIndex(ref, index,
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("kustomizer"))
}
