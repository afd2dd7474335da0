// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/sign"
	sigstore "github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// proof is a signature that was made, with what proves it.
type proof struct {
	bundle          *protobundle.Bundle
	raw             []byte // of the bundle
	issuer, subject string // of the certificate
}

// sign signs some content, and has it logged and timed as the services say.
func (s Signer) sign(ctx context.Context, content sign.Content, layout Layout) (*proof, error) {
	opts := sign.BundleOptions{Context: ctx}
	var keys sign.Keypair
	var err error
	switch {
	case s.Key != nil && s.Keyless != nil, s.Key == nil && s.Keyless == nil:
		return nil, badPolicy("a signature needs either a key or an identity")
	case s.Key != nil:
		keys, err = newKeypair(s.Key.signer, s.Services.Rekor != "")
	default:
		keys, err = s.Keyless.prepare(ctx, s.Services, &opts)
	}
	if err == nil {
		err = s.Services.prepare(ctx, layout, &opts)
	}
	if err != nil {
		return nil, err
	}
	made, err := sign.Bundle(content, keys, opts)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	out := &proof{bundle: made}
	if cert := made.GetVerificationMaterial().GetCertificate(); cert != nil {
		if err := out.readCertificate(cert.GetRawBytes()); err != nil {
			return nil, err
		}
	}
	if out.raw, err = protojson.Marshal(made); err != nil {
		return nil, fmt.Errorf("writing the bundle: %w", err)
	}
	return out, nil
}

func (s *proof) readCertificate(der []byte) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return errors.New("the certificate that was issued can't be read")
	}
	about, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return errors.New("the certificate that was issued names nobody")
	}
	s.issuer, s.subject = about.Issuer, about.SubjectAlternativeName
	return nil
}

// keypair signs with a key as cosign does: with the hash of the curve's size, with RSA in PKCS #1 v1.5.
// With an Ed25519 key it signs the content itself, which is what cosign and Flux verify; what is logged
// has to be hashed before (Ed25519ph), since the log takes hashes only.
type keypair struct {
	public crypto.PublicKey
	signer sigstore.SignerVerifier
	how    sigstore.AlgorithmDetails
}

func newKeypair(key crypto.Signer, logged bool) (*keypair, error) {
	var load []sigstore.LoadOption
	if logged {
		load = append(load, options.WithED25519ph())
	}
	how, err := sigstore.GetDefaultAlgorithmDetails(key.Public(), load...)
	if err != nil {
		return nil, badPolicy("a key of this kind or length can't sign: %s", artifact.OneLine(err.Error()))
	}
	signer, err := sigstore.LoadDefaultSignerVerifier(key, load...)
	if err != nil {
		return nil, badPolicy("a key of this kind or length can't sign: %s", artifact.OneLine(err.Error()))
	}
	return &keypair{public: key.Public(), signer: signer, how: how}, nil
}

// GetHashAlgorithm implements sign.Keypair.
func (k *keypair) GetHashAlgorithm() protocommon.HashAlgorithm { return k.how.GetProtoHashType() }

// GetSigningAlgorithm implements sign.Keypair.
func (k *keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return k.how.GetSignatureAlgorithm()
}

// GetHint returns what cosign names a key by in a bundle: the SHA-256 of its encoding.
func (k *keypair) GetHint() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(der)
	return []byte(base64.StdEncoding.EncodeToString(sum[:]))
}

// GetKeyAlgorithm implements sign.Keypair.
func (k *keypair) GetKeyAlgorithm() string {
	switch k.public.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA"
	case *rsa.PublicKey:
		return "RSA"
	default:
		return "ED25519"
	}
}

// GetPublicKey implements sign.Keypair.
func (k *keypair) GetPublicKey() crypto.PublicKey { return k.public }

// GetPublicKeyPem implements sign.Keypair.
func (k *keypair) GetPublicKeyPem() (string, error) {
	text, err := PublicKey{key: k.public}.PEM()
	return string(text), err
}

// SignData implements sign.Keypair.
func (k *keypair) SignData(ctx context.Context, data []byte) (sig, digest []byte, err error) {
	opts := []sigstore.SignOption{options.WithContext(ctx)}
	if hash := k.how.GetHashType(); hash != 0 {
		h := hash.New()
		h.Write(data)
		digest = h.Sum(nil)
		opts = append(opts, options.WithDigest(digest))
	}
	sig, err = k.signer.SignMessage(bytes.NewReader(data), opts...)
	return sig, digest, err
}
