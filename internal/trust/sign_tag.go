// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

const imageConfigMediaType = "application/vnd.oci.image.config.v1+json"

// signTag adds a signed payload to those under the tag. The tag may be written by somebody else at the
// same time; registries can't compare and set, so it is looked at afterwards and the signature added
// once more where it got lost.
func (req SignRequest) signTag(ctx context.Context) (Signed, error) {
	claim := payload.SimpleContainerImage{Critical: payload.Critical{
		Identity: payload.Identity{DockerReference: req.Pinned.Repository().String()},
		Image:    payload.Image{DockerManifestDigest: req.Pinned.Digest().String()},
		Type:     payload.CosignSignatureType,
	}}
	content, err := json.Marshal(claim)
	if err != nil {
		return Signed{}, err
	}
	made, err := req.Signer.sign(ctx, &sign.PlainData{Data: content}, Tag)
	if err != nil {
		return Signed{}, err
	}
	layer := blobOf(simpleSigningMediaType, content)
	if layer.Annotations, err = made.annotations(); err != nil {
		return Signed{}, err
	}
	done := Signed{Layout: Tag, Sent: true, Issuer: made.issuer, Subject: made.subject}
	const attempts = 3
	for range attempts {
		if done.Digest, err = req.addToTag(ctx, layer); err != nil {
			return done, err
		}
		layers, err := req.taggedLayers(ctx)
		if err != nil || slices.ContainsFunc(layers, func(d artifact.Descriptor) bool { return sameSignature(d, layer.Descriptor) }) {
			return done, err
		}
	}
	return done, errors.New("somebody else writes signatures of it at the same time")
}

func sameSignature(a, b artifact.Descriptor) bool {
	return a.Digest == b.Digest && a.Annotations[annotationSignature] == b.Annotations[annotationSignature]
}

// taggedLayers returns the signatures that are under the tag now.
func (req SignRequest) taggedLayers(ctx context.Context) ([]artifact.Descriptor, error) {
	tag, err := req.Pinned.Repository().Tag(signatureTag(req.Pinned.Digest()))
	if err != nil {
		return nil, err
	}
	digest, err := req.Client.Current(ctx, tag)
	if err != nil || digest == "" {
		return nil, err
	}
	manifest, err := manifestAt(ctx, InRegistry(req.Client, tag.Repository()), digest)
	if err != nil {
		return nil, fmt.Errorf("reading the signatures under %s: %w", tag, err)
	}
	return manifest.Layers, nil
}

func (req SignRequest) addToTag(ctx context.Context, layer artifact.Blob) (artifact.Digest, error) {
	tag, err := req.Pinned.Repository().Tag(signatureTag(req.Pinned.Digest()))
	if err != nil {
		return "", err
	}
	layers, err := req.taggedLayers(ctx)
	if err != nil {
		return "", err
	}
	layers = append(layers, layer.Descriptor)
	raw, err := imageConfig(layers)
	if err != nil {
		return "", err
	}
	config := blobOf(imageConfigMediaType, raw)
	packed, err := packManifest(artifact.Manifest{
		SchemaVersion: 2, MediaType: artifact.MediaTypeManifest, Config: &config.Descriptor, Layers: layers,
	}, config, layer)
	if err != nil {
		return "", err
	}
	if _, err := req.Client.Upload(ctx, tag.Repository(), packed); err != nil {
		return "", err
	}
	return packed.Digest, req.Client.Point(ctx, tag, packed.Digest, packed.MediaType, packed.Manifest)
}

// imageConfig is what registries and tools that take the signatures for an image want to see.
func imageConfig(layers []artifact.Descriptor) ([]byte, error) {
	const never = "0001-01-01T00:00:00Z"
	digests, history := []string{}, []map[string]string{}
	for _, l := range layers {
		digests = append(digests, l.Digest.String())
		history = append(history, map[string]string{"created": never})
	}
	raw, err := json.Marshal(map[string]any{
		"architecture": "", "os": "", "created": never, "config": map[string]any{}, "history": history,
		"rootfs": map[string]any{"type": "layers", "diff_ids": digests},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the config of the signature: %w", err)
	}
	return raw, nil
}

// annotations keeps a signature, and what proves it, as cosign does beside a payload.
func (s *proof) annotations() (map[string]string, error) {
	out := map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(s.bundle.GetMessageSignature().GetSignature())}
	material := s.bundle.GetVerificationMaterial()
	if cert := material.GetCertificate(); cert != nil {
		out[annotationCertificate] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.GetRawBytes()}))
		out[annotationChain] = ""
	}
	for _, entry := range material.GetTlogEntries() {
		text, err := json.Marshal(logBundle{
			SignedEntryTimestamp: entry.GetInclusionPromise().GetSignedEntryTimestamp(),
			Payload: logPayload{
				Body: entry.GetCanonicalizedBody(), IntegratedTime: entry.GetIntegratedTime(),
				LogIndex: entry.GetLogIndex(), LogID: hex.EncodeToString(entry.GetLogId().GetKeyId()),
			},
		})
		if err != nil {
			return nil, fmt.Errorf("keeping the log's answer: %w", err)
		}
		out[annotationRekor] = string(text)
	}
	for _, stamp := range material.GetTimestampVerificationData().GetRfc3161Timestamps() {
		text, err := json.Marshal(struct{ SignedRFC3161Timestamp []byte }{stamp.GetSignedTimestamp()})
		if err != nil {
			return nil, fmt.Errorf("keeping the time stamp: %w", err)
		}
		out[annotationTimestamp] = string(text)
	}
	return out, nil
}
