// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// verified says by what an artifact is trusted, or nothing where nothing is demanded.
func verified(ctx context.Context, at trust.Place, pinned artifact.Pinned, policy *trust.Policy) (*trust.Verified, error) {
	if policy == nil {
		return nil, nil //nolint:nilnil // nothing was demanded, and nothing is known
	}
	got, err := trust.Verify(ctx, at, pinned, *policy)
	if err != nil {
		return nil, err
	}
	return &got, nil
}

// VerifyArtifact resolves a reference, once, and decides whether what it stands for may be used.
func VerifyArtifact(ctx context.Context, c *registry.Client, ref artifact.Reference, policy trust.Policy) (artifact.Pinned, trust.Verified, error) {
	pinned, err := pin(ctx, c, ref)
	if err != nil {
		return pinned, trust.Verified{}, err
	}
	got, err := trust.Verify(ctx, trust.InRegistry(c, pinned.Repository()), pinned, policy)
	return pinned, got, err
}

// SignArtifact resolves a reference, once, and signs what it stands for.
func SignArtifact(ctx context.Context, c *registry.Client, ref artifact.Reference, signer trust.Signer, layouts []trust.Layout) (artifact.Pinned, []trust.Signed, error) {
	pinned, err := pin(ctx, c, ref)
	if err != nil {
		return pinned, nil, err
	}
	signed, err := trust.Sign(ctx, trust.SignRequest{Client: c, Pinned: pinned, Signer: signer, Layouts: layouts})
	return pinned, signed, err
}
