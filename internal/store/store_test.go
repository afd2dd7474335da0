// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/store"
)

const killVariable = "KUSTOMIZER_TEST_STORE_TO_KILL"

// TestMain lets the test binary be run again as a writer that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killVariable); dir != "" {
		writeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// writeUntilKilled stores one blob, then begins with a second one whose bytes never end.
func writeUntilKilled(dir string) {
	s, err := store.Open(dir, 0)
	if err != nil {
		panic(err)
	}
	whole := []byte("whole")
	if err := s.Put(context.Background(), describe(whole), bytes.NewReader(whole)); err != nil {
		panic(err)
	}
	half := describe([]byte("half"))
	half.Size = 1 << 20
	_ = s.Put(context.Background(), half, io.MultiReader(strings.NewReader(strings.Repeat("x", 64<<10)), stuck{}))
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) {
	fmt.Println("stuck")
	select {}
}

func describe(content []byte) artifact.Descriptor {
	return artifact.Descriptor{Digest: artifact.DigestOf(content), Size: int64(len(content))}
}

func open(t *testing.T, dir string, maxBytes int64) *store.Store {
	t.Helper()
	s, err := store.Open(dir, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *store.Store, content string) artifact.Digest {
	t.Helper()
	d := describe([]byte(content))
	if err := s.Put(t.Context(), d, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return d.Digest
}

func read(t *testing.T, s *store.Store, d artifact.Digest) string {
	t.Helper()
	f, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func wantMissing(t *testing.T, s *store.Store, d artifact.Digest) {
	t.Helper()
	f, err := s.Open(t.Context(), d)
	var missing *store.NotFoundError
	if !errors.As(err, &missing) {
		t.Errorf("opened %v, %v", f, err)
	}
	if s.Has(d) {
		t.Errorf("%s is there", d)
	}
}

// files counts the regular files below a directory.
func files(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestABlobIsThereAfterReopening(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := put(t, open(t, dir, 0), "content")
	if got := read(t, open(t, dir, 0), d); got != "content" {
		t.Errorf("read %q", got)
	}
}

func TestWrongBytesAreNotKept(t *testing.T) {
	t.Parallel()
	right := describe([]byte("right"))
	for name, content := range map[string]string{"other bytes": "wrong", "too many": "right and more", "too few": "righ", "none": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir, 0)
			err := s.Put(t.Context(), right, strings.NewReader(content))
			var mismatch *artifact.MismatchError
			var short *artifact.ShortError
			if !errors.As(err, &mismatch) && !errors.As(err, &short) {
				t.Errorf("got %v", err)
			}
			wantMissing(t, s, right.Digest)
			if n := files(t, dir); n != 0 {
				t.Errorf("%d files are left", n)
			}
			put(t, s, "right")
		})
	}
}

func TestAReaderIsNotReadBeyondItsSize(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 0)
	endless := &counted{}
	d := artifact.Descriptor{Digest: artifact.DigestOf(nil), Size: 100}
	if err := s.Put(t.Context(), d, endless); err == nil {
		t.Error("accepted")
	}
	if endless.n > 128<<10 {
		t.Errorf("%d bytes were read", endless.n)
	}
}

type counted struct{ n int }

func (c *counted) Read(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

func TestADamagedBlobIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 0)
	d := put(t, s, "content")
	if err := os.WriteFile(filepath.Join(dir, "sha256", d.Hex()), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantMissing(t, s, d)
	put(t, s, "content")
	if got := read(t, s, d); got != "content" {
		t.Errorf("read %q", got)
	}
}

func TestWhatWasUsedLeastRecentlyMakesRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 30)
	first, second, third := put(t, s, "first-----"), put(t, s, "second----"), put(t, s, "third-----")
	read(t, s, first)
	fourth := put(t, s, "fourth----")
	wantMissing(t, s, second)
	for _, d := range []artifact.Digest{first, third, fourth} {
		read(t, s, d)
	}
	if n := files(t, dir); n != 3 {
		t.Errorf("%d files", n)
	}
}

func TestRetainedBlobsStay(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), 20)
	kept := put(t, s, "kept------")
	s.Retain(kept)
	other := put(t, s, "other-----")
	s.Retain(other)
	d := describe([]byte("one too many"))
	err := s.Put(t.Context(), d, strings.NewReader("one too many"))
	var full *store.FullError
	if !errors.As(err, &full) {
		t.Errorf("got %v", err)
	}
	s.Release(other)
	put(t, s, "now it is ")
	read(t, s, kept)
	wantMissing(t, s, other)
}

func TestASmallerBoundHoldsFromReopeningOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 0)
	old := put(t, s, "old-------")
	hourAgo := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "sha256", old.Hex()), hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	recent := put(t, s, "recent----")
	s = open(t, dir, 10)
	wantMissing(t, s, old)
	read(t, s, recent)
}

func TestManyWritersOfOneBlobAgree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 100)
	content := "the same content for all"
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if err := s.Put(t.Context(), describe([]byte(content)), strings.NewReader(content)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := files(t, dir); n != 1 {
		t.Errorf("%d files", n)
	}
	put(t, s, strings.Repeat("x", 76)) // exactly what is left
	read(t, s, artifact.DigestOf([]byte(content)))
}

func TestAWriterThatIsKilledLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	writer := exec.CommandContext(t.Context(), self)
	writer.Env = append(os.Environ(), killVariable+"="+dir)
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "stuck\n" {
		t.Fatalf("the writer said %q, %v", line, err)
	}
	if err := writer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Wait()
	if n := files(t, dir); n != 2 {
		t.Errorf("%d files before reopening, want the whole one and the half one", n)
	}
	s := open(t, dir, 0)
	if n := files(t, dir); n != 1 {
		t.Errorf("%d files after reopening", n)
	}
	if got := read(t, s, artifact.DigestOf([]byte("whole"))); got != "whole" {
		t.Errorf("read %q", got)
	}
	wantMissing(t, s, artifact.DigestOf([]byte("half")))
}

func TestPuttingStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := open(t, t.TempDir(), 0)
	if err := s.Put(ctx, describe([]byte("x")), strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
