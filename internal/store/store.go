// SPDX-License-Identifier: Apache-2.0

// Package store keeps the blobs of artifacts on disk by their digest, as they came: compressed as
// compressed, encrypted as encrypted.
//
// A blob is in the store only once all its bytes were checked and are on the disk: it is written to a
// temporary file, whose name takes no part in lookups, and renamed at the end. A process can be killed
// at any time. What is found at reading is checked again, so a damaged disk shows as a missing blob
// and never as other content.
//
// The store is bounded. To make room it drops the blobs that were used least recently, but none that
// is retained. A directory belongs to one process at a time.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// DefaultMaxBytes bounds a store where nothing else is configured.
const DefaultMaxBytes = 1 << 30

// Store is a directory of blobs. It is safe for use by several goroutines.
type Store struct {
	dir      string
	maxBytes int64

	mu       sync.Mutex
	blobs    map[artifact.Digest]*blob
	retained map[artifact.Digest]int
	used     int64 // by blobs, and by what is being written
}

type blob struct {
	size int64
	last time.Time // of use
}

// NotFoundError says that a blob is not in the store.
type NotFoundError struct{ Digest artifact.Digest }

// Error names the digest.
func (e *NotFoundError) Error() string { return fmt.Sprintf("%s is not in the store", e.Digest) }

// FullError says that a blob can't be stored, since all that could make room is in use.
type FullError struct {
	Digest         artifact.Digest
	Size, MaxBytes int64
}

// Error gives the sizes.
func (e *FullError) Error() string {
	return fmt.Sprintf("no room in the store for the %d bytes of %s: it holds at most %d bytes, and what is there is in use",
		e.Size, e.Digest.Short(), e.MaxBytes)
}

const tempDir = "tmp"

// Open makes a store of a directory, which is created if need be. What writers that were killed have
// left behind is removed. Zero maxBytes stands for [DefaultMaxBytes].
func Open(dir string, maxBytes int64) (*Store, error) {
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	s := &Store{dir: dir, maxBytes: maxBytes, blobs: map[artifact.Digest]*blob{}, retained: map[artifact.Digest]int{}}
	if err := os.RemoveAll(filepath.Join(dir, tempDir)); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, tempDir), 0o700); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	if err := s.scan(); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(0)
	return s, nil
}

// scan reads which blobs are there. Other files are left alone.
func (s *Store) scan() error {
	for _, algorithm := range []string{"sha256", "sha512"} {
		entries, err := os.ReadDir(filepath.Join(s.dir, algorithm))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, entry := range entries {
			digest, err := artifact.ParseDigest(algorithm + ":" + entry.Name())
			if err != nil {
				continue
			}
			info, err := entry.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			s.blobs[digest] = &blob{size: info.Size(), last: info.ModTime()}
			s.used += info.Size()
		}
	}
	return nil
}

func (s *Store) path(d artifact.Digest) string { return filepath.Join(s.dir, d.Algorithm(), d.Hex()) }

// Has says whether a blob is in the store.
func (s *Store) Has(d artifact.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[d] != nil
}

// Retain keeps a blob from being dropped until it is released as often as it was retained. The blob
// may come later.
func (s *Store) Retain(d artifact.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retained[d]++
}

// Release takes back one [Store.Retain].
func (s *Store) Release(d artifact.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retained[d]--; s.retained[d] <= 0 {
		delete(s.retained, d)
	}
}

// Open returns a blob, after all its bytes were read once and found to be those of the digest. A
// damaged one is removed, and is not found.
func (s *Store) Open(ctx context.Context, d artifact.Digest) (*os.File, error) {
	if !s.Has(d) {
		return nil, &NotFoundError{Digest: d}
	}
	f, err := os.Open(s.path(d))
	if err == nil {
		err = check(ctx, f, d)
	}
	var damaged *artifact.MismatchError
	switch {
	case err == nil:
		s.touch(d)
		return f, nil
	case errors.As(err, &damaged), errors.Is(err, fs.ErrNotExist):
		if f != nil {
			f.Close()
		}
		s.drop(d)
		return nil, &NotFoundError{Digest: d}
	default:
		if f != nil {
			f.Close()
		}
		return nil, fmt.Errorf("reading %s from the store: %w", d.Short(), err)
	}
}

