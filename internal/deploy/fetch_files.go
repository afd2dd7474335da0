// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
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

// Pulled is an artifact that was pulled for its files.
type Pulled struct {
	Fetched
	YAML []byte // of all.yaml, or of all YAML files in the order of their paths
}

// PullArtifact fetches an artifact and, unless dir is empty, unpacks it into dir, which must be empty
// or not exist. The content's checksum is compared with the annotation, where there is one.
func PullArtifact(ctx context.Context, c *registry.Client, ref artifact.Reference, dir string) (Pulled, error) {
	work, err := os.MkdirTemp("", "kustomizer-pull-")
	if err != nil {
		return Pulled{}, fmt.Errorf("making room for the artifact: %w", err)
	}
	defer os.RemoveAll(work)
	st, err := store.Open(filepath.Join(work, "blobs"), 0)
	if err != nil {
		return Pulled{}, err
	}
	got, err := Fetch(ctx, FetchRequest{Client: c, Store: st, Reference: ref, WorkDir: work})
	if err != nil {
		return Pulled{}, err
	}
	tree := filepath.Join(work, "tree")
	checksum, err := openTree(ctx, st, got.Layer, tree)
	if err != nil {
		return Pulled{}, err
	}
	out := Pulled{Fetched: got}
	var files int
	if out.YAML, files, err = readYAML(tree); err != nil {
		return Pulled{}, fmt.Errorf("reading the artifact's files: %w", err)
	}
	if err := out.compareChecksum(files, checksum); err != nil {
		return Pulled{}, err
	}
	if dir == "" {
		return out, nil
	}
	_, err = openTree(ctx, st, got.Layer, dir)
	return out, err
}

// readYAML joins the YAML files of a tree, and counts all of its files.
func readYAML(tree string) (yaml []byte, files int, err error) {
	var all bytes.Buffer
	err = filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		if ext := filepath.Ext(path); ext != ".yaml" && ext != ".yml" {
			return nil
		}
		content, err := os.ReadFile(path)
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
func (p Pulled) compareChecksum(files int, ofTar string) error {
	want := p.Annotations[artifact.AnnotationChecksum]
	if want == "" {
		return nil
	}
	found := ofTar
	if ofYAML := artifact.DigestOf(p.YAML).Hex(); files == 1 && ofYAML == want {
		found = ofYAML
	}
	if found != want {
		return &ChecksumError{Pinned: p.Pinned, Want: want, Got: found}
	}
	return nil
}
