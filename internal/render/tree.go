// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/kustomizer/kustomizer/internal/object"
)

// tree is kustomize's view of an artifact's files: read-only, confined to one directory by the
// operating system, under a path that exists nowhere else, so that messages don't depend on where the
// files happen to lie. Files that were put stand before those that are there.
type tree struct {
	given  fs.FS
	close  func() error
	files  int // plain files that are there
	memory map[string][]byte
}

var errReadOnly = errors.New("the artifact's tree is read-only")

// treeRoot is the path under which kustomize sees the tree's root.
func treeRoot() string {
	root, err := filepath.Abs(string(filepath.Separator) + "artifact")
	if err != nil {
		return string(filepath.Separator) + "artifact"
	}
	return root
}

// openTree opens what is to be rendered and sees that it holds nothing but plain files and directories.
func openTree(req Request) (*tree, error) {
	t := &tree{given: req.Files, close: func() error { return nil }, memory: map[string][]byte{}}
	if t.given == nil {
		root, err := os.OpenRoot(req.Root)
		if err != nil {
			return nil, fmt.Errorf("opening the artifact's files: %w", err)
		}
		t.given, t.close = root.FS(), root.Close
	}
	err := fs.WalkDir(t.given, ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("reading the artifact's files: %w", err)
		case entry.IsDir():
			return nil
		case !entry.Type().IsRegular():
			return &BuildError{Position: object.Position{File: path}, Reason: "neither a plain file nor a directory"}
		}
		t.files++
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// Close releases the directory. What is read of it afterwards fails.
func (t *tree) Close() { _ = t.close() }

// locate returns the directory of the tree that a path names. As with Flux, a path is relative to the
// tree's root however it begins, and can't lead out of it.
func (t *tree) locate(path string) (string, error) {
	dir := filepath.Join(treeRoot(), filepath.Join(string(filepath.Separator), filepath.FromSlash(path)))
	switch {
	case t.IsDir(dir):
		return dir, nil
	case t.Exists(dir):
		return "", &PathError{Path: path, Reason: "is a file of the artifact, not a directory"}
	case t.files == 0:
		return "", &PathError{Path: path, Reason: "not found: the artifact holds no files"}
	default:
		return "", &PathError{Path: path, Reason: "not found in the artifact"}
	}
}

// inside translates a path of kustomize's into one relative to the tree's root.
func (t *tree) inside(path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(treeRoot(), path)
	}
	rel, err := filepath.Rel(treeRoot(), path)
	if err != nil || !filepath.IsLocal(rel) {
		return "", &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return rel, nil
}

func (t *tree) stat(path string) (fs.FileInfo, error) {
	rel, err := t.inside(path)
	if err != nil {
		return nil, err
	}
	return fs.Stat(t.given, filepath.ToSlash(rel))
}

// ReadFile returns the content of a plain file, up to the limit of one file.
func (t *tree) ReadFile(path string) ([]byte, error) {
	rel, err := t.inside(path)
	if err != nil {
		return nil, err
	}
	if data, ok := t.memory[rel]; ok {
		return data, nil
	}
	file, err := t.given.Open(filepath.ToSlash(rel))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err == nil && len(data) > maxBytes {
		err = fmt.Errorf("%s is larger than %d MiB", filepath.ToSlash(rel), maxBytes>>20)
	}
	return data, err
}

// put lets a file appear in the tree with that content, without touching the disk.
func (t *tree) put(path string, data []byte) error {
	rel, err := t.inside(path)
	if err != nil {
		return err
	}
	t.memory[rel] = data
	return nil
}

// Exists reports whether there is a file or directory.
func (t *tree) Exists(path string) bool {
	if rel, err := t.inside(path); err == nil && t.memory[rel] != nil {
		return true
	}
	_, err := t.stat(path)
	return err == nil
}

// IsDir reports whether there is a directory.
func (t *tree) IsDir(path string) bool {
	info, err := t.stat(path)
	return err == nil && info.IsDir()
}

// CleanedAbs splits a path into an existing directory and a file in it, if it names one.
func (t *tree) CleanedAbs(path string) (filesys.ConfirmedDir, string, error) {
	rel, err := t.inside(path)
	if err != nil {
		return "", "", err
	}
	abs := filepath.Join(treeRoot(), rel)
	if t.IsDir(abs) {
		return filesys.ConfirmedDir(abs), "", nil
	}
	if !t.Exists(abs) {
		return "", "", &fs.PathError{Op: "open", Path: abs, Err: fs.ErrNotExist}
	}
	return filesys.ConfirmedDir(filepath.Dir(abs)), filepath.Base(abs), nil
}

// ReadDir returns the names of a directory's entries.
func (t *tree) ReadDir(path string) ([]string, error) {
	rel, err := t.inside(path)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(t.given, filepath.ToSlash(rel))
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	for file := range t.memory {
		if filepath.Dir(file) == rel {
			names[filepath.Base(file)] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// Walk visits the files below a path, without those that were put.
func (t *tree) Walk(path string, visit filepath.WalkFunc) error {
	rel, err := t.inside(path)
	if err != nil {
		return err
	}
	return fs.WalkDir(t.given, filepath.ToSlash(rel), func(path string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		return visit(filepath.Join(treeRoot(), filepath.FromSlash(path)), info, err)
	})
}

// Glob returns the files that match a pattern, without hidden ones unless the pattern asks for them.
func (t *tree) Glob(pattern string) ([]string, error) {
	rel, err := t.inside(pattern)
	if err != nil {
		return nil, err
	}
	matches, err := fs.Glob(t.given, filepath.ToSlash(rel))
	if err != nil {
		return nil, err
	}
	for i, m := range matches {
		matches[i] = filepath.Join(treeRoot(), filepath.FromSlash(m))
	}
	if filesys.IsHiddenFilePath(pattern) {
		return matches, nil
	}
	return filesys.RemoveHiddenFiles(matches), nil
}

// Open is not offered: kustomize reads whole files.
func (t *tree) Open(string) (filesys.File, error) { return nil, errReadOnly }

// Create is refused.
func (t *tree) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir is refused.
func (t *tree) Mkdir(string) error { return errReadOnly }

// MkdirAll is refused.
func (t *tree) MkdirAll(string) error { return errReadOnly }

// RemoveAll is refused.
func (t *tree) RemoveAll(string) error { return errReadOnly }

// WriteFile is refused.
func (t *tree) WriteFile(string, []byte) error { return errReadOnly }

// within reports whether a path is root or lies below it.
func within(root, path string) bool {
	return path == root || strings.HasPrefix(path, strings.TrimSuffix(root, string(filepath.Separator))+string(filepath.Separator))
}
