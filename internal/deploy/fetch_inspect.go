// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// Inspection is what is in an artifact, and what belongs to it.
type Inspection struct {
	Pulled
	MediaType string // of the manifest
	Layers    []artifact.Descriptor
	Objects   []*unstructured.Unstructured // of the YAML files, in the order of [object.Sort]
	Unread    []error                      // YAML in it that can't be read as objects, such as templates
	Referrers []Referrer
}

// Referrer is something in the registry that belongs to an artifact, such as a signature. That it is
// there says nothing about whether it is good.
type Referrer struct {
	Tag    string // under which it is found; empty if it names the artifact as its subject
	Type   string // of the artifact that it is, as far as it is known
	Digest artifact.Digest
}

// Inspect pulls an artifact and looks into it.
func Inspect(ctx context.Context, req PullRequest) (Inspection, error) {
	req.Dir = ""
	pulled, err := PullArtifact(ctx, req)
	if err != nil {
		return Inspection{}, err
	}
	manifest, err := pullManifest(ctx, req.Client, pulled.Pinned)
	if err != nil {
		return Inspection{}, err
	}
	out := Inspection{Pulled: pulled, MediaType: manifest.MediaType, Layers: manifest.Layers}
	located, err := object.Decode(pulled.YAML, pulled.Pinned.String())
	if err = object.IgnoreNotObjects(err); err != nil {
		out.Unread = []error{err}
	}
	for _, l := range located {
		out.Objects = append(out.Objects, l.Object)
	}
	object.Sort(out.Objects)
	out.Referrers, err = referrersOf(ctx, req.Client, pulled.Pinned)
	return out, err
}

// referrersOf lists what belongs to an artifact: what names it as its subject, and the tags that cosign
// makes of the digest.
func referrersOf(ctx context.Context, c *registry.Client, pinned artifact.Pinned) ([]Referrer, error) {
	found, err := c.Referrers(ctx, pinned)
	if err != nil {
		return nil, err
	}
	var out []Referrer
	for _, d := range found {
		out = append(out, Referrer{Type: typeOf(d), Digest: d.Digest})
	}
	for _, name := range artifact.CompanionTags(pinned.Digest()) {
		if name == artifact.ReferrersTag(pinned.Digest()) {
			continue // what it lists is in the list already
		}
		tag, err := pinned.Repository().Tag(name)
		if err != nil {
			return nil, err
		}
		digest, err := c.Current(ctx, tag)
		if err != nil {
			return nil, err
		}
		if digest != "" && !slices.ContainsFunc(out, func(r Referrer) bool { return r.Digest == digest }) {
			out = append(out, Referrer{Tag: name, Digest: digest})
		}
	}
	return out, nil
}

func typeOf(d artifact.Descriptor) string {
	if d.ArtifactType != "" {
		return d.ArtifactType
	}
	return d.MediaType
}
