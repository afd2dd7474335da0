// SPDX-License-Identifier: Apache-2.0

// Package trust signs artifacts, and decides whether one may be used.
//
// Both are about a digest, never about a tag: [Sign] takes an [artifact.Pinned], and [Verify] is called
// after a tag was resolved once and before any byte of the artifact is unpacked. The formats are
// cosign's: a Sigstore bundle that names the artifact as its subject ([Bundle]), and a signed payload
// under a tag made of the digest ([Tag]). Both are read; what is written is chosen. Signatures of the
// Notary Project are verified as well.
//
// A [Policy] says what is demanded: one of several public keys, a certificate that was issued to one of
// several identities, or a Notation trust policy. What a policy does not name is not trusted, and an
// artifact without a signature is an [UntrustedError] as much as one with a wrong one: that a
// signature can't be found is never read as "not needed". Everything a registry answers is hostile
// until it was checked: counts and sizes are bounded, and what is signed must name the digest itself.
package trust
