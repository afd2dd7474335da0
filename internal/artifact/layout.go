// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// annotationRefName names an entry of a layout's index.
const annotationRefName = "org.opencontainers.image.ref.name"

// RefName returns the name of an entry of a layout's index, empty if it has none.
func RefName(d Descriptor) string { return d.Annotations[annotationRefName] }

// Layout is a folder in the OCI image layout, in which artifacts travel without a registry.
type Layout struct{ dir string }

// LayoutError says that a folder is not in the OCI image layout, or does not have what is asked for.
type LayoutError struct{ Path, Reason string }

// Error implements error.
func (e *LayoutError) Error() string { return e.Path + ": " + e.Reason }

// OpenLayout opens a folder that is in the layout.
func OpenLayout(dir string) (*Layout, error) {
	l := &Layout{dir: dir}
	raw, err := readBounded(filepath.Join(dir, "oci-layout"), MaxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &LayoutError{Path: dir, Reason: "not a folder in the OCI image layout"}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the layout: %w", err)
	}
	var version struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(raw, &version); err != nil || version.Version != "1.0.0" {
		return nil, &LayoutError{Path: dir, Reason: "in a version of the OCI image layout that is not known"}
	}
	_, err = l.index()
	return l, err
}

// CreateLayout opens a folder in the layout, and makes one where there is nothing.
func CreateLayout(dir string) (*Layout, error) {
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err == nil {
		return OpenLayout(dir)
	}
	if err := RequireEmpty(dir); err != nil {
		return nil, err
	}
	l := &Layout{dir: dir}
	err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755)
	if err == nil {
		err = l.writeIndex(&Manifest{SchemaVersion: 2, MediaType: MediaTypeIndex, Manifests: []Descriptor{}})
	}
	if err == nil {
		err = writeFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	}
	if err != nil {
		return nil, fmt.Errorf("making the layout: %w", err)
	}
	return l, nil
}

func (l *Layout) index() (*Manifest, error) {
	raw, err := readBounded(filepath.Join(l.dir, "index.json"), MaxManifestBytes)
	if err != nil {
		return nil, fmt.Errorf("reading the layout: %w", err)
	}
	index, err := ParseManifest(raw, MediaTypeIndex)
	if err != nil {
		return nil, &LayoutError{Path: filepath.Join(l.dir, "index.json"), Reason: err.Error()}
	}
	return index, nil
}

func (l *Layout) writeIndex(index *Manifest) error {
	raw, err := Index(index.Manifests)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(l.dir, "index.json"), raw)
}

// Resolve returns what a name of the layout's index stands for; the empty name for the only entry.
func (l *Layout) Resolve(name string) (Descriptor, error) {
	index, err := l.index()
	if err != nil {
		return Descriptor{}, err
	}
	var named []Descriptor
	for _, d := range index.Manifests {
		ref := RefName(d)
		if name != "" && ref == name {
			return d, nil
		}
		if ref != "" && CheckTagName(ref) == nil && !IsCompanionTag(ref) { // not an image that came along
			named = append(named, d)
		}
	}
	switch {
	case name != "":
		return Descriptor{}, &LayoutError{Path: l.dir, Reason: fmt.Sprintf("there is no %q in it", clip(name))}
	case len(named) == 1:
		return named[0], nil
	case len(named) == 0 && len(index.Manifests) == 1:
		return index.Manifests[0], nil
	default:
		return Descriptor{}, &LayoutError{Path: l.dir, Reason: fmt.Sprintf("it holds %d artifacts: name one", len(index.Manifests))}
	}
}

// Has says whether a name is in the layout's index.
func (l *Layout) Has(name string) (Descriptor, bool, error) {
	index, err := l.index()
	if err != nil {
		return Descriptor{}, false, err
	}
	for _, d := range index.Manifests {
		if RefName(d) == name {
			return d, true, nil
		}
	}
	return Descriptor{}, false, nil
}

// Referrers lists the entries of the index that name a digest as their subject.
func (l *Layout) Referrers(subject Digest) ([]Descriptor, error) {
	index, err := l.index()
	if err != nil {
		return nil, err
	}
	var out []Descriptor
	for _, d := range index.Manifests {
		raw, err := l.Manifest(d.Digest)
		if err != nil {
			return nil, err
		}
		m, err := ParseManifest(raw, d.MediaType)
		if err != nil {
			return nil, &LayoutError{Path: l.dir, Reason: err.Error()}
		}
		if m.Subject != nil && m.Subject.Digest == subject {
			out = append(out, d)
		}
	}
	return out, nil
}

