// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// maxProblems is how many things wrong with a tree are told at once.
const maxProblems = 10

// walker finds what of a directory is packed, and everything that can't be.
type walker struct {
	tree     Tree
	root     *os.Root
	paths    *tree
	above    []fs.FileInfo // the directories that are being walked, to notice links that lead in a circle
	unnamed  []string      // those of them that were not found yet to hold a file
	found    func(treeEntry)
	bytes    int64
	problems []error
}

var errEnough = errors.New("enough")

// walkTree finds what is packed: files, and the directories that hold any. Each is told of as soon as it is
// known that it is the next one in the order of their paths. What is wrong is told at the end, all of it.
func walkTree(ctx context.Context, root *os.Root, t Tree, found func(treeEntry)) error {
	w := &walker{tree: t, root: root, paths: newTree(t.Limits), found: found}
	err := w.start(ctx)
	if len(w.problems) > 0 && (err == nil || errors.Is(err, errEnough)) {
		return errors.Join(w.problems...)
	}
	return err
}

func (w *walker) start(ctx context.Context) error {
	if w.tree.Only == "" {
		return w.dir(ctx, ".")
	}
	info, err := w.root.Stat(w.tree.Only)
	if err != nil {
		return fmt.Errorf("packing a file: %w", err)
	}
	return w.take(w.tree.Only, info)
}

func (w *walker) dir(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := w.root.OpenFile(filepath.FromSlash(dir), toRead, 0)
	if err != nil {
		return w.note(fmt.Errorf("packing a directory: %w", err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return w.note(fmt.Errorf("packing a directory: %w", err))
	}
	if slices.ContainsFunc(w.above, func(a fs.FileInfo) bool { return os.SameFile(a, info) }) {
		return w.note(refuse(SymlinkNotAllowed, dir, "it leads in a circle"))
	}
	w.above, w.unnamed = append(w.above, info), append(w.unnamed, dir)
	defer func() {
		w.above = w.above[:len(w.above)-1]
		w.unnamed = w.unnamed[:max(0, len(w.unnamed)-1)] // where there is any, it is the last
	}()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return w.note(fmt.Errorf("packing a directory: %w", err))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return w.entries(ctx, dir, entries)
}

// entries walks what is in a directory. What is below "a" comes after "a.txt", though "a" does not: a point
// comes before a slash. It is kept back until then.
func (w *walker) entries(ctx context.Context, dir string, entries []fs.DirEntry) error {
	var held []keptBack // the last one is the next
	for i, entry := range entries {
		at := path.Join(dir, entry.Name())
		for len(held) > 0 && held[len(held)-1].below < at {
			held = w.release(held)
		}
		if i+1 == len(entries) || entries[i+1].Name() > entry.Name()+"/" {
			if err := w.entry(ctx, at, entry); err != nil {
				return err
			}
			continue
		}
		kept, err := w.keepBack(at, func() error { return w.entry(ctx, at, entry) })
		if err != nil {
			return err
		}
		held = append(held, kept)
	}
	for len(held) > 0 {
		held = w.release(held)
	}
	return nil
}

// keptBack is what was found below a directory.
type keptBack struct {
	below   string // the directory, and a slash
	entries []treeEntry
}

// keepBack tells of a directory that holds files, and keeps back what is below it.
func (w *walker) keepBack(dir string, walk func() error) (keptBack, error) {
	kept := keptBack{below: dir + "/"}
	tell := w.found
	defer func() { w.found = tell }()
	w.found = func(e treeEntry) {
		if strings.HasPrefix(e.path, kept.below) {
			kept.entries = append(kept.entries, e)
			return
		}
		tell(e)
	}
	err := walk()
	return kept, err
}

// release tells of the last of what was kept back, and returns the rest.
func (w *walker) release(held []keptBack) []keptBack {
	last := len(held) - 1
	for _, e := range held[last].entries {
		w.found(e)
	}
	return held[:last]
}

func (w *walker) entry(ctx context.Context, at string, entry fs.DirEntry) error {
	if w.tree.Ignored != nil {
		skip, err := w.tree.Ignored(at, entry.IsDir())
		if err != nil || skip {
			return err
		}
	}
	if entry.IsDir() {
		return w.dir(ctx, at)
	}
	if entry.Type()&fs.ModeSymlink != 0 {
		return w.link(ctx, at)
	}
	info, err := entry.Info()
	if err != nil {
		return w.note(fmt.Errorf("packing a directory: %w", err))
	}
	return w.take(at, info)
}

// link follows a symbolic link as far as that is wanted. The system does not let it lead out.
func (w *walker) link(ctx context.Context, at string) error {
	target, err := w.root.Readlink(filepath.FromSlash(at))
	if err != nil {
		return w.note(fmt.Errorf("packing a directory: %w", err))
	}
	if !w.tree.ResolveSymlinks {
		return w.note(refuse(SymlinkNotAllowed, at, "it points to %q", clip(target)))
	}
	info, err := w.root.Stat(filepath.FromSlash(at))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return w.note(refuse(SymlinkNotAllowed, at, "it points to %q, where there is nothing", clip(target)))
	case err != nil:
		return w.note(refuse(SymlinkNotAllowed, at, "it points to %q, out of the directory", clip(target)))
	case info.IsDir():
		return w.dir(ctx, at)
	default:
		return w.take(at, info)
	}
}

// take adds a file, if it is one that can be packed.
func (w *walker) take(at string, info fs.FileInfo) error {
	at = filepath.ToSlash(at)
	if !info.Mode().IsRegular() {
		return w.note(refuse(DeviceNotAllowed, at, "it is neither a plain file nor a directory"))
	}
	if info.Size() > w.tree.Limits.File {
		return w.note(refuse(FileTooLarge, at, "%d bytes, more than %d", info.Size(), w.tree.Limits.File))
	}
	if w.bytes += info.Size(); w.bytes > w.tree.Limits.Extracted {
		return refuse(TooLarge, at, "the files have more than %d bytes together", w.tree.Limits.Extracted)
	}
	if _, problem := w.paths.cleanPath(at, false); problem != nil {
		return w.note(problem)
	}
	if problem := w.paths.add(at, at, false); problem != nil {
		if problem.Reason == TooManyEntries {
			return problem
		}
		return w.note(problem)
	}
	for _, dir := range w.unnamed {
		if dir != "." {
			w.found(treeEntry{path: dir, dir: true})
		}
	}
	w.unnamed = w.unnamed[:0]
	w.found(treeEntry{path: at, size: info.Size()})
	return nil
}

// note keeps a problem, to be told with the others.
func (w *walker) note(err error) error {
	w.problems = append(w.problems, err)
	if len(w.problems) >= maxProblems {
		return errEnough
	}
	return nil
}
