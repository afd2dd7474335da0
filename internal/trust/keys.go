// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// The types of PEM blocks in which cosign keeps encrypted private keys.
const (
	pemSigstore = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemCosign   = "ENCRYPTED COSIGN PRIVATE KEY"
)

// The lengths of RSA keys that are taken: shorter ones are not safe, longer ones only slow.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// PublicKey verifies signatures: an ECDSA, Ed25519 or RSA key.
type PublicKey struct{ key crypto.PublicKey }

// ParsePublicKeys reads public keys and certificates in PEM form, any number of them.
func ParsePublicKeys(text []byte) ([]PublicKey, error) {
	var out []PublicKey
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, badPolicy("it holds something else than public keys in PEM form")
		}
		key, err := publicKeyIn(block)
		if err != nil {
			return nil, err
		}
		out = append(out, key)
	}
	if len(out) == 0 {
		return nil, badPolicy("there is no public key in it")
	}
	return out, nil
}

func publicKeyIn(block *pem.Block) (PublicKey, error) {
	var key crypto.PublicKey
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		return PublicKey{}, badPolicy("a certificate is no public key: its owner is not known by it alone")
	case pemSigstore, pemCosign, "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY":
		return PublicKey{}, badPolicy("it is a private key: to verify, give the public one")
	default:
		return PublicKey{}, badPolicy("%q is no public key in PEM form", artifact.OneLine(block.Type))
	}
	if err != nil {
		return PublicKey{}, badPolicy("the public key can't be read")
	}
	return PublicKey{key: key}, checkKey(key)
}

// checkKey refuses keys of a kind or a length that is not safe.
func checkKey(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return badPolicy("the key is not safe to use: its curve is not P-256, P-384 or P-521")
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return badPolicy("the key is not safe to use: RSA of %d bits, not of %d to %d", bits, minRSABits, maxRSABits)
		}
	case ed25519.PublicKey:
	default:
		return badPolicy("the key is not an ECDSA, Ed25519 or RSA key")
	}
	return nil
}

// Fingerprint returns the SHA-256 of the key in its standard encoding.
func (k PublicKey) Fingerprint() string {
	der, err := x509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return "SHA256:" + hex.EncodeToString(sum[:])
}

// PEM returns the key in the form in which it is given to others.
func (k PublicKey) PEM() ([]byte, error) { return cryptoutils.MarshalPublicKeyToPEM(k.key) }

// anyVerifier accepts a signature in any of the ways in which cosign's releases sign with a kind of key:
// with SHA-256 or with the hash of the curve's size, with Ed25519 or Ed25519ph.
type anyVerifier struct {
	key crypto.PublicKey
	all []signature.Verifier
}

func (k PublicKey) verifier() (signature.Verifier, error) {
	hashes := []crypto.Hash{crypto.SHA256}
	v := &anyVerifier{key: k.key}
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 384:
			hashes = append(hashes, crypto.SHA384)
		case 521:
			hashes = append(hashes, crypto.SHA512)
		}
	case ed25519.PublicKey:
		prehashed, err := signature.LoadED25519phVerifier(key)
		if err != nil {
			return nil, err
		}
		v.all = append(v.all, prehashed)
	case *rsa.PublicKey:
		for _, hash := range hashes {
			pss, err := signature.LoadRSAPSSVerifier(key, hash, nil)
			if err != nil {
				return nil, err
			}
			v.all = append(v.all, pss)
		}
	}
	for _, hash := range hashes {
		one, err := signature.LoadVerifier(k.key, hash)
		if err != nil {
			return nil, err
		}
		v.all = append(v.all, one)
	}
	return v, nil
}

// PublicKey implements signature.Verifier.
func (v *anyVerifier) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return v.key, nil
}

// VerifySignature implements signature.Verifier.
func (v *anyVerifier) VerifySignature(sig, message io.Reader, opts ...signature.VerifyOption) error {
	signed, err := io.ReadAll(sig)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	for _, one := range v.all {
		if err = one.VerifySignature(bytes.NewReader(signed), bytes.NewReader(content), opts...); err == nil {
			return nil
		}
	}
	return errors.New("the signature was not made with this key, or not of this content")
}

// PasswordError says that the password of a private key is missing or wrong.
type PasswordError struct{ Given bool }

// Error implements error.
func (e *PasswordError) Error() string {
	if e.Given {
		return "reading the private key: the password is wrong"
	}
	return "reading the private key: it is encrypted, and there is no password"
}

// PrivateKey signs with a key that is at hand.
type PrivateKey struct{ signer crypto.Signer }

// ParsePrivateKey reads a private key: cosign's, encrypted with a password, or plain PEM (PKCS #8,
// PKCS #1, SEC 1). The password is asked for only where the key is encrypted; nil stands for none.
// No error holds anything of the key or the password.
func ParsePrivateKey(text []byte, password func() ([]byte, error)) (PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return PrivateKey{}, badPolicy("it is not a private key in PEM form")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return PrivateKey{}, badPolicy("it holds more than one private key")
	}
	der := block.Bytes
	if block.Type == pemSigstore || block.Type == pemCosign {
		var err error
		if der, err = decrypt(block.Bytes, password); err != nil {
			return PrivateKey{}, err
		}
	}
	key, err := privateKeyIn(block.Type, der)
	if err != nil {
		return PrivateKey{}, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return PrivateKey{}, badPolicy("it is not a key for signatures")
	}
	return PrivateKey{signer: signer}, checkKey(signer.Public())
}

func decrypt(box []byte, password func() ([]byte, error)) ([]byte, error) {
	if password == nil {
		return nil, &PasswordError{}
	}
	phrase, err := password()
	if err != nil {
		return nil, err
	}
	der, err := encrypted.Decrypt(box, phrase)
	if err != nil {
		return nil, &PasswordError{Given: len(phrase) > 0}
	}
	return der, nil
}

func privateKeyIn(kind string, der []byte) (crypto.PrivateKey, error) {
	var key crypto.PrivateKey
	var err error
	switch kind {
	case pemSigstore, pemCosign, "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(der)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	case "PUBLIC KEY", "CERTIFICATE":
		return nil, badPolicy("it is public: to sign, give the private key")
	default:
		return nil, badPolicy("%q is not a form of private key that is read: want cosign's, PKCS #8, PKCS #1 or SEC 1", artifact.OneLine(kind))
	}
	if err != nil {
		return nil, badPolicy("the private key can't be read")
	}
	return key, nil
}

// Public returns the other half of the key.
func (k PrivateKey) Public() PublicKey { return PublicKey{key: k.signer.Public()} }