func (l *Layout) path(d Digest) string { return filepath.Join(l.dir, "blobs", d.Algorithm(), d.Hex()) }

// Manifest returns the bytes of a manifest, which are those that the digest names.
func (l *Layout) Manifest(d Digest) ([]byte, error) {
	raw, err := readBounded(l.path(d), MaxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &LayoutError{Path: l.dir, Reason: "there is no " + d.String() + " in it"}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the layout: %w", err)
	}
	sum := d.NewHash()
	sum.Write(raw)
	if !d.Matches(sum) {
		return nil, &MismatchError{Want: d, Size: int64(len(raw))}
	}
	return raw, nil
}

// Blob returns a blob. Its bytes are checked when they are read.
func (l *Layout) Blob(d Descriptor) Blob {
	return Blob{Descriptor: d, Open: func() (io.ReadCloser, error) {
		f, err := os.Open(l.path(d.Digest))
		if err != nil {
			return nil, fmt.Errorf("reading the layout: %w", err)
		}
		return struct {
			io.Reader
			io.Closer
		}{Verify(f, d), f}, nil
	}}
}

// HasBlob says whether a blob is in the layout.
func (l *Layout) HasBlob(d Descriptor) bool {
	info, err := os.Stat(l.path(d.Digest))
	return err == nil && info.Size() == d.Size
}

// Put keeps a blob. Unless all its bytes are those of the descriptor, nothing is kept.
func (l *Layout) Put(ctx context.Context, d Descriptor, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(l.path(d.Digest)), 0o755); err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	f, err := os.CreateTemp(l.dir, ".partial-")
	if err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := io.Copy(f, Verify(&contextReader{ctx, content}, d)); err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	return os.Rename(f.Name(), l.path(d.Digest))
}

// contextReader ends reading with its context.
type contextReader struct {
	ctx context.Context //nolint:containedctx // a reader's method can't take one
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// PutManifest keeps a manifest's bytes.
func (l *Layout) PutManifest(d Digest, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(l.path(d)), 0o755); err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	return writeFile(l.path(d), raw)
}

// Name adds a manifest to the layout's index, under a name or, as referrers are, without. A name
// that is there stands for the new manifest from then on.
func (l *Layout) Name(d Descriptor, name string) error {
	index, err := l.index()
	if err != nil {
		return err
	}
	entries := slices.DeleteFunc(index.Manifests, func(e Descriptor) bool {
		ref := RefName(e)
		return name != "" && ref == name || e.Digest == d.Digest && ref == ""
	})
	if name == "" && slices.ContainsFunc(entries, func(e Descriptor) bool { return e.Digest == d.Digest }) {
		return nil
	}
	entry := Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: d.ArtifactType}
	if name != "" {
		entry.Annotations = map[string]string{annotationRefName: name}
	}
	index.Manifests = append(entries, entry)
	return l.writeIndex(index)
}

// PackLayout writes the folder as a tar, complete or not at all.
func (l *Layout) PackLayout(file string) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".partial-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	w := tar.NewWriter(f)
	err = filepath.WalkDir(l.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return l.packFile(w, path)
	})
	if err = errors.Join(err, w.Close(), f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return os.Rename(f.Name(), file)
}

func (l *Layout) packFile(w *tar.Writer, path string) error {
	rel, err := filepath.Rel(l.dir, path)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := writeHeader(w, filepath.ToSlash(rel), tar.TypeReg, info.Size()); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// LayoutLimits returns the limits for unpacking a tar of a layout, which may hold whole images.
func LayoutLimits() Limits {
	const gib = 1 << 30
	return Limits{Compressed: 200 * gib, Extracted: 200 * gib, File: 20 * gib, Entries: 200_000}
}

// MediaTypeTar is that of a plain tar.
const MediaTypeTar = "application/x-tar"

func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(raw)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return raw, err
}

// writeFile writes a file as a whole or not at all.
func writeFile(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".partial-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
