// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"
)

// Tree is a directory to be packed as it is.
type Tree struct {
	Dir string
	// Only is the one file of the directory that is packed; empty for all of them.
	Only string
	// Ignored says whether a path below the directory, with slashes, is left out, and with a directory
	// all that is below it. It is called for a directory before what is in it. Nil for nothing.
	Ignored func(path string, dir bool) (bool, error)
	// ResolveSymlinks packs what links within the directory point to. Otherwise a link is refused, and
	// one that leads out of the directory always is.
	ResolveSymlinks bool
	Limits          Limits // those that the artifact will be read with
}

// PackTree makes an artifact of a directory and lists its files. No more of it is held in memory than a few
// megabytes: a larger layer is written to a file in spoolDir, which must stay until the artifact was sent. What
// would be refused when the artifact is read is refused here, all of it at once.
func PackTree(ctx context.Context, t Tree, meta Metadata, opts PackOptions, spoolDir string) (*Packed, []string, error) {
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("packing a directory: %w", err)
	}
	defer root.Close()
	t.Limits = t.Limits.WithDefaults()
	if opts.Encrypt != nil {
		t.Limits.Extracted = min(t.Limits.Extracted, EncryptedLimits().Extracted)
	}
	layer, err := newLayerWriter(spoolDir, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("packing a directory: %w", err)
	}
	defer layer.abandon()
	names, err := layer.addAll(ctx, root, t)
	if err != nil {
		return nil, nil, err
	}
	blob, diffID, err := layer.finish(t.Limits)
	if err != nil {
		return nil, nil, fmt.Errorf("packing a directory: %w", err)
	}
	packed, err := packLayer(blob, diffID, diffID.Hex(), meta, opts)
	return packed, names, err
}

// treeEntry is a file or directory that is packed.
type treeEntry struct {
	path string // with slashes
	dir  bool
	size int64
}

// layerWriter writes a tar.gz, with its digests. What is to be encrypted reaches the disk encrypted.
type layerWriter struct {
	spool    *spool
	tar      *tar.Writer
	gzip     *compressor
	sealed   io.WriteCloser // encrypts, where that is asked for
	plain    hash.Hash
	packed   hash.Hash
	in, out  counter
	buffer   []byte
	finished bool
}

// counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func newLayerWriter(spoolDir string, opts PackOptions) (*layerWriter, error) {
	w := &layerWriter{spool: &spool{dir: spoolDir}, plain: sha256.New(), packed: sha256.New(), buffer: make([]byte, 128<<10)}
	var err error
	if w.sealed, err = opts.encrypt(io.MultiWriter(w.spool, w.packed, &w.out)); err != nil {
		return nil, err
	}
	w.gzip = newCompressor(w.sealed)
	w.tar = tar.NewWriter(io.MultiWriter(w.plain, &w.in, w.gzip))
	return w, nil
}

// opener opens files of a tree. Most lie beside the one before: the way to them is gone once.
type opener struct {
	root *os.Root
	at   string   // with slashes, one at the end
	dir  *os.File // what is there; nil for nothing
}

func (o *opener) open(e treeEntry) (io.ReadCloser, error) {
	at, base := path.Split(e.path)
	if o.dir == nil || at != o.at {
		o.close()
		o.at = at
		o.dir, _ = o.root.OpenFile(filepath.FromSlash(path.Clean(at)), toRead, 0) // the file's own way says what is wrong
	}
	if o.dir != nil {
		if f, err := openIn(o.dir, base, e.size); err == nil {
			return f, nil
		}
	}
	f, err := o.root.OpenFile(filepath.FromSlash(e.path), toRead, 0) // a link may lead out of its directory, not out of the tree
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errChanged, err, f.Close())
	}
	return f, nil
}

func (o *opener) close() {
	if o.dir != nil {
		_ = o.dir.Close() // it was only read from
	}
	o.dir = nil
}

var errChanged = errors.New("the file changed while it was read")

// foundAhead is how many entries may be found before they are packed.
const foundAhead = 1024

