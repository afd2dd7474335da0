// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestALargeLayerGoesToAFile writes pieces that fill what is held in memory to the byte, and one byte more.
func TestALargeLayerGoesToAFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ bytes, files int }{
		"nothing":         {0, 0},
		"a little":        {100, 0},
		"as much as fits": {heldInMemory, 0},
		"one byte more":   {heldInMemory + 1, 1},
		"twice as much":   {2 * heldInMemory, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, dir := bytes.Repeat([]byte("0123456789abcdef"), c.bytes/16+1)[:c.bytes], t.TempDir()
			s := &spool{dir: dir}
			// What writes it uses its buffer again.
			buffer := make([]byte, 100_000)
			if n, err := io.CopyBuffer(onlyWriter{s}, io.MultiReader(bytes.NewReader(want)), buffer); err != nil || n != int64(c.bytes) {
				t.Fatalf("wrote %d, %v", n, err)
			}
			clear(buffer)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				content, err := s.Open()
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(content)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("got %d bytes, %v; want the %d that were written", len(got), err, len(want))
				}
				if err := content.Close(); err != nil {
					t.Error(err)
				}
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) != c.files {
				t.Errorf("there are the files %v, %v; want %d", files, err, c.files)
			}
		})
	}
}

func TestALayerWithoutRoomFails(t *testing.T) {
	t.Parallel()
	s := &spool{dir: filepath.Join(t.TempDir(), "missing")}
	if _, err := s.Write(make([]byte, heldInMemory+1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
