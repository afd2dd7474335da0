// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"regexp"
	"strings"
	"sync"
)

// companionTag is the form of tags that belong to another artifact: cosign's signatures,
// attestations and SBOMs, and the index of referrers where a registry has no API for them.
var companionTag = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})(\.(sig|att|sbom))?$`)
})

// IsCompanionTag says whether a tag belongs to an artifact rather than names a version of one.
func IsCompanionTag(name string) bool { return companionTag().MatchString(name) }

// ReferrersTag returns the tag of the index of what refers to a digest.
func ReferrersTag(d Digest) string { return strings.Replace(d.String(), ":", "-", 1) }

// CompanionTags lists the tags under which a signature, an attestation, an SBOM and the index of
// referrers of a digest are found.
func CompanionTags(d Digest) []string {
	base := ReferrersTag(d)
	return []string{base, base + ".sig", base + ".att", base + ".sbom"}
}
