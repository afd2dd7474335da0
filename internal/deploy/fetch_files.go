// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/store"
	"github.com/kustomizer/kustomizer/internal/trust"
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
	Dir    string
	Force  bool
	Verify *trust.Policy // as of a [FetchRequest]
}

// Pulled is an artifact that was pulled for its files.
type Pulled struct {
	Fetched
	YAML  []byte   // of all.yaml, or of all YAML files in the order of their paths; nil where files are written
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
		Client: req.Client, Store: st, Reference: req.Reference, LayerMediaType: req.LayerMediaType, WorkDir: work, Verify: req.Verify, unpacks: true,
	})
	if err != nil {
		return Pulled{}, err
	}
	if req.Dir == "" {
		return req.read(ctx, st, got, work)
	}
	return req.write(ctx, st, got)
}

// read returns the YAML of what was fetched.
func (req PullRequest) read(ctx context.Context, st *store.Store, got Fetched, work string) (Pulled, error) {
	tree, err := openFiles(ctx, st, got.Layer, req.Keys, filepath.Join(work, "tree"))
	if err != nil {
		return Pulled{}, fmt.Errorf("opening %s: %w", got.Pinned, err)
	}
	defer tree.close()
	out := Pulled{Fetched: got}
	if out.YAML, out.Files, err = readYAML(tree.files); err != nil {
		return Pulled{}, fmt.Errorf("reading the artifact's files: %w", err)
	}
	return out, out.compareChecksum(tree)
}

// write unpacks what was fetched beside the directory, and moves it there once it is known to be
// right. Nothing of it is held in memory, unless it is secret.
func (req PullRequest) write(ctx context.Context, st *store.Store, got Fetched) (Pulled, error) {
	beside := filepath.Dir(req.Dir)
	if req.Force {
		beside = req.Dir
	} else if err := artifact.RequireEmpty(req.Dir); err != nil {
		return Pulled{}, err
	}
	if err := os.MkdirAll(beside, 0o755); err != nil {
		return Pulled{}, fmt.Errorf("writing the artifact's files: %w", err)
	}
	partial, err := os.MkdirTemp(beside, ".partial-")
	if err != nil {
		return Pulled{}, fmt.Errorf("writing the artifact's files: %w", err)
	}
	defer os.RemoveAll(partial)
	unpacked := filepath.Join(partial, "tree")
	tree, err := openFiles(ctx, st, got.Layer, req.Keys, unpacked)
	if err != nil {
		return Pulled{}, fmt.Errorf("opening %s: %w", got.Pinned, err)
	}
	defer tree.close()
	out := Pulled{Fetched: got}
	if out.Files, err = listFiles(tree.files); err != nil {
		return Pulled{}, fmt.Errorf("reading the artifact's files: %w", err)
	}
	if err := out.compareChecksum(tree); err != nil {
		return Pulled{}, err
	}
	if tree.private {
		unpacked = filepath.Join(partial, "private")
		if err := artifact.WriteFiles(tree.files, unpacked); err != nil {
			return Pulled{}, err
		}
	}
	tree.close() // some systems don't move what is open
	if req.Force {
		return out, writeOver(out.Files, req.Dir, unpacked)
	}
	return out, artifact.Move(unpacked, req.Dir)
}

// writeOver moves files to their places in a directory that has something in it, one by one. They lie
// below it. The system does not let a link in the directory lead out of it.
func writeOver(files []string, dir, from string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("writing the artifact's files: %w", err)
	}
	defer root.Close()
	below, err := filepath.Rel(dir, from)
	if err != nil {
		return fmt.Errorf("writing the artifact's files: %w", err)
	}
	for _, file := range files {
		to := filepath.FromSlash(file)
		if err := root.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
		if err := root.Rename(filepath.Join(below, to), to); err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
	}
	return nil
}

// listFiles lists the files of a tree.
func listFiles(tree fs.FS) (files []string, err error) {
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, name)
		}
		return err
	})
	return files, err
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
func (p Pulled) compareChecksum(tree opened) error {
	want := p.Annotations[artifact.AnnotationChecksum]
	if want == "" {
		return nil
	}
	found := tree.checksum
	if len(p.Files) == 1 {
		ofFile, err := checksumOf(tree.files, p.Files[0])
		if err != nil {
			return fmt.Errorf("reading the artifact's files: %w", err)
		}
		if ofFile == want {
			found = ofFile
		}
	}
	if found != want {
		return &ChecksumError{Pinned: p.Pinned, Want: want, Got: found}
	}
	return nil
}

func checksumOf(tree fs.FS, name string) (string, error) {
	f, err := tree.Open(name)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), errors.Join(err, f.Close())
}
