// SPDX-License-Identifier: Apache-2.0

// Package notation signs artifacts for tests as notation, the program of the Notary Project, does.
package notation

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"

	"github.com/notaryproject/notation-core-go/testhelper"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// Media types of the Notary Project.
const (
	kind         = "application/vnd.cncf.notary.signature"
	envelopeType = "application/jose+json"
)

// Signature is one to be made.
type Signature struct {
	// Leaf signs, and Authority vouches for it.
	Leaf, Authority testhelper.RSACertTuple
	// At is the artifact that the signature is found at, Of the one that it is of: another one if it was swapped.
	At, Of artifact.Pinned
}

// Sign makes a signature and publishes it.
func Sign(ctx context.Context, client *registry.Client, s Signature) error {
	subject, err := describe(ctx, client, s.At)
	if err != nil {
		return err
	}
	envelope, err := s.envelope(ctx, client)
	if err != nil {
		return err
	}
	config, layer := blob(kind, []byte("{}")), blob(envelopeType, envelope)
	raw, err := json.Marshal(artifact.Manifest{
		SchemaVersion: 2, MediaType: artifact.MediaTypeManifest, ArtifactType: kind,
		Config: &config.Descriptor, Layers: []artifact.Descriptor{layer.Descriptor}, Subject: &subject,
	})
	if err != nil {
		return err
	}
	packed := &artifact.Packed{
		Digest: artifact.DigestOf(raw), MediaType: artifact.MediaTypeManifest, Manifest: raw, Config: config, Layers: []artifact.Blob{layer},
	}
	if _, err := client.Upload(ctx, s.At.Repository(), packed); err != nil {
		return fmt.Errorf("uploading a signature: %w", err)
	}
	referrer := artifact.Descriptor{MediaType: packed.MediaType, Digest: packed.Digest, Size: int64(len(raw)), ArtifactType: kind}
	return client.Refer(ctx, s.At, referrer)
}

// envelope holds what is signed, the signature and the certificates.
func (s Signature) envelope(ctx context.Context, client *registry.Client) ([]byte, error) {
	by, err := signer.NewGenericSigner(s.Leaf.PrivateKey, []*x509.Certificate{s.Leaf.Cert, s.Authority.Cert})
	if err != nil {
		return nil, err
	}
	signed, err := describe(ctx, client, s.Of)
	if err != nil {
		return nil, err
	}
	envelope, _, err := by.Sign(ctx, ocispec.Descriptor{
		MediaType: signed.MediaType, Digest: digest.Digest(signed.Digest.String()), Size: signed.Size,
	}, notation.SignerSignOptions{SignatureMediaType: envelopeType})
	return envelope, err
}

func describe(ctx context.Context, client *registry.Client, pinned artifact.Pinned) (artifact.Descriptor, error) {
	raw, mediaType, err := client.Manifest(ctx, pinned)
	if err != nil {
		return artifact.Descriptor{}, fmt.Errorf("getting the manifest of %s: %w", pinned, err)
	}
	return artifact.Descriptor{MediaType: mediaType, Digest: pinned.Digest(), Size: int64(len(raw))}, nil
}

func blob(mediaType string, content []byte) artifact.Blob {
	return artifact.Blob{
		Descriptor: artifact.Descriptor{MediaType: mediaType, Digest: artifact.DigestOf(content), Size: int64(len(content))},
		Open:       artifact.BytesOpener(content),
	}
}
