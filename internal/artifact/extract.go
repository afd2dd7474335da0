// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"archive/tar"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Extracted says what [Extract] has written.
type Extracted struct {
	Files    int
	Bytes    int64  // of all files
	Checksum string // SHA-256 of the tar, in hexadecimal
}

// Extract unpacks a layer into dir, which must be empty or not exist. Size and digest of the bytes
// have been checked before; what is in them has not: every entry is looked at, up to the last byte,
// before dir comes into being. Only plain files and directories are taken. Anything else refuses the
// whole archive with a [RefusedError], since a file left out looks like one that was removed on
// purpose. Modes and times of the archive are not taken over.
func Extract(ctx context.Context, layer io.Reader, mediaType, dir string, limits Limits) (Extracted, error) {
	var result Extracted
	err := place(dir, func(partial string) (err error) {
		result, err = extractBelow(ctx, layer, mediaType, partial, limits.WithDefaults())
		return err
	})
	if err != nil {
		return Extracted{}, err
	}
	return result, nil
}

// place has a directory written beside its place, and moves it there when it is whole.
func place(dir string, write func(partial string) error) error {
	if err := RequireEmpty(dir); err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("extracting an artifact: %w", err)
	}
	partial, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".partial-")
	if err != nil {
		return fmt.Errorf("extracting an artifact: %w", err)
	}
	defer removeAll(partial)
	if err := write(partial); err != nil {
		return err
	}
	return Move(partial, dir)
}

// removeAll removes a directory as well as it can. What is in it is removed side by side: tens of thousands
// of files, each in a directory of its own, take seconds otherwise.
func removeAll(dir string) {
	entries, _ := os.ReadDir(dir) // of one that was moved there are none
	var removers errgroup.Group
	removers.SetLimit(runtime.GOMAXPROCS(0))
	for _, entry := range entries {
		removers.Go(func() error { return os.RemoveAll(filepath.Join(dir, entry.Name())) })
	}
	_ = removers.Wait()
	_ = os.RemoveAll(dir)
}

// Move gives a directory its place, which must be empty or not exist, on the same file system.
func Move(from, dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("extracting an artifact: %w", err)
	}
	if err := os.Chmod(from, 0o755); err != nil {
		return fmt.Errorf("extracting an artifact: %w", err)
	}
	if err := os.Rename(from, dir); err != nil {
		return fmt.Errorf("extracting an artifact: %w", err)
	}
	return nil
}

// NotEmptyError says that the directory to extract into has something in it.
type NotEmptyError struct{ Dir string }

// Error names the directory.
func (e *NotEmptyError) Error() string { return fmt.Sprintf("directory %q is not empty", e.Dir) }

// RequireEmpty says whether a directory may be extracted into: it is empty, or does not exist.
func RequireEmpty(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("extracting an artifact: %w", err)
	}
	defer f.Close()
	switch _, err := f.Readdirnames(1); {
	case err == nil:
		return &NotEmptyError{Dir: dir}
	case errors.Is(err, io.EOF):
		return nil
	default:
		return fmt.Errorf("extracting an artifact: %w", err)
	}
}

// extractor is the state of one extraction.
type extractor struct {
	*stream
	tar       *tar.Reader
	tree      *tree
	to        target
	dirs      []string // to be made when nothing refuses the archive any more: to remove many takes long
	entries   int
	entryEnd  int64 // where in the tar the last entry ends
	buffer    []byte
	extracted Extracted
}

// target takes what is unpacked: a directory, or memory.
type target interface {
	mkdir(path string) error
	create(path string) (io.WriteCloser, error)
}

// directory is a target on disk that nothing leads out of.
type directory struct{ root *os.Root }

func (d directory) mkdir(path string) error { return d.root.MkdirAll(filepath.FromSlash(path), 0o755) }

func (d directory) create(path string) (io.WriteCloser, error) {
	name := filepath.FromSlash(path)
	if err := d.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	return d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

func extractBelow(ctx context.Context, layer io.Reader, mediaType, dir string, limits Limits) (Extracted, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Extracted{}, fmt.Errorf("extracting an artifact: %w", err)
	}
	defer root.Close()
	return extractInto(ctx, layer, mediaType, directory{root}, limits)
}

func extractInto(ctx context.Context, layer io.Reader, mediaType string, to target, limits Limits) (Extracted, error) {
	s, err := openStream(ctx, layer, mediaType, limits)
	if err != nil {
		return Extracted{}, err
	}
	defer func() { s.close() }()
	x := &extractor{stream: s, tar: tar.NewReader(s), tree: newTree(limits), to: to, buffer: make([]byte, 128<<10)}
	if err := x.run(); err != nil {
		return Extracted{}, err
	}
	x.extracted.Checksum = hex.EncodeToString(x.sum.Sum(nil))
	return x.extracted, nil
}

