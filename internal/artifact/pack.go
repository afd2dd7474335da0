// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// YAMLFile is the name of the only entry of an artifact made of rendered objects.
const YAMLFile = "all.yaml"

// layerTitle names the layer for tools that write layers to files by their title.
const layerTitle = "artifact.tar.gz"

// Blob is bytes that a manifest points to.
type Blob struct {
	Descriptor

	// Open returns the bytes from their beginning, as often as it is called.
	Open func() (io.ReadCloser, error)
}

// Packed is an artifact that is ready to be pushed.
type Packed struct {
	Digest    Digest // of the manifest
	MediaType string // of the manifest
	Manifest  []byte
	Config    Blob
	Layers    []Blob
}

// PackOptions are the choices of [PackYAML]; the zero value is what this program pushes by default.
type PackOptions struct {
	LayerMediaType string // another name for a tar+gzip layer, for consumers that insist on theirs
}

// PackYAML makes an artifact of rendered objects. The same YAML and the same metadata give the same
// digest on every machine.
func PackYAML(yaml []byte, meta Metadata, opts PackOptions) (*Packed, error) {
	archive, err := tarOf(YAMLFile, yaml)
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", YAMLFile, err)
	}
	checksum := sha256.Sum256(yaml)
	return packTar(archive, hex.EncodeToString(checksum[:]), meta, opts)
}

// tarOf returns an archive of one file.
func tarOf(name string, content []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(header(name, tar.TypeReg, int64(len(content)))); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func packTar(archive []byte, checksum string, meta Metadata, opts PackOptions) (*Packed, error) {
	compressed, err := compress(archive)
	if err != nil {
		return nil, fmt.Errorf("compressing the layer: %w", err)
	}
	if err := checkSize(int64(len(archive)), int64(len(compressed)), DefaultLimits()); err != nil {
		return nil, err
	}
	return packLayer(blobOf("", compressed), DigestOf(archive), checksum, meta, opts)
}

// packLayer makes an artifact around a tar+gzip layer.
func packLayer(layer Blob, diffID Digest, checksum string, meta Metadata, opts PackOptions) (*Packed, error) {
	layer.MediaType = opts.LayerMediaType
	if layer.MediaType == "" {
		layer.MediaType = MediaTypeLayer
	}
	if packingOf(layer.MediaType) != packingGzip {
		return nil, &MediaTypeError{MediaType: layer.MediaType}
	}
	layer.Annotations = map[string]string{AnnotationTitle: layerTitle}
	config, err := configOf(diffID)
	if err != nil {
		return nil, fmt.Errorf("writing the config: %w", err)
	}
	return assemble(config, layer, meta.annotations(checksum))
}

// MediaTypeError says that a layer can't be given a media type, since it is not that.
type MediaTypeError struct{ MediaType string }

// Error names the media type.
func (e *MediaTypeError) Error() string {
	return fmt.Sprintf("layer media type %q does not name a tar+gzip layer", clip(e.MediaType))
}

func assemble(config, layer Blob, annotations map[string]string) (*Packed, error) {
	manifest, err := encode(Manifest{
		SchemaVersion: 2,
		MediaType:     MediaTypeManifest,
		Config:        &config.Descriptor,
		Layers:        []Descriptor{layer.Descriptor},
		Annotations:   annotations,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the manifest: %w", err)
	}
	return &Packed{
		Digest: DigestOf(manifest), MediaType: MediaTypeManifest, Manifest: manifest,
		Config: config, Layers: []Blob{layer},
	}, nil
}

// configOf returns the config blob. Flux, Argo CD and oras look at its media type only; the layer's
// diff ID makes it a whole image config for tools that check one against the other.
func configOf(diffID Digest) (Blob, error) {
	type rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []Digest `json:"diff_ids"`
	}
	raw, err := encode(struct {
		Architecture string   `json:"architecture"`
		OS           string   `json:"os"`
		Config       struct{} `json:"config"`
		RootFS       rootFS   `json:"rootfs"`
	}{RootFS: rootFS{Type: "layers", DiffIDs: []Digest{diffID}}})
	if err != nil {
		return Blob{}, err
	}
	return blobOf(MediaTypeConfig, raw), nil
}

func blobOf(mediaType string, content []byte) Blob {
	return Blob{
		Descriptor: Descriptor{MediaType: mediaType, Digest: DigestOf(content), Size: int64(len(content))},
		Open:       BytesOpener(content),
	}
}

func compress(content []byte) ([]byte, error) {
	var b bytes.Buffer
	w := newCompressor(&b)
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// BytesOpener returns a function that opens the same bytes again and again.
func BytesOpener(content []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}

// FileOpener returns a function that opens a file.
func FileOpener(name string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return os.Open(name) }
}
