// SPDX-License-Identifier: Apache-2.0

// Package render turns a directory into Kubernetes objects: with kustomize, and for the tree of an
// artifact without letting it reach anything outside of that tree.
package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/kustomizer/kustomizer/internal/object"
)

const (
	maxObjects = 20_000      // objects of one build
	maxBytes   = 64 << 20    // bytes of one build, and of one file read for it
	maxBuild   = time.Minute // time for one build of an artifact's tree
)

// Request says what to render of an artifact's extracted tree.
type Request struct {
	Root            string // directory that holds the tree; nothing outside of it is read
	Files           fs.FS  // the tree, in place of Root
	Path            string // directory within the tree, empty for its root
	TargetNamespace string // namespace given to all namespaced objects; empty leaves theirs
}

// Result is what a tree renders to.
type Result struct {
	Objects []*unstructured.Unstructured // in the order of [object.Sort]
	Empty   EmptyReason                  // why there are no objects; the zero value if there are some
}

// Overlay builds the kustomization in a directory of the user's disk, as the kustomize command does
// without load restrictions: files and bases may lie anywhere, also in Git. Plugins and Helm are off.
// The objects are as kustomize gives them, in the order of [object.Sort]. A kustomization that
// renders nothing gives no objects and no error.
//
// Errors are *[object.SyntaxError] and *[BuildError], up to ten joined.
func Overlay(ctx context.Context, dir string) (objs []*unstructured.Unstructured, err error) {
	defer recovered(&err)
	disk := filesys.MakeFsOnDisk()
	if isRemote(dir) && !disk.Exists(dir) {
		s := newScanner(disk, "", func(path string) string { return path })
		return s.build(ctx, dir)
	}
	root, err := directory(disk, dir)
	if err != nil {
		return nil, err
	}
	s := newScanner(disk, "", relativeTo(root, dir))
	top, err := s.scan(ctx, root)
	if err != nil || top == nil || !hasOperands(top) {
		return nil, err
	}
	return s.build(ctx, root)
}

// Tree renders the tree of an artifact as Flux does: a directory without a kustomization gets one of
// all Kubernetes YAML below it. Whatever leads out of the tree is refused before kustomize runs:
// remote bases and files, absolute paths, links, Helm, plugins. The objects are normalised.
//
// Errors are *[PathError], *[RemoteError], *[object.SyntaxError] and *[BuildError], up to ten joined.
// A tree that soundly holds no objects is no error but a result that says why.
//
// Tree returns when ctx is done, or after a minute. Kustomize itself can't be interrupted: a build
// that has run into its deadline ends in the background, and the next one waits for it.
func Tree(ctx context.Context, req Request) (result *Result, err error) {
	defer recovered(&err)
	ctx, cancel := context.WithTimeout(ctx, maxBuild)
	defer cancel()

	tree, err := openTree(req)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	dir, err := tree.locate(req.Path)
	if err != nil {
		return nil, err
	}
	if tree.files == 0 {
		return &Result{Empty: EmptyReason{Code: NoFiles}}, nil
	}
	result, err = tree.render(ctx, dir, req.TargetNamespace)
	if err != nil {
		return nil, err
	}
	return result, Normalise(result.Objects)
}

func (t *tree) render(ctx context.Context, dir, namespace string) (*Result, error) {
	s := newScanner(t, treeRoot(), relativeTo(treeRoot(), ""))
	reason, err := s.generate(ctx, dir)
	if err != nil || reason.Code != NotEmpty {
		return &Result{Empty: reason}, err
	}
	top, err := s.scan(ctx, dir)
	if err != nil {
		return nil, err
	}
	if !hasOperands(top) {
		return &Result{Empty: EmptyReason{Code: NoResources}}, nil
	}
	if err := s.setNamespace(dir, namespace); err != nil {
		return nil, err
	}
	objs, err := s.build(ctx, dir)
	if err != nil {
		return nil, err
	}
	if len(objs) == 0 {
		return &Result{Empty: s.emptyReason()}, nil
	}
	return &Result{Objects: objs}, nil
}

// emptyReason says why a kustomization that names resources renders nothing.
func (s *scanner) emptyReason() EmptyReason {
	if s.objects == 0 && len(s.decoded) > 0 && !s.generates {
		return EmptyReason{Code: OnlyComments, Files: len(s.decoded)}
	}
	return EmptyReason{Code: NothingRendered}
}

// directory returns the absolute path of a directory on disk, links resolved as kustomize does it.
func directory(fsys filesys.FileSystem, dir string) (string, error) {
	if !fsys.Exists(dir) {
		return "", &BuildError{Position: object.Position{File: dir}, Reason: "no such directory"}
	}
	if !fsys.IsDir(dir) {
		return "", &BuildError{Position: object.Position{File: dir}, Reason: "not a directory: name the one that holds the kustomization"}
	}
	confirmed, err := filesys.ConfirmDir(fsys, dir)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", dir, err)
	}
	return confirmed.String(), nil
}

// relativeTo returns a function that shows paths below or beside root as the user named root.
func relativeTo(root, named string) func(string) string {
	return func(path string) string {
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return path
		}
		return filepath.ToSlash(filepath.Join(named, rel))
	}
}

// recovered turns a panic, of which kustomize has a few for odd input, into an error.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = errors.Join(*err, panicked(p))
	}
}
