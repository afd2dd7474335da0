// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/store"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// FetchRequest says which artifact to fetch, and where to keep it.
type FetchRequest struct {
	Client    *registry.Client
	Store     *store.Store
	Reference artifact.Reference // a tag or a digest
	// Known is the revision fetched before. If that is still the one, nothing is fetched.
	Known          string
	LayerMediaType string // of the layer to take; empty for the first one
	WorkDir        string // for unpacking on trial; empty for the system's
	// Verify: what is demanded of what the reference stands for, before anything of it is read. Nil
	// demands nothing.
	Verify *trust.Policy

	// unpacks: whoever fetches unpacks it at once, so that a trial would be the same work twice.
	unpacks bool
}

// Fetched is an artifact in the store. Its archive was unpacked on trial: what could not be, is not
// fetched. What is encrypted is in the store as it came, and is decrypted each time it is read.
type Fetched struct {
	Pinned      artifact.Pinned
	Revision    string // <tag>@<digest>, or the digest alone where it was asked for by digest
	Unchanged   bool   // it is the known one; the fields below are empty
	Layer       artifact.Descriptor
	Annotations map[string]string
	Verified    *trust.Verified // by what it is trusted, where that was demanded
}

// Fetch resolves a reference, which is the only place where a tag is read, and brings the artifact
// into the store. A tag that still points to what is known costs one request, a known digest none; what
// is known was verified when it came.
func Fetch(ctx context.Context, req FetchRequest) (Fetched, error) {
	got, err := resolve(ctx, req)
	if err != nil || got.Unchanged {
		return got, err
	}
	if got.Verified, err = verified(ctx, trust.InRegistry(req.Client, got.Pinned.Repository()), got.Pinned, req.Verify); err != nil {
		return Fetched{}, err
	}
	manifest, err := pullManifest(ctx, req.Client, got.Pinned)
	if err != nil {
		return Fetched{}, err
	}
	if err := artifact.CheckFormat(manifest.Annotations); err != nil {
		return Fetched{}, fmt.Errorf("reading %s: %w", got.Pinned, err)
	}
	got.Annotations = manifest.Annotations
	if got.Layer, err = manifest.Layer(req.LayerMediaType); err != nil {
		return Fetched{}, fmt.Errorf("reading %s: %w", got.Pinned, err)
	}
	if err := checkLayer(got); err != nil {
		return Fetched{}, fmt.Errorf("pulling %s: %w", got.Pinned, err)
	}
	if err := pullLayer(ctx, req, got); err != nil {
		return Fetched{}, err
	}
	return got, nil
}

func resolve(ctx context.Context, req FetchRequest) (Fetched, error) {
	if pinned, ok := req.Reference.Pinned(); ok {
		revision := pinned.Digest().String()
		return Fetched{Pinned: pinned, Revision: revision, Unchanged: revision == req.Known}, nil
	}
	tag, ok := req.Reference.Tag()
	if !ok {
		return Fetched{}, &artifact.ReferenceError{Given: req.Reference.String(), Reason: "a tag or a digest is needed"}
	}
	pinned, err := req.Client.Resolve(ctx, tag)
	if err != nil {
		return Fetched{}, err
	}
	revision := tag.Name() + "@" + pinned.Digest().String()
	return Fetched{Pinned: pinned, Revision: revision, Unchanged: revision == req.Known}, nil
}

// pullManifest gets the manifest of an artifact; of an index, that of the child that stands for it.
func pullManifest(ctx context.Context, c *registry.Client, pinned artifact.Pinned) (*artifact.Manifest, error) {
	manifest, err := manifestOf(ctx, c, pinned)
	if err != nil || !artifact.IsIndex(manifest.MediaType) {
		return manifest, err
	}
	child, err := manifest.Child()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", pinned, err)
	}
	inner, err := manifestOf(ctx, c, pinned.Repository().At(child.Digest))
	if err == nil && artifact.IsIndex(inner.MediaType) {
		return nil, fmt.Errorf("reading %s: the index points to another index", pinned)
	}
	return inner, err
}

func manifestOf(ctx context.Context, c *registry.Client, pinned artifact.Pinned) (*artifact.Manifest, error) {
	raw, mediaType, err := c.Manifest(ctx, pinned)
	if err != nil {
		return nil, err
	}
	manifest, err := artifact.ParseManifest(raw, mediaType)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", pinned, err)
	}
	return manifest, nil
}

// checkLayer refuses a layer that need not be pulled to know that it is of no use.
func checkLayer(got Fetched) error {
	limit := artifact.DefaultLimits().Compressed
	if got.Layer.Size > limit {
		detail := fmt.Sprintf("the layer has %d bytes, more than %d", got.Layer.Size, limit)
		return &artifact.RefusedError{Reason: artifact.TooLarge, Detail: detail}
	}
	return nil
}

// pullLayer brings the layer into the store and unpacks it on trial, so that a hostile or broken
// archive is refused before anybody is told of it. A layer that is there already was authenticated
// for just now, by reading the manifest that names it; one that turns out to be damaged on disk is
// pulled again.
func pullLayer(ctx context.Context, req FetchRequest, got Fetched) error {
	if req.unpacks && !req.Store.Has(got.Layer.Digest) {
		return req.Client.PullBlob(ctx, got.Pinned.Repository(), got.Layer, req.Store)
	}
	if req.Store.Has(got.Layer.Digest) {
		err := tryUnpacking(ctx, req, got)
		var damaged *store.NotFoundError
		if !errors.As(err, &damaged) {
			return err
		}
	}
	if err := req.Client.PullBlob(ctx, got.Pinned.Repository(), got.Layer, req.Store); err != nil {
		return err
	}
	return tryUnpacking(ctx, req, got)
}