func check(ctx context.Context, f *os.File, d artifact.Digest) error {
	sum := d.NewHash()
	n, err := io.Copy(sum, withContext{ctx, f})
	if err != nil {
		return err
	}
	if !d.Matches(sum) {
		return &artifact.MismatchError{Want: d, Size: n}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// touch notes the use of a blob, on disk as well, where it lasts.
func (s *Store) touch(d artifact.Digest) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.blobs[d]; b != nil {
		b.last = now
	}
	_ = os.Chtimes(s.path(d), now, now) // a read-only store works without
}

func (s *Store) drop(d artifact.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(d)
}

func (s *Store) remove(d artifact.Digest) {
	b := s.blobs[d]
	if b == nil {
		return
	}
	delete(s.blobs, d)
	s.used -= b.size
	_ = os.Remove(s.path(d)) // found again, and counted, when the store is opened next
}

// makeRoom drops what was used least recently until there is room for some bytes more.
func (s *Store) makeRoom(more int64) bool {
	if s.used+more <= s.maxBytes {
		return true
	}
	candidates := []artifact.Digest{}
	for d := range s.blobs {
		if s.retained[d] == 0 {
			candidates = append(candidates, d)
		}
	}
	slices.SortFunc(candidates, func(a, b artifact.Digest) int { return s.blobs[a].last.Compare(s.blobs[b].last) })
	for _, d := range candidates {
		s.remove(d)
		if s.used+more <= s.maxBytes {
			return true
		}
	}
	return s.used+more <= s.maxBytes
}

// Put stores the bytes that a descriptor names. It reads them to their end, at most one more than the
// descriptor's size, and keeps nothing unless size and digest are right. A blob that is there already
// is not read.
func (s *Store) Put(ctx context.Context, d artifact.Descriptor, content io.Reader) error {
	s.mu.Lock()
	if s.blobs[d.Digest] != nil {
		s.mu.Unlock()
		return nil
	}
	if !s.makeRoom(d.Size) {
		s.mu.Unlock()
		return &FullError{Digest: d.Digest, Size: d.Size, MaxBytes: s.maxBytes}
	}
	s.used += d.Size
	s.mu.Unlock()

	err := s.write(ctx, d, content)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.blobs[d.Digest] != nil { // another writer of the same blob was faster
		s.used -= d.Size
	}
	if err != nil {
		return err
	}
	s.blobs[d.Digest] = &blob{size: d.Size, last: time.Now()}
	return nil
}

func (s *Store) write(ctx context.Context, d artifact.Descriptor, content io.Reader) error {
	f, err := os.CreateTemp(filepath.Join(s.dir, tempDir), "blob-")
	if err != nil {
		return fmt.Errorf("storing %s: %w", d.Digest.Short(), err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := io.Copy(f, artifact.Verify(withContext{ctx, content}, d)); err != nil {
		return fmt.Errorf("storing %s: %w", d.Digest.Short(), err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("storing %s: %w", d.Digest.Short(), err)
	}
	to := s.path(d.Digest)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fmt.Errorf("storing %s: %w", d.Digest.Short(), err)
	}
	if err := os.Rename(f.Name(), to); err != nil {
		return fmt.Errorf("storing %s: %w", d.Digest.Short(), err)
	}
	return syncDir(filepath.Dir(to))
}

// syncDir makes a rename last. Where directories can't be synced it is left to the system.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	_ = d.Sync()
	return nil
}

// withContext ends reading with its context.
type withContext struct {
	ctx context.Context //nolint:containedctx // a reader's method can't take one
	r   io.Reader
}

// Read implements io.Reader.
func (w withContext) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}
