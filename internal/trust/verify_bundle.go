// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// What cosign writes, see its specs/BUNDLE_SPEC.md and in-toto's statement.
const (
	bundleMediaType       = "application/vnd.dev.sigstore.bundle.v0.3+json"
	bundleMediaTypePrefix = "application/vnd.dev.sigstore.bundle"
	emptyMediaType        = "application/vnd.oci.empty.v1+json"
	statementType         = "https://in-toto.io/Statement/v1"
	statementMediaType    = "application/vnd.in-toto+json"
	signPredicate         = "https://sigstore.dev/cosign/sign/v1"

	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
)

// bundles looks for a bundle among the referrers that is as the policy demands.
func (v *verification) bundles(ctx context.Context) (*Verified, error) {
	if !v.policy.accepts(Bundle) {
		return nil, nil
	}
	found, err := v.at.Referrers(ctx, v.pinned.Digest())
	if err != nil {
		return nil, err
	}
	for _, d := range likelyBundles(found) {
		if !v.next() {
			return nil, nil
		}
		if got := v.bundlesIn(ctx, d); got != nil {
			return got, nil
		}
	}
	return nil, nil
}

// likelyBundles picks the referrers that may be bundles, those that say that they are signatures first.
// What they say about themselves is a hint only. Some registries give the media type of the config as
// the type of the artifact, or none.
func likelyBundles(referrers []artifact.Descriptor) []artifact.Descriptor {
	rank := func(d artifact.Descriptor) int {
		switch {
		case d.Annotations[annotationPredicate] == signPredicate:
			return 0
		case strings.HasPrefix(d.ArtifactType, bundleMediaTypePrefix) && d.Annotations[annotationPredicate] == "":
			return 1
		case strings.HasPrefix(d.ArtifactType, bundleMediaTypePrefix):
			return 2
		default:
			return 3
		}
	}
	out := slices.DeleteFunc(slices.Clone(referrers), func(d artifact.Descriptor) bool {
		known := strings.HasPrefix(d.ArtifactType, bundleMediaTypePrefix)
		return !known && d.ArtifactType != "" && d.ArtifactType != emptyMediaType
	})
	slices.SortStableFunc(out, func(a, b artifact.Descriptor) int { return cmp.Compare(rank(a), rank(b)) })
	return out
}

// bundlesIn looks at the bundles in one referrer, which was counted for the first of them.
func (v *verification) bundlesIn(ctx context.Context, d artifact.Descriptor) *Verified {
	what := "bundle " + d.Digest.Short()
	manifest, err := manifestAt(ctx, v.at, d.Digest)
	if err != nil {
		v.unreadable(what, err)
		return nil
	}
	if manifest.Subject == nil || manifest.Subject.Digest != v.pinned.Digest() {
		v.reject(what, "it does not refer to the artifact")
		return nil
	}
	layers := slices.DeleteFunc(manifest.Layers, func(d artifact.Descriptor) bool {
		return !strings.HasPrefix(d.MediaType, bundleMediaTypePrefix)
	})
	for i, layer := range layers {
		if i > 0 && !v.next() {
			return nil
		}
		raw, err := v.at.Blob(ctx, layer)
		if err != nil {
			v.unreadable(what, err)
			continue
		}
		got, err := verifyBundle(raw, v.pinned.Digest(), &v.policy)
		if err != nil {
			v.reject(what, "%s", err)
			continue
		}
		return got
	}
	return nil
}

// verifyBundle says by what a bundle makes an artifact trusted.
func verifyBundle(raw []byte, digest artifact.Digest, policy *Policy) (*Verified, error) {
	var b bundle.Bundle
	if err := b.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("it is no Sigstore bundle: %w", err)
	}
	// Only a statement says what it is meant as. A bare signature over the artifact's digest is
	// refused: a key that signs without looking at the content would take any digest for it.
	envelope := b.GetDsseEnvelope()
	if envelope == nil || envelope.GetPayloadType() != statementMediaType {
		return nil, errors.New("it holds no statement about the artifact")
	}
	sum, err := hex.DecodeString(digest.Hex())
	if err != nil {
		return nil, err
	}
	result, key, err := policy.verifyEntity(&b, func() verify.ArtifactPolicyOption {
		return verify.WithArtifactDigest(digest.Algorithm(), sum)
	})
	if err != nil {
		return nil, err
	}
	if predicate := result.Statement.GetPredicateType(); predicate != signPredicate {
		return nil, fmt.Errorf("it is an attestation (%s), not a signature", predicate)
	}
	return verifiedBy(result, key, Bundle), nil
}

