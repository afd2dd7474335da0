// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/store"
)

// ChecksumError says that the content of an artifact is not what its annotation says it is.
type ChecksumError struct {
	Pinned    artifact.Pinned
	Want, Got string
}

// Error implements error.
func (e *ChecksumError) Error() string {
	return fmt.Sprintf("the content of %s has the checksum %s, its annotation says %s", e.Pinned, e.Got, e.Want)
}

// PullRequest says which artifact to pull, and where to put its files.
type PullRequest struct {
	Client         *registry.Client
	Reference      artifact.Reference
	LayerMediaType string // of the layer to take; empty for the first one that can be read
	Keys           Keys   // for an artifact that is encrypted; nil for none
	// Dir is where the files are written to; empty for nowhere. It must be empty or not exist, unless
	// Force is set: then files are written over those of the same name, and others are left alone.
	Dir   string
	Force bool
}

// Pulled is an artifact that was pulled for its files.
type Pulled struct {
	Fetched
	YAML  []byte   // of all.yaml, or of all YAML files in the order of their paths
	Files []string // with slashes
}

// PullArtifact fetches an artifact and, if there is a directory for it, unpacks it there. The content's
// checksum is compared with the annotation, where there is one.
func PullArtifact(ctx context.Context, req PullRequest) (Pulled, error) {
	work, err := os.MkdirTemp("", "kustomizer-pull-")
	if err != nil {
		return Pulled{}, fmt.Errorf("making room for the artifact: %w", err)
	}
	defer os.RemoveAll(work)
	st, err := store.Open(filepath.Join(work, "blobs"), 0)
	if err != nil {
		return Pulled{}, err
	}
	got, err := Fetch(ctx, FetchRequest{
		Client: req.Client, Store: st, Reference: req.Reference, LayerMediaType: req.LayerMediaType, WorkDir: work,
	})
	if err != nil {
		return Pulled{}, err
	}
	tree, err := openFiles(ctx, st, got.Layer, req.Keys, filepath.Join(work, "tree"))
	if err != nil {
		return Pulled{}, fmt.Errorf("opening %s: %w", got.Pinned, err)
	}
	defer tree.close()
	out := Pulled{Fetched: got}
	if out.YAML, out.Files, err = readYAML(tree.files); err != nil {
		return Pulled{}, fmt.Errorf("reading the artifact's files: %w", err)
	}
	if err := out.compareChecksum(tree.checksum); err != nil {
		return Pulled{}, err
	}
	if req.Dir == "" {
		return out, nil
	}
	write := func(dir string) error {
		if tree.private {
			return artifact.WriteFiles(tree.files, dir)
		}
		return OpenTree(ctx, st, got.Layer, dir)
	}
	if req.Force {
		return out, writeOver(out.Files, req.Dir, write)
	}
	return out, write(req.Dir)
}

// writeOver has an artifact written within a directory that may have something in it, and then moves file by
// file to its place. The system does not let a link in the directory lead out of it.
func writeOver(files []string, dir string, write func(dir string) error) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the artifact's files: %w", err)
	}
	partial, err := os.MkdirTemp(dir, ".partial-")
	if err != nil {
		return fmt.Errorf("writing the artifact's files: %w", err)
	}
	defer os.RemoveAll(partial)
	if err := write(partial); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("writing the artifact's files: %w", err)
	}
	defer root.Close()
	for _, file := range files {
		to := filepath.FromSlash(file)
		if err := root.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
		if err := root.Rename(filepath.Join(filepath.Base(partial), to), to); err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
	}
	return nil
}

// readYAML joins the YAML files of a tree, and lists all of its files.
func readYAML(tree fs.FS) (yaml []byte, files []string, err error) {
	var all bytes.Buffer
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files = append(files, name)
		if ext := path.Ext(name); ext != ".yaml" && ext != ".yml" {
			return nil
		}
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if all.Len() > 0 {
			separate(&all, content)
		}
		all.Write(content)
		return nil
	})
	return all.Bytes(), files, err
}

// separate begins a new document, unless the content does so itself.
func separate(all *bytes.Buffer, content []byte) {
	if !bytes.HasSuffix(all.Bytes(), []byte("\n")) {
		all.WriteByte('\n')
	}
	if !strings.HasPrefix(string(content), "---") {
		all.WriteString("---\n")
	}
}

// compareChecksum compares the annotation with the SHA-256 of all.yaml, if that is all there is, or
// of the tar.
func (p Pulled) compareChecksum(ofTar string) error {
	want := p.Annotations[artifact.AnnotationChecksum]
	if want == "" {
		return nil
	}
	found := ofTar
	if ofYAML := artifact.DigestOf(p.YAML).Hex(); len(p.Files) == 1 && ofYAML == want {
		found = ofYAML
	}
	if found != want {
		return &ChecksumError{Pinned: p.Pinned, Want: want, Got: found}
	}
	return nil
}
