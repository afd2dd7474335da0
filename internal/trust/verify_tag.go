// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// What cosign writes under the tag, see its specs/SIGNATURE_SPEC.md.
const (
	simpleSigningMediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	atomicSignatureType    = "atomic container signature"
	bundleMediaTypeV01     = "application/vnd.dev.sigstore.bundle+json;version=0.1"

	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationRekor       = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// signatureTag is the tag under which the signatures of a digest are.
func signatureTag(d artifact.Digest) string { return artifact.ReferrersTag(d) + ".sig" }

// tagged looks under the tag of signatures for one that is as the policy demands.
func (v *verification) tagged(ctx context.Context) (*Verified, error) {
	if !v.policy.accepts(Tag) {
		return nil, nil
	}
	d, found, err := v.at.Tagged(ctx, signatureTag(v.pinned.Digest()))
	if err != nil || !found {
		return nil, err
	}
	what := "signature " + d.Digest.Short()
	manifest, err := manifestAt(ctx, v.at, d.Digest)
	if err != nil {
		v.unreadable(what, err)
		return nil, nil
	}
	for _, layer := range manifest.Layers {
		if layer.MediaType != simpleSigningMediaType {
			continue
		}
		if !v.next() {
			return nil, nil
		}
		what := "signature " + layer.Digest.Short()
		signed, err := v.at.Blob(ctx, layer)
		if err != nil {
			v.unreadable(what, err)
			continue
		}
		got, err := verifyTagged(signed, layer.Annotations, v.pinned.Digest(), &v.policy)
		if err != nil {
			v.reject(what, "%s", err)
			continue
		}
		return got, nil
	}
	return nil, nil
}

// verifyTagged says by what a signed payload makes an artifact trusted.
func verifyTagged(signed []byte, annotations map[string]string, digest artifact.Digest, policy *Policy) (*Verified, error) {
	entity, err := entityOf(signed, annotations)
	if err != nil {
		return nil, err
	}
	result, key, err := policy.verifyEntity(entity, func() verify.ArtifactPolicyOption {
		return verify.WithArtifact(bytes.NewReader(signed))
	})
	if err != nil {
		return nil, err
	}
	var claim payload.SimpleContainerImage
	if err := json.Unmarshal(signed, &claim); err != nil {
		return nil, errors.New("what is signed is no statement about an artifact")
	}
	if kind := claim.Critical.Type; kind != payload.CosignSignatureType && kind != atomicSignatureType {
		return nil, fmt.Errorf("what is signed is a %q", kind)
	}
	if claim.Critical.Image.DockerManifestDigest != digest.String() {
		return nil, fmt.Errorf("what is signed is %q", claim.Critical.Image.DockerManifestDigest)
	}
	return verifiedBy(result, key, Tag), nil
}

// logBundle is what cosign keeps of the log, in the annotation. The entry's time and place are signed by
// the log together with its body.
type logBundle struct {
	SignedEntryTimestamp []byte
	Payload              logPayload
}

type logPayload struct {
	Body           []byte `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogIndex       int64  `json:"logIndex"`
	LogID          string `json:"logID"`
}

// logBody is what an entry of the log says about its kind and about what was hashed.
type logBody struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Data struct {
			Hash struct {
				Algorithm string `json:"algorithm"`
			} `json:"hash"`
		} `json:"data"`
	} `json:"spec"`
}

// entityOf puts a payload and its annotations together as the bundle that Sigstore's library verifies.
func entityOf(signed []byte, annotations map[string]string) (*bundle.Bundle, error) {
	sig, err := base64.StdEncoding.DecodeString(annotations[annotationSignature])
	if err != nil || len(sig) == 0 {
		return nil, errors.New("it carries no signature")
	}
	material := &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}},
	}
	if text := annotations[annotationCertificate]; text != "" {
		certificate, err := certificateIn(text)
		if err != nil {
			return nil, err
		}
		material.Content = certificate
	}
	algorithm := "sha256"
	if text := annotations[annotationRekor]; text != "" {
		entry, of, err := logEntry(text)
		if err != nil {
			return nil, err
		}
		material.TlogEntries, algorithm = []*protorekor.TransparencyLogEntry{entry}, of
	}
	if text := annotations[annotationTimestamp]; text != "" {
		var stamp struct{ SignedRFC3161Timestamp []byte }
		if err := json.Unmarshal([]byte(text), &stamp); err != nil {
			return nil, errors.New("its time stamp can't be read")
		}
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp.SignedRFC3161Timestamp}},
		}
	}
	digest, err := messageDigest(algorithm, signed)
	if err != nil {
		return nil, err
	}
	return bundle.NewBundle(&protobundle.Bundle{
		MediaType: bundleMediaTypeV01, VerificationMaterial: material,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{MessageDigest: digest, Signature: sig}},
	})
}

func certificateIn(text string) (*protobundle.VerificationMaterial_X509CertificateChain, error) {
	const most = 1 // the chain is the root's business
	certs, err := cryptoutils.UnmarshalCertificatesFromPEMLimited([]byte(text), most)
	if err != nil || len(certs) != 1 {
		return nil, errors.New("its certificate can't be read")
	}
	return &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
		Certificates: []*protocommon.X509Certificate{{RawBytes: certs[0].Raw}},
	}}, nil
}

func logEntry(text string) (entry *protorekor.TransparencyLogEntry, algorithm string, err error) {
	var kept logBundle
	if err := json.Unmarshal([]byte(text), &kept); err != nil {
		return nil, "", errors.New("what it keeps of the log can't be read")
	}
	var body logBody
	id, err := hex.DecodeString(kept.Payload.LogID)
	if err == nil {
		err = json.Unmarshal(kept.Payload.Body, &body)
	}
	if err != nil {
		return nil, "", errors.New("what it keeps of the log can't be read")
	}
	entry = &protorekor.TransparencyLogEntry{
		LogIndex: kept.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: id},
		KindVersion:    &protorekor.KindVersion{Kind: body.Kind, Version: body.APIVersion},
		IntegratedTime: kept.Payload.IntegratedTime, CanonicalizedBody: kept.Payload.Body,
		InclusionPromise: &protorekor.InclusionPromise{SignedEntryTimestamp: kept.SignedEntryTimestamp},
	}
	return entry, body.Spec.Data.Hash.Algorithm, nil
}

// messageDigest hashes what is signed as the log did.
func messageDigest(algorithm string, content []byte) (*protocommon.HashOutput, error) {
	var hash crypto.Hash
	var named protocommon.HashAlgorithm
	switch algorithm {
	case "sha256":
		hash, named = crypto.SHA256, protocommon.HashAlgorithm_SHA2_256
	case "sha384":
		hash, named = crypto.SHA384, protocommon.HashAlgorithm_SHA2_384
	case "sha512":
		hash, named = crypto.SHA512, protocommon.HashAlgorithm_SHA2_512
	default:
		return nil, fmt.Errorf("the log hashed it with %q", algorithm)
	}
	h := hash.New()
	h.Write(content)
	return &protocommon.HashOutput{Algorithm: named, Digest: h.Sum(nil)}, nil
}
