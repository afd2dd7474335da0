// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/x509"
	"slices"
	"time"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// Layout is the form in which a signature by cosign is kept beside an artifact.
type Layout string

// The layouts.
const (
	Bundle Layout = "bundle" // a Sigstore bundle that refers to the artifact: cosign 3, cosign 2 on request
	Tag    Layout = "tag"    // a signed payload under the tag sha256-<hex>.sig: cosign 2 and 1
)

// Layouts lists them, the one that is written by default first.
func Layouts() []Layout { return []Layout{Bundle, Tag} }

// Policy is what is demanded of an artifact. One of Keys, Identities and Notation must be set, and
// only one. The zero value demands nothing and is refused.
type Policy struct {
	// Keys: the artifact is signed with the private half of any of them.
	Keys []PublicKey
	// Identities: it is signed with a certificate that was issued to any of them, by an authority of
	// Root, and the signature is in a log of Root, or has a time stamp of Root.
	Identities []Identity
	Root       *Root
	// NoLog: signatures of identities need a time stamp only, for authorities without a log.
	NoLog bool
	// NoSCT: certificates need not be in a certificate transparency log, for authorities without one.
	NoSCT bool
	// RequireLog: signatures of keys must be in a log of Root as well.
	RequireLog bool
	// Notation: it is signed as a trust policy of the Notary Project demands.
	Notation *Notation
	// Layouts that are accepted, of signatures by cosign; empty for all.
	Layouts []Layout
}

// Notation is a trust policy of the Notary Project with the certificates of its trust stores.
type Notation struct {
	Document     []byte // trustpolicy.json
	Certificates []*x509.Certificate
}

// Method is how a signature was made.
type Method string

// The methods.
const (
	Cosign   Method = "cosign"
	Notary   Method = "notation"
	noMethod Method = ""
)

// Verified says by what an artifact is trusted.
type Verified struct {
	Digest  artifact.Digest
	Method  Method
	Layout  Layout    // of cosign's signatures
	Key     string    // fingerprint of the key, SHA256:<hex>; empty for identities
	Issuer  string    // of the identity's token, or of the Notation certificate
	Subject string    // the identity, or the subject of the Notation certificate
	Time    time.Time // at which it was signed, where a log or a time stamp proves it; else zero
}

// check says what is wrong with a policy.
func (p *Policy) check() error {
	ways := 0
	for _, given := range []bool{len(p.Keys) > 0, len(p.Identities) > 0, p.Notation != nil} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0:
		return badPolicy("a policy that demands nothing trusts nothing: give a key, an identity or a Notation trust policy")
	case ways > 1:
		return badPolicy("keys, identities and a Notation trust policy exclude each other")
	case p.Root == nil && (len(p.Identities) > 0 || p.RequireLog):
		return badPolicy("identities and logs need a trusted root")
	}
	return nil
}

func (p *Policy) accepts(l Layout) bool {
	return len(p.Layouts) == 0 || slices.Contains(p.Layouts, l)
}