// verifyEntity verifies a signature in Sigstore's form: by any of the keys, or by a certificate that
// was issued to any of the identities. What it must be about is asked for once for each key.
func (p *Policy) verifyEntity(entity verify.SignedEntity, about func() verify.ArtifactPolicyOption) (*verify.VerificationResult, *PublicKey, error) {
	if len(p.Keys) == 0 {
		result, err := p.verifyCertified(entity, about)
		return result, nil, err
	}
	err := errors.New("it was not made with the key")
	for i := range p.Keys {
		var result *verify.VerificationResult
		if result, err = p.verifyKeyed(entity, about, p.Keys[i]); err == nil {
			return result, &p.Keys[i], nil
		}
	}
	if content, contentErr := entity.VerificationContent(); contentErr == nil && content.Certificate() != nil {
		err = errors.New("it was made with a certificate, not with the key")
	}
	return nil, nil, err
}

func (p *Policy) verifyKeyed(entity verify.SignedEntity, about func() verify.ArtifactPolicyOption, key PublicKey) (*verify.VerificationResult, error) {
	verifier, err := key.verifier()
	if err != nil {
		return nil, err
	}
	options := []verify.VerifierOption{verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate()}
	material := keyMaterial{key: root.NewExpiringKey(verifier, time.Time{}, time.Time{}), TrustedMaterial: &root.BaseTrustedMaterial{}}
	if p.RequireLog {
		material.TrustedMaterial = p.Root.material
		options = append(options, verify.WithTransparencyLog(1))
	}
	v, err := verify.NewVerifier(material, options...)
	if err != nil {
		return nil, err
	}
	return v.Verify(entity, verify.NewPolicy(about(), verify.WithKey()))
}

// keyMaterial trusts a key, whatever hint a signature gives for it, and the logs of a root.
type keyMaterial struct {
	root.TrustedMaterial
	key root.TimeConstrainedVerifier
}

// PublicKeyVerifier implements root.TrustedMaterial.
func (m keyMaterial) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	return m.key, nil
}

func (p *Policy) verifyCertified(entity verify.SignedEntity, about func() verify.ArtifactPolicyOption) (*verify.VerificationResult, error) {
	options := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if !p.NoSCT {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	if p.NoLog {
		options = append(options, verify.WithSignedTimestamps(1))
	} else {
		options = append(options, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	}
	v, err := verify.NewVerifier(p.Root.material, options...)
	if err != nil {
		return nil, err
	}
	// The identities are compared below: several, with claims, each whole.
	result, err := v.Verify(entity, verify.NewPolicy(about(), verify.WithoutIdentitiesUnsafe()))
	if err != nil {
		return nil, err
	}
	if result.Signature == nil || result.Signature.Certificate == nil {
		return nil, errors.New("it was made with a key, not with a certificate")
	}
	var because []string
	for i := range p.Identities {
		why := p.Identities[i].matches(*result.Signature.Certificate)
		if why == "" {
			return result, nil
		}
		because = append(because, why)
	}
	return nil, fmt.Errorf("the certificate belongs to somebody else: %s", strings.Join(slices.Compact(because), "; "))
}

func verifiedBy(result *verify.VerificationResult, key *PublicKey, layout Layout) *Verified {
	out := &Verified{Method: Cosign, Layout: layout}
	if key != nil {
		out.Key = key.Fingerprint()
	}
	if result.Signature != nil && result.Signature.Certificate != nil {
		out.Issuer, out.Subject = result.Signature.Certificate.Issuer, result.Signature.Certificate.SubjectAlternativeName
	}
	for _, at := range result.VerifiedTimestamps {
		if out.Time.IsZero() || at.Timestamp.Before(out.Time) {
			out.Time = at.Timestamp.UTC()
		}
	}
	return out
}