// addAll writes all of a tree, while it is still being looked through, and lists its files. What is wrong
// with the tree comes before what went wrong with a file.
func (w *layerWriter) addAll(ctx context.Context, root *os.Root, t Tree) ([]string, error) {
	entries, walked := make(chan treeEntry, foundAhead), make(chan error, 1)
	go func() {
		walked <- walkTree(ctx, root, t, func(e treeEntry) { entries <- e })
		close(entries)
	}()
	files := &opener{root: root}
	defer files.close()
	var names []string
	var failed error
	for e := range entries {
		if failed = cmp.Or(failed, ctx.Err()); failed != nil {
			continue // to its end, for what is wrong with the tree
		}
		if err := w.add(files, e); err != nil {
			failed = fmt.Errorf("packing %s: %w", filepath.Join(t.Dir, filepath.FromSlash(e.path)), err)
		}
		if !e.dir {
			names = append(names, e.path)
		}
	}
	if err := <-walked; err != nil {
		return nil, err
	}
	return names, failed
}

// add writes an entry whose header says nothing about who packed it, or when.
func (w *layerWriter) add(files *opener, e treeEntry) error {
	if e.dir {
		return writeHeader(w.tar, e.path+"/", tar.TypeDir, 0)
	}
	f, err := files.open(e)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := writeHeader(w.tar, e.path, tar.TypeReg, e.size); err != nil {
		return err
	}
	n, err := w.copy(f, e.size)
	if err != nil {
		return err
	}
	if n != e.size {
		return errChanged
	}
	return nil
}

// copy writes what a file of that size holds, and returns how much that is: where it is more, no more
// than that is known. A small file is read at one go, since a file gives all that it has.
func (w *layerWriter) copy(f io.Reader, size int64) (int64, error) {
	for n := int64(0); ; {
		room := w.buffer[:min(int64(len(w.buffer)), size-n+1)]
		got, err := f.Read(room)
		if n += int64(got); n > size {
			return n, nil
		}
		if _, failed := w.tar.Write(room[:got]); failed != nil {
			return n, failed
		}
		if errors.Is(err, io.EOF) || err == nil && n == size && got < len(room) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// writeHeader leaves out everything that differs between machines. Names that the oldest form of tar
// can't hold are written in the form that can.
func writeHeader(w *tar.Writer, name string, kind byte, size int64) error {
	h := tar.Header{Typeflag: kind, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0).UTC(), Format: tar.FormatUSTAR}
	if kind == tar.TypeDir {
		h.Mode = 0o755
	}
	if err := w.WriteHeader(&h); err == nil {
		return nil
	}
	// Of a header that can't be held nothing was written; what could not be written fails again.
	h.Format = tar.FormatPAX
	return w.WriteHeader(&h)
}

// finish ends the layer and returns it with the digest of its tar.
func (w *layerWriter) finish(limits Limits) (Blob, Digest, error) {
	w.finished = true
	if err := errors.Join(w.tar.Close(), w.gzip.Close(), w.sealed.Close(), w.spool.Close()); err != nil {
		return Blob{}, "", err
	}
	if err := checkSize(int64(w.in), int64(w.out), limits); err != nil {
		return Blob{}, "", err
	}
	blob := Blob{
		Descriptor: Descriptor{Digest: digestOfSum(w.packed), Size: int64(w.out)},
		Open:       w.spool.Open,
	}
	return blob, digestOfSum(w.plain), nil
}

// checkSize refuses a layer that would be refused when it is read.
func checkSize(plain, packed int64, limits Limits) error {
	switch {
	case packed > limits.Compressed:
		return refuse(TooLarge, "", "the layer has %d bytes, more than %d", packed, limits.Compressed)
	case plain > limits.RatioFrom && plain > limits.Ratio*packed:
		return refuse(RatioTooHigh, "", "%d bytes would expand more than %d times", packed, limits.Ratio)
	default:
		return nil
	}
}

func digestOfSum(h hash.Hash) Digest { return Digest("sha256:" + hex.EncodeToString(h.Sum(nil))) }

// abandon ends what was not finished.
func (w *layerWriter) abandon() {
	if !w.finished {
		_ = w.gzip.Close()
		_ = w.spool.Close()
	}
}