func (x *extractor) run() error {
	for {
		header, err := x.tar.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return x.headerError(err)
		}
		if err := x.entry(header); err != nil {
			return err
		}
	}
	const endBlocks = 1024
	if x.read-x.entryEnd < endBlocks {
		return refuse(Truncated, "", "the blocks that end a tar are missing")
	}
	if err := x.finish(); err != nil {
		return err
	}
	return x.makeDirs()
}

// makeDirs makes the directories that the archive names. Those with files are there.
func (x *extractor) makeDirs() error {
	for _, dir := range x.dirs {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		if err := x.to.mkdir(dir); err != nil {
			return wrapWrite(err, dir)
		}
	}
	return nil
}

func (x *extractor) headerError(err error) error {
	var refused *RefusedError
	switch {
	case errors.As(err, &refused), x.ctx.Err() != nil:
		return err
	case errors.Is(err, io.ErrUnexpectedEOF) && x.read < 512:
		return refuse(NotTar, "", "the content is shorter than a tar header")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(Truncated, "", "the tar ends within an entry")
	case errors.Is(err, tar.ErrFieldTooLong):
		return refuse(HeaderTooLarge, "", "an entry has too large a header")
	case errors.Is(err, tar.ErrHeader) && x.entries == 0:
		return refuse(NotTar, "", "the first header of the tar is none")
	case errors.Is(err, tar.ErrHeader):
		return refuse(MalformedHeader, "", "header number %d of the tar is none", x.entries+1)
	default:
		return fmt.Errorf("reading an artifact: %w", err)
	}
}

func (x *extractor) entry(h *tar.Header) error {
	if x.entries++; x.entries > x.limits.Entries {
		return refuse(TooManyEntries, "", "more than %d", x.limits.Entries)
	}
	if x.read-x.entryEnd > x.limits.HeaderBytes {
		return refuse(HeaderTooLarge, h.Name, "%d bytes, more than %d", x.read-x.entryEnd, x.limits.HeaderBytes)
	}
	x.entryEnd = x.read
	if isComment(h) {
		return nil
	}
	if problem := checkType(h); problem != nil {
		return problem
	}
	dir := h.Typeflag == tar.TypeDir
	clean, problem := x.tree.cleanPath(h.Name, dir)
	if problem != nil {
		return problem
	}
	if dir && h.Size != 0 {
		return refuse(MalformedHeader, h.Name, "a directory with %d bytes of content", h.Size)
	}
	if clean == "" {
		return nil
	}
	if problem := x.tree.add(h.Name, clean, dir); problem != nil {
		return problem
	}
	if dir {
		x.dirs = append(x.dirs, clean)
		return nil
	}
	return x.file(h, clean)
}

// isComment recognises what git archive puts in front: a global header with the commit, which
// changes nothing.
func isComment(h *tar.Header) bool {
	if h.Typeflag != tar.TypeXGlobalHeader {
		return false
	}
	for key := range h.PAXRecords {
		if key != "comment" {
			return false
		}
	}
	return true
}

func checkType(h *tar.Header) *RefusedError {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return refuse(SparseNotAllowed, h.Name, "")
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
		return nil
	case tar.TypeSymlink:
		return refuse(SymlinkNotAllowed, h.Name, "it points to %q", clip(h.Linkname))
	case tar.TypeLink:
		return refuse(HardLinkNotAllowed, h.Name, "it points to %q", clip(h.Linkname))
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return refuse(DeviceNotAllowed, h.Name, "")
	case tar.TypeGNUSparse:
		return refuse(SparseNotAllowed, h.Name, "")
	case tar.TypeXGlobalHeader:
		return refuse(GlobalHeader, h.Name, "a global header would change the entries after it")
	default:
		return refuse(EntryTypeNotAllowed, h.Name, "type %q", h.Typeflag)
	}
}

// file writes the content of an entry, counting what is there and not what the header says.
func (x *extractor) file(h *tar.Header, clean string) error {
	if h.Size > x.limits.File {
		return refuse(FileTooLarge, h.Name, "%d bytes, more than %d", h.Size, x.limits.File)
	}
	if x.extracted.Bytes+h.Size > x.limits.Extracted {
		return refuse(TooLarge, h.Name, "the files have more than %d bytes together", x.limits.Extracted)
	}
	f, err := x.to.create(clean)
	if err != nil {
		return wrapWrite(err, h.Name)
	}
	written, err := io.CopyBuffer(onlyWriter{f}, io.LimitReader(x.tar, h.Size), x.buffer)
	x.extracted.Bytes += written
	if err != nil {
		f.Close()
		return x.headerError(err)
	}
	if err := f.Close(); err != nil {
		return wrapWrite(err, h.Name)
	}
	if written != h.Size {
		return refuse(Truncated, h.Name, "%d bytes of %d", written, h.Size)
	}
	x.extracted.Files++
	x.entryEnd = (x.read + 511) / 512 * 512
	return nil
}

// onlyWriter hides the file's ReadFrom, so that the copy uses the buffer and its bound.
type onlyWriter struct{ io.Writer }

func wrapWrite(err error, entry string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("writing %q of an artifact: %w", clip(entry), err)
}
