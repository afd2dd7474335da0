// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	kjson "sigs.k8s.io/json"
)

// MaxManifestBytes is the size of the largest manifest that is read.
const MaxManifestBytes = 4 << 20

const (
	// maxLayers is far above what anybody packs, and far below what hurts.
	maxLayers = 1000
	// maxIndexed is as many as are listed of tags: an index may be the list of all that refers to an artifact.
	maxIndexed = 10_000
)

// Descriptor points from a manifest to a blob or to another manifest.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       Digest            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
}

// Platform is what an index says about one of its manifests.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// Manifest is an OCI image manifest, a Docker v2 manifest or, with Manifests in place of Layers, an
// index of either.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *Descriptor       `json:"config,omitempty"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Layers        []Descriptor      `json:"layers,omitempty"`
	Manifests     []Descriptor      `json:"manifests,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// ParseManifest reads a manifest and checks what later steps rely on. The media type is the one that
// the registry declared; it must agree with what the bytes say about themselves.
func ParseManifest(raw []byte, declared string) (*Manifest, error) {
	if len(raw) > MaxManifestBytes {
		return nil, fmt.Errorf("manifest has %d bytes, more than %d", len(raw), MaxManifestBytes)
	}
	var m Manifest
	duplicates, err := kjson.UnmarshalStrict(raw, &m, kjson.DisallowDuplicateFields)
	if err != nil {
		return nil, fmt.Errorf("manifest is not valid JSON: %w", err)
	}
	if len(duplicates) > 0 {
		return nil, fmt.Errorf("manifest is ambiguous: %w", duplicates[0])
	}
	if m.MediaType == "" {
		m.MediaType = declared
	}
	if declared != "" && m.MediaType != declared {
		return nil, fmt.Errorf("manifest says it is %q, the registry says %q", clip(m.MediaType), clip(declared))
	}
	return &m, m.check()
}

func (m *Manifest) check() error {
	if m.SchemaVersion != 2 {
		return fmt.Errorf("manifest has schema version %d, want 2", m.SchemaVersion)
	}
	entries, most := m.Layers, maxLayers
	switch m.MediaType {
	case MediaTypeManifest, MediaTypeDockerManifest:
		if len(m.Manifests) > 0 {
			return errors.New("manifest lists manifests as an index does")
		}
	case MediaTypeIndex, MediaTypeDockerManifestList:
		if len(m.Layers) > 0 {
			return errors.New("index lists layers as a manifest does")
		}
		entries, most = m.Manifests, maxIndexed
	default:
		return fmt.Errorf("manifest has the media type %q: want an OCI or Docker image manifest or index", clip(m.MediaType))
	}
	if len(entries) > most {
		return fmt.Errorf("manifest lists %d entries, more than %d", len(entries), most)
	}
	if m.Config != nil {
		entries = append([]Descriptor{*m.Config}, entries...)
	}
	for _, d := range entries {
		if _, err := ParseDigest(string(d.Digest)); err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		if d.Size < 0 {
			return fmt.Errorf("manifest: %s has the size %d", d.Digest.Short(), d.Size)
		}
	}
	return nil
}

// PlatformError says that an index holds nothing for the platform that artifacts are taken from.
type PlatformError struct{ Wanted string }

// Error returns what was looked for.
func (e *PlatformError) Error() string { return "the index has no manifest for " + e.Wanted }

// Child returns the manifest of an index that stands for the artifact: the one for linux/amd64, as
// Flux takes it, or the only one, if the index says of no platform that it is for it.
func (m *Manifest) Child() (Descriptor, error) {
	for _, d := range m.Manifests {
		if d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == "amd64" {
			return d, nil
		}
	}
	if len(m.Manifests) == 1 && m.Manifests[0].Platform == nil {
		return m.Manifests[0], nil
	}
	return Descriptor{}, &PlatformError{Wanted: "linux/amd64"}
}

// LayerError says that a manifest does not have the layer that was asked for.
type LayerError struct{ MediaType string }

// Error returns what was looked for.
func (e *LayerError) Error() string {
	if e.MediaType == "" {
		return "the artifact has no layers"
	}
	return fmt.Sprintf("the artifact has no layer of media type %q", e.MediaType)
}

// Layer returns the first layer of a media type. If the media type is empty it is the first one that is
// an archive, or the first of all where none is.
func (m *Manifest) Layer(mediaType string) (Descriptor, error) {
	for _, d := range m.Layers {
		if d.MediaType == mediaType || mediaType == "" && packingOf(d.MediaType) != packingUnknown {
			return d, nil
		}
	}
	if mediaType == "" && len(m.Layers) > 0 {
		return m.Layers[0], nil
	}
	return Descriptor{}, &LayerError{MediaType: mediaType}
}

// Index writes the list of manifests that an index is.
func Index(manifests []Descriptor) ([]byte, error) {
	raw, err := encode(struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []Descriptor `json:"manifests"`
	}{2, MediaTypeIndex, manifests})
	if err != nil {
		return nil, fmt.Errorf("writing an index: %w", err)
	}
	return raw, nil
}

// encode writes JSON that is the same everywhere: maps are sorted, and nothing is escaped for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
