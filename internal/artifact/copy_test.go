// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// TestAFileIsCopiedIfItStayedAsItWas has files of sizes about that of the buffer, which became shorter or
// longer since they were listed, or did not.
func TestAFileIsCopiedIfItStayedAsItWas(t *testing.T) {
	t.Parallel()
	const buffer = 1 << 10
	for _, listed := range []int{0, 1, buffer - 1, buffer, buffer + 1, 2 * buffer, 5*buffer + 7} {
		for _, more := range []int{-1, 0, 1, buffer} {
			if listed+more < 0 {
				continue
			}
			content := bytes.Repeat([]byte("x"), listed+more)
			got, n, err := copied(bytes.NewReader(content), listed, buffer)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case more <= 0 && (n != int64(listed+more) || len(got) != listed+more):
				t.Errorf("%d bytes, listed as %d: %d were copied and %d written", listed+more, listed, n, len(got))
			case more > 0 && n <= int64(listed):
				t.Errorf("%d bytes, listed as %d: that there are more was not noticed", listed+more, listed)
			}
		}
	}
}

func TestAFileThatCanNotBeReadIsNotCopied(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	if _, _, err := copied(io.MultiReader(bytes.NewReader(make([]byte, 10)), iotest.ErrReader(broken)), 20, 8); !errors.Is(err, broken) {
		t.Errorf("the error is %v, want %v", err, broken)
	}
}

// copied returns what was written to the archive, and what copy says.
func copied(from io.Reader, listed, buffer int) ([]byte, int64, error) {
	var archive bytes.Buffer
	w := &layerWriter{tar: tar.NewWriter(&archive), buffer: make([]byte, buffer)}
	if err := writeHeader(w.tar, "file", tar.TypeReg, int64(listed)); err != nil {
		return nil, 0, err
	}
	header := archive.Len()
	n, err := w.copy(from, int64(listed))
	return archive.Bytes()[header:], n, err
}
