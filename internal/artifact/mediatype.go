// SPDX-License-Identifier: Apache-2.0

package artifact

import "strings"

// The media types of what this program pushes.
const (
	MediaTypeManifest       = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeConfig         = "application/vnd.cncf.flux.config.v1+json"
	MediaTypeLayer          = "application/vnd.oci.image.layer.v1.tar+gzip"
	MediaTypeEncryptedLayer = "application/vnd.kustomizer.content.v1.tar+gzip+age"
)

// Media types of what others push and this program reads.
const (
	MediaTypeIndex              = "application/vnd.oci.image.index.v1+json"
	MediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeFluxLayer          = "application/vnd.cncf.flux.content.v1.tar+gzip"
	MediaTypeKustomizerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// ManifestMediaTypes lists what a registry is asked for, in order of preference.
func ManifestMediaTypes() []string {
	return []string{MediaTypeManifest, MediaTypeDockerManifest, MediaTypeIndex, MediaTypeDockerManifestList}
}

// IsIndex says whether a media type is that of a list of manifests.
func IsIndex(mediaType string) bool {
	return mediaType == MediaTypeIndex || mediaType == MediaTypeDockerManifestList
}

// encryptedSuffix ends the media type of a layer that is encrypted with age.
const encryptedSuffix = "+age"

// packing is how the tar of a layer is compressed.
type packing int

const (
	packingUnknown packing = iota
	packingTar
	packingGzip
	packingZstd
	packingAge
)

// packingOf reads the declared packing off a media type. What the bytes are is checked when they are
// opened, and must agree.
func packingOf(mediaType string) packing {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	mediaType = strings.TrimSpace(mediaType)
	hasSuffix := func(suffixes ...string) bool {
		for _, suffix := range suffixes {
			if strings.HasSuffix(mediaType, suffix) {
				return true
			}
		}
		return false
	}
	switch {
	case hasSuffix(encryptedSuffix):
		return packingAge
	case hasSuffix("tar+gzip", "tar.gzip", "tar+gz", "application/gzip", "application/x-gzip"):
		return packingGzip
	case hasSuffix("tar+zstd", "tar.zstd"):
		return packingZstd
	case hasSuffix(".tar", "application/x-tar", "application/tar"):
		return packingTar
	default:
		return packingUnknown
	}
}

// IsEncrypted says whether a layer's media type is that of an encrypted one.
func IsEncrypted(mediaType string) bool { return packingOf(mediaType) == packingAge }

// ContentType returns the media type of what an encrypted layer holds; of any other, its own.
func ContentType(mediaType string) string {
	if !IsEncrypted(mediaType) {
		return mediaType
	}
	mediaType, _, _ = strings.Cut(mediaType, ";")
	return strings.TrimSuffix(strings.TrimSpace(mediaType), encryptedSuffix)
}
