// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Digest names content by its hash, as algorithm:hex. The zero value names nothing; any other value
// comes from [ParseDigest] or from hashing.
type Digest string

// ParseDigest reads a digest, which is sha256 or sha512 with lower-case hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	algorithm, digits, found := strings.Cut(s, ":")
	if !found {
		return "", fmt.Errorf("digest %q: want sha256:<64 hexadecimal digits>", clip(s))
	}
	want, known := digestLength(algorithm)
	if !known {
		return "", fmt.Errorf("digest %q: algorithm %q is not supported, want sha256 or sha512", clip(s), clip(algorithm))
	}
	if len(digits) != want {
		return "", fmt.Errorf("digest %q: has %d hexadecimal digits, want %d", clip(s), len(digits), want)
	}
	if strings.Trim(digits, "0123456789abcdef") != "" {
		return "", fmt.Errorf("digest %q: want lower-case hexadecimal digits", clip(s))
	}
	return Digest(s), nil
}

func digestLength(algorithm string) (int, bool) {
	switch algorithm {
	case "sha256":
		return hex.EncodedLen(sha256.Size), true
	case "sha512":
		return hex.EncodedLen(sha512.Size), true
	default:
		return 0, false
	}
}

// DigestOf returns the SHA-256 digest of some bytes.
func DigestOf(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Algorithm returns the part before the colon.
func (d Digest) Algorithm() string {
	algorithm, _, _ := strings.Cut(string(d), ":")
	return algorithm
}

// Hex returns the part after the colon.
func (d Digest) Hex() string {
	_, digits, _ := strings.Cut(string(d), ":")
	return digits
}

// String returns algorithm:hex.
func (d Digest) String() string { return string(d) }

// Short returns the digest with its first twelve digits, for tables.
func (d Digest) Short() string {
	const shown = 12
	digits := d.Hex()
	if len(digits) <= shown {
		return string(d)
	}
	return d.Algorithm() + ":" + digits[:shown]
}

// NewHash returns a hash of the digest's algorithm.
func (d Digest) NewHash() hash.Hash {
	if d.Algorithm() == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// Matches says whether a hash made by [Digest.NewHash] has arrived at this digest.
func (d Digest) Matches(h hash.Hash) bool { return hex.EncodeToString(h.Sum(nil)) == d.Hex() }

// clip keeps text of unknown origin short enough for a message.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
