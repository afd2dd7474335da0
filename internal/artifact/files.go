// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Files is a tree of files that is held in memory and nowhere else. It implements [fs.FS].
type Files struct{ nodes map[string]*node }

// NewFiles makes a tree of plain files, given by their paths with slashes.
func NewFiles(content map[string][]byte) *Files {
	f := &Files{nodes: map[string]*node{".": {path: ".", dir: true}}}
	for name, data := range content {
		f.put(&node{path: name, data: data})
	}
	return f
}

// Load unpacks a layer as [Extract] does, into memory: for content that must not lie on a disk.
func Load(ctx context.Context, layer io.Reader, mediaType string, limits Limits) (*Files, Extracted, error) {
	files := NewFiles(nil)
	x, err := extractInto(ctx, layer, mediaType, files, limits.WithDefaults())
	if err != nil {
		return nil, Extracted{}, err
	}
	return files, x, nil
}

// WriteFiles writes the plain files of a tree to a directory, which must be empty or not exist. Only their
// owner may read them: what is held in memory is so for a reason.
func WriteFiles(tree fs.FS, dir string) error {
	return place(dir, func(partial string) error {
		root, err := os.OpenRoot(partial)
		if err != nil {
			return fmt.Errorf("extracting an artifact: %w", err)
		}
		defer root.Close()
		return fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || name == "." {
				return err
			}
			if entry.IsDir() {
				return wrapWrite(root.Mkdir(filepath.FromSlash(name), 0o755), name)
			}
			content, err := fs.ReadFile(tree, name)
			if err != nil {
				return err
			}
			return wrapWrite(root.WriteFile(filepath.FromSlash(name), content, 0o600), name)
		})
	})
}

// put adds a node, and the directories that lead to it.
func (f *Files) put(n *node) {
	if f.nodes[n.path] != nil {
		return
	}
	f.nodes[n.path] = n
	dir := path.Dir(n.path)
	f.put(&node{path: dir, dir: true})
	f.nodes[dir].entries = append(f.nodes[dir].entries, fs.FileInfoToDirEntry(n))
}

// mkdir implements target.
func (f *Files) mkdir(dir string) error {
	f.put(&node{path: dir, dir: true})
	return nil
}

// create implements target.
func (f *Files) create(name string) (io.WriteCloser, error) {
	return &loading{files: f, path: name}, nil
}

// loading is a file that is being written.
type loading struct {
	bytes.Buffer
	files *Files
	path  string
}

// Close puts the file into the tree.
func (l *loading) Close() error {
	l.files.put(&node{path: l.path, data: l.Bytes()})
	return nil
}

// Open implements [fs.FS].
func (f *Files) Open(name string) (fs.File, error) {
	n := f.nodes[name]
	if !fs.ValidPath(name) || n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if n.dir {
		entries := slices.SortedFunc(slices.Values(n.entries), func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		return &openDir{node: n, left: entries}, nil
	}
	return &openFile{node: n, Reader: bytes.NewReader(n.data)}, nil
}

// node is a file or directory; it implements [fs.FileInfo].
type node struct {
	path    string
	dir     bool
	data    []byte
	entries []fs.DirEntry
}

// Name implements [fs.FileInfo].
func (n *node) Name() string { return path.Base(n.path) }

// Size implements [fs.FileInfo].
func (n *node) Size() int64 { return int64(len(n.data)) }

// ModTime implements [fs.FileInfo]: there is none.
func (n *node) ModTime() time.Time { return time.Time{} }

// IsDir implements [fs.FileInfo].
func (n *node) IsDir() bool { return n.dir }

// Sys implements [fs.FileInfo].
func (n *node) Sys() any { return nil }

// Mode implements [fs.FileInfo].
func (n *node) Mode() fs.FileMode {
	if n.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// openFile is a file that is being read.
type openFile struct {
	*node
	*bytes.Reader
}

// Stat implements [fs.File].
func (o *openFile) Stat() (fs.FileInfo, error) { return o.node, nil }

// Close implements [fs.File].
func (o *openFile) Close() error { return nil }

// Size settles which of the two sizes is meant.
func (o *openFile) Size() int64 { return o.node.Size() }

// openDir is a directory that is being read.
type openDir struct {
	*node
	left []fs.DirEntry
}

// Stat implements [fs.File].
func (o *openDir) Stat() (fs.FileInfo, error) { return o.node, nil }

// Close implements [fs.File].
func (o *openDir) Close() error { return nil }

// Read implements [fs.File]: there is nothing to read.
func (o *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: o.path, Err: fs.ErrInvalid}
}

// ReadDir implements [fs.ReadDirFile].
func (o *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(o.left) {
		if n > 0 && len(o.left) == 0 {
			return nil, io.EOF
		}
		n = len(o.left)
	}
	out := o.left[:n]
	o.left = o.left[n:]
	return out, nil
}
