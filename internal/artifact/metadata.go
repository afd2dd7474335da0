// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// The annotations of an artifact's manifest.
const (
	AnnotationCreated  = "org.opencontainers.image.created"
	AnnotationSource   = "org.opencontainers.image.source"
	AnnotationRevision = "org.opencontainers.image.revision"
	AnnotationTitle    = "org.opencontainers.image.title" // on the layer: the file that oras writes

	AnnotationVersion       = "kustomizer.dev/version"   // of the format, not of the program
	AnnotationChecksum      = "kustomizer.dev/checksum"  // SHA-256 of all.yaml, or of the tar of a tree
	AnnotationLegacyCreated = "kustomizer.dev/created"   // as Kustomizer 2 wrote it
	AnnotationEncrypted     = "kustomizer.dev/encrypted" // [EncryptedWithAge], on encrypted artifacts
)

// EncryptedWithAge is the value of [AnnotationEncrypted].
const EncryptedWithAge = "age-encryption.org/v1"

// FormatVersion is the version of the format that is written. Kustomizer up to version 2 wrote its
// own version, such as 2.2.1, in its place; all majors up to this one are read.
const FormatVersion = 3

// Metadata is what a publisher says about an artifact.
type Metadata struct {
	Created     time.Time // left out if zero
	Source      string    // URL of where the content comes from; left out if empty
	Revision    string    // branch@sha1:commit, or what the user gave; left out if empty
	Annotations map[string]string
}

// annotations returns the manifest's annotations; those of the format win over given ones. Of what is
// encrypted they say nothing, not even a checksum.
func (m Metadata) annotations(checksum string, encrypted bool) map[string]string {
	all := maps.Clone(m.Annotations)
	if all == nil {
		all = map[string]string{}
	}
	all[AnnotationVersion] = strconv.Itoa(FormatVersion)
	delete(all, AnnotationChecksum)
	delete(all, AnnotationEncrypted)
	switch {
	case encrypted:
		all[AnnotationEncrypted] = EncryptedWithAge
	case checksum != "":
		all[AnnotationChecksum] = checksum
	}
	if !m.Created.IsZero() {
		all[AnnotationCreated] = m.Created.UTC().Truncate(time.Second).Format(time.RFC3339)
	}
	if m.Source != "" {
		all[AnnotationSource] = m.Source
	}
	if m.Revision != "" {
		all[AnnotationRevision] = m.Revision
	}
	return all
}

// FormatError says that an artifact was written in a format that this program does not know.
type FormatError struct{ Version string }

// Error names the version and the newest one that is known.
func (e *FormatError) Error() string {
	return fmt.Sprintf("the artifact has the format version %q, this program reads versions up to %d", clip(e.Version), FormatVersion)
}

// CheckFormat refuses an artifact that a newer program wrote. Artifacts of other programs carry no
// version and are fine.
func CheckFormat(annotations map[string]string) error {
	version, present := annotations[AnnotationVersion]
	if !present {
		return nil
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.ParseUint(major, 10, 16); err != nil || n > FormatVersion {
		return &FormatError{Version: version}
	}
	return nil
}

// CreatedOf reads when an artifact says that it was created; the zero time if it does not say, or not
// in a form that is known.
func CreatedOf(annotations map[string]string) time.Time {
	for _, key := range []string{AnnotationCreated, AnnotationLegacyCreated} {
		if at, err := time.Parse(time.RFC3339, annotations[key]); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}
