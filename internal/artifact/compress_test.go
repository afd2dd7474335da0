// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// TestCompressedBytesDoNotDependOnWhatWasUsedBefore compresses more blocks than there are workers, in
// writes of odd sizes, and compares with each block compressed on its own by a new writer.
func TestCompressedBytesDoNotDependOnWhatWasUsedBefore(t *testing.T) {
	t.Parallel()
	source := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same content each time
	var content bytes.Buffer
	for content.Len() < 24*blockBytes+12345 {
		fmt.Fprintf(&content, "name: settings-%d\nvalue: %x\nreplicas: %d\n", source.IntN(100), source.Uint64(), source.IntN(10))
		if source.IntN(1000) == 0 {
			content.Write(make([]byte, source.IntN(70_000)))
		}
	}
	var got bytes.Buffer
	c := newCompressor(&got)
	for rest := content.Bytes(); len(rest) > 0; {
		n := min(len(rest), 1+source.IntN(300_000))
		if _, err := c.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	want := bytes.NewBuffer([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255})
	all := content.Bytes()
	for from := 0; from < len(all); from += blockBytes {
		to := min(from+blockBytes, len(all))
		w, err := flate.NewWriterDict(want, compressionLevel, all[max(0, from-windowBytes):from])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(all[from:to]); err != nil {
			t.Fatal(err)
		}
		finish := w.Flush
		if to == len(all) {
			finish = func() error { return errors.Join(w.Flush(), w.Close()) }
		}
		if err := finish(); err != nil {
			t.Fatal(err)
		}
	}
	if n := want.Len() - 64; !bytes.Equal(got.Bytes()[:n], want.Bytes()[:n]) {
		t.Error("used writers give other bytes than new ones")
	}
	zr, err := gzip.NewReader(&got)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := io.ReadAll(zr); err != nil || !bytes.Equal(back, all) {
		t.Errorf("it is not what was compressed: %v", err)
	}
}
