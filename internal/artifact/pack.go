// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// YAMLFile is the name of the only entry of an artifact made of rendered objects.
const YAMLFile = "all.yaml"

// The title of a layer names it for tools that write layers to files.
const (
	layerTitle          = "artifact.tar.gz"
	encryptedLayerTitle = "artifact.tar.gz.age"
)

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

	// Encrypt returns a writer that encrypts with age what is written to it. Nil for an artifact that
	// anybody can read. An encrypted artifact is never the same twice.
	Encrypt func(w io.Writer) (io.WriteCloser, error)
}

// encrypt returns a writer that encrypts, or does not, as the options say.
func (o PackOptions) encrypt(w io.Writer) (io.WriteCloser, error) {
	if o.Encrypt == nil {
		return unencrypted{w}, nil
	}
	return o.Encrypt(w)
}

type unencrypted struct{ io.Writer }

// Close implements io.Closer.
func (unencrypted) Close() error { return nil }

// mediaType returns the type of the layer.
func (o PackOptions) mediaType() (string, error) {
	fallback, want := MediaTypeLayer, packingGzip
	if o.Encrypt != nil {
		fallback, want = MediaTypeEncryptedLayer, packingAge
	}
	mediaType := cmp.Or(o.LayerMediaType, fallback)
	if packingOf(mediaType) != want || packingOf(ContentType(mediaType)) != packingGzip {
		return "", &MediaTypeError{MediaType: mediaType, Encrypted: o.Encrypt != nil}
	}
	return mediaType, nil
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
	if err := writeHeader(w, name, tar.TypeReg, int64(len(content))); err != nil {
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
	compressed, err := compress(archive, opts)
	if err != nil {
		return nil, fmt.Errorf("compressing the layer: %w", err)
	}
	if err := checkSize(int64(len(archive)), int64(len(compressed)), DefaultLimits()); err != nil {
		return nil, err
	}
	return packLayer(blobOf("", compressed), DigestOf(archive), checksum, meta, opts)
}

// packLayer makes an artifact around a tar+gzip layer, or an encrypted one. Of that the config names the
// layer as it is, since the digest of what is in it would tell those who guess the content.
func packLayer(layer Blob, diffID Digest, checksum string, meta Metadata, opts PackOptions) (*Packed, error) {
	mediaType, err := opts.mediaType()
	if err != nil {
		return nil, err
	}
	layer.MediaType = mediaType
	layer.Annotations = map[string]string{AnnotationTitle: layerTitle}
	if opts.Encrypt != nil {
		layer.Annotations[AnnotationTitle], diffID = encryptedLayerTitle, layer.Digest
	}
	config, err := configOf(diffID)
	if err != nil {
		return nil, fmt.Errorf("writing the config: %w", err)
	}
	return assemble(config, layer, meta.annotations(checksum, opts.Encrypt != nil))
}

// MediaTypeError says that a layer can't be given a media type, since it is not that.
type MediaTypeError struct {
	MediaType string
	Encrypted bool // the layer is encrypted
}

// Error names the media type.
func (e *MediaTypeError) Error() string {
	if e.Encrypted {
		return fmt.Sprintf("layer media type %q does not name an encrypted tar+gzip layer", clip(e.MediaType))
	}
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

func compress(content []byte, opts PackOptions) ([]byte, error) {
	var b bytes.Buffer
	sealed, err := opts.encrypt(&b)
	if err != nil {
		return nil, err
	}
	w := newCompressor(sealed)
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), sealed.Close()); err != nil {
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
