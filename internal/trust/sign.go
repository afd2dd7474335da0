// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// SignRequest says what to sign, and how.
type SignRequest struct {
	Client  *registry.Client
	Pinned  artifact.Pinned
	Signer  Signer
	Layouts []Layout // in which the signature is written; empty for [Bundle]
}

// Signer says with what an artifact is signed. One of Key and Keyless is set.
type Signer struct {
	Key     *PrivateKey
	Keyless *Keyless
	// Services keep and time the signature. Signatures by keys need none, those by identities a log
	// or a time stamp authority.
	Services Services
}

// Signed says what was written.
type Signed struct {
	Layout  Layout
	Digest  artifact.Digest // of the manifest with the signature; empty if nothing was written
	Sent    bool            // false if the artifact was signed with this key before
	Issuer  string          // of the certificate
	Subject string
}

// Sign signs the artifact with a digest and writes the signature beside it. An artifact that is signed
// with the key already is left as it is. What is returned holds as far as it came, also with an error.
func Sign(ctx context.Context, req SignRequest) ([]Signed, error) {
	layouts := req.Layouts
	if len(layouts) == 0 {
		layouts = []Layout{Bundle}
	}
	var out []Signed
	for _, layout := range layouts {
		done, err := req.signAs(ctx, layout)
		if err != nil {
			return out, &SigningError{Digest: req.Pinned.Digest(), Err: err}
		}
		out = append(out, done)
	}
	return out, nil
}

func (req SignRequest) signAs(ctx context.Context, layout Layout) (Signed, error) {
	subject, err := req.subject(ctx)
	if err != nil {
		return Signed{}, err
	}
	if req.Signer.Key != nil {
		if done, err := req.alreadySigned(ctx, layout); err != nil || done {
			return Signed{Layout: layout}, err
		}
	}
	if layout == Tag {
		return req.signTag(ctx)
	}
	return req.signBundle(ctx, subject)
}

// subject describes the artifact's manifest, which has to be there.
func (req SignRequest) subject(ctx context.Context) (artifact.Descriptor, error) {
	raw, mediaType, err := req.Client.Manifest(ctx, req.Pinned)
	return artifact.Descriptor{MediaType: mediaType, Digest: req.Pinned.Digest(), Size: int64(len(raw))}, err
}

// alreadySigned says whether there is a signature by the key, as good as the one that would be made.
func (req SignRequest) alreadySigned(ctx context.Context, layout Layout) (bool, error) {
	if req.Signer.Services.any() {
		return false, nil
	}
	policy := Policy{Keys: []PublicKey{req.Signer.Key.Public()}, Layouts: []Layout{layout}}
	_, err := Verify(ctx, InRegistry(req.Client, req.Pinned.Repository()), req.Pinned, policy)
	if err == nil {
		return true, nil
	}
	return false, ignoreUntrusted(err)
}

// statement is what is signed in a bundle: in-toto's statement with cosign's predicate, which is empty.
type statement struct {
	Type          string             `json:"_type"`
	Subject       []statementSubject `json:"subject"`
	PredicateType string             `json:"predicateType"`
	Predicate     struct{}           `json:"predicate"`
}

type statementSubject struct {
	Digest map[string]string `json:"digest"`
}

func (req SignRequest) signBundle(ctx context.Context, subject artifact.Descriptor) (Signed, error) {
	digest := req.Pinned.Digest()
	content, err := json.Marshal(statement{
		Type: statementType, PredicateType: signPredicate,
		Subject: []statementSubject{{Digest: map[string]string{digest.Algorithm(): digest.Hex()}}},
	})
	if err != nil {
		return Signed{}, err
	}
	made, err := req.Signer.sign(ctx, &sign.DSSEData{Data: content, PayloadType: statementMediaType}, Bundle)
	if err != nil {
		return Signed{}, err
	}
	packed, d, err := packBundle(made.raw, subject)
	if err != nil {
		return Signed{}, err
	}
	sent, err := req.Client.Upload(ctx, req.Pinned.Repository(), packed)
	if err == nil {
		err = req.Client.Refer(ctx, req.Pinned, d)
	}
	return Signed{Layout: Bundle, Digest: packed.Digest, Sent: sent, Issuer: made.issuer, Subject: made.subject}, err
}

// packBundle makes the manifest that carries a bundle and refers to its subject, as cosign does, without
// the time of signing: the same signature has the same digest.
func packBundle(raw []byte, subject artifact.Descriptor) (*artifact.Packed, artifact.Descriptor, error) {
	config := blobOf(emptyMediaType, []byte("{}"))
	config.ArtifactType = bundleMediaType
	layer := blobOf(bundleMediaType, raw)
	annotations := map[string]string{annotationContent: "dsse-envelope", annotationPredicate: signPredicate}
	packed, err := packManifest(artifact.Manifest{
		SchemaVersion: 2, MediaType: artifact.MediaTypeManifest, ArtifactType: bundleMediaType,
		Config: &config.Descriptor, Layers: []artifact.Descriptor{layer.Descriptor}, Subject: &subject, Annotations: annotations,
	}, config, layer)
	if err != nil {
		return nil, artifact.Descriptor{}, err
	}
	return packed, artifact.Descriptor{
		MediaType: packed.MediaType, Digest: packed.Digest, Size: int64(len(packed.Manifest)),
		ArtifactType: bundleMediaType, Annotations: annotations,
	}, nil
}

func packManifest(m artifact.Manifest, config artifact.Blob, layers ...artifact.Blob) (*artifact.Packed, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("writing the manifest of the signature: %w", err)
	}
	return &artifact.Packed{
		Digest: artifact.DigestOf(raw), MediaType: m.MediaType, Manifest: raw, Config: config, Layers: layers,
	}, nil
}

func blobOf(mediaType string, content []byte) artifact.Blob {
	return artifact.Blob{
		Descriptor: artifact.Descriptor{MediaType: mediaType, Digest: artifact.DigestOf(content), Size: int64(len(content))},
		Open:       artifact.BytesOpener(content),
	}
}
