// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kustomizer/kustomizer/internal/object"
)

// Stdin is the name that stands for the standard input among files.
const Stdin = "-"

// Filenames reads the objects of files, of the YAML files anywhere below directories, and of the
// standard input where it is named. Documents that are no Kubernetes objects, or that configure
// kustomize, are left out. A link that leads out of its directory is refused rather than left out.
//
// Errors are *[object.SyntaxError], *[BuildError] and those of the file system, up to ten joined.
func Filenames(ctx context.Context, names []string, stdin io.Reader) ([]object.Located, error) {
	r := &fileReader{stdin: stdin}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("reading files: %w", err)
		}
		r.read(ctx, name)
		if len(r.errs) >= maxErrors {
			break
		}
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs[:min(len(r.errs), maxErrors)]...)
	}
	if len(r.found) > maxObjects {
		return nil, &BuildError{Reason: fmt.Sprintf("more than %d objects", maxObjects)}
	}
	return r.found, nil
}

// fileReader gathers what files hold.
type fileReader struct {
	stdin io.Reader
	found []object.Located
	size  int
	errs  []error
}

func (r *fileReader) read(ctx context.Context, name string) {
	if name == Stdin {
		r.decode(r.stdin, "stdin")
		r.stdin = strings.NewReader("") // it can be read once
		return
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		r.fail(err)
	case info.IsDir():
		r.walk(ctx, name)
	default:
		r.file(name)
	}
}

// walk reads the YAML files below a directory.
func (r *fileReader) walk(ctx context.Context, dir string) {
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Join(err, ctx.Err()) != nil:
			return errors.Join(err, ctx.Err())
		case entry.IsDir() && path != dir && notForKubernetes(entry.Name()):
			return fs.SkipDir
		case entry.Type()&fs.ModeSymlink != 0:
			follow, err := staysWithin(dir, path)
			if err != nil || !follow {
				return err
			}
		case entry.IsDir():
			return nil
		}
		if !isManifest(entry.Name()) {
			return nil
		}
		files++
		r.file(path)
		if len(r.errs) >= maxErrors {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		r.fail(err)
	}
	if files == 0 && err == nil {
		r.fail(&BuildError{Position: object.Position{File: dir}, Reason: "no .yaml or .yml files in it"})
	}
}

// staysWithin says whether a link below a directory leads to a file of that directory. What it
// leads to in turn is read where it lies, if it is a directory.
func staysWithin(dir, link string) (bool, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	target, err := filepath.EvalSymlinks(link)
	if err != nil {
		return false, err
	}
	if root, err = filepath.Abs(root); err != nil {
		return false, err
	}
	if target, err = filepath.Abs(target); err != nil {
		return false, err
	}
	if !within(root, target) {
		return false, &BuildError{Position: object.Position{File: link}, Reason: "the link leads out of " + dir + ": name its target itself"}
	}
	info, err := os.Stat(target)
	return err == nil && !info.IsDir(), err
}

// file reads one file, which has to be a plain one: a pipe might never end.
func (r *fileReader) file(path string) {
	info, err := os.Stat(path)
	if err != nil {
		r.fail(err)
		return
	}
	if !info.Mode().IsRegular() {
		r.fail(&BuildError{Position: object.Position{File: path}, Reason: "neither a plain file nor a directory"})
		return
	}
	file, err := os.Open(path)
	if err != nil {
		r.fail(err)
		return
	}
	defer file.Close()
	r.decode(file, filepath.ToSlash(path))
}

func (r *fileReader) decode(from io.Reader, name string) {
	text, err := io.ReadAll(io.LimitReader(from, int64(maxBytes-r.size)+1))
	if err != nil {
		r.fail(fmt.Errorf("reading %s: %w", name, err))
		return
	}
	if r.size += len(text); r.size > maxBytes {
		r.fail(&BuildError{Position: object.Position{File: name}, Reason: fmt.Sprintf("more than %d MiB of manifests", maxBytes>>20)})
		return
	}
	found, err := object.Decode(text, name)
	for _, e := range split(object.IgnoreNotObjects(err)) {
		r.fail(e)
	}
	r.found = append(r.found, found...)
}

func (r *fileReader) fail(err error) { r.errs = append(r.errs, err) }
