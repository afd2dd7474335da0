// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"errors"
	"fmt"
	"hash"
	"io"
)

// MismatchError says that bytes are not the ones that a digest names.
type MismatchError struct {
	Want Digest
	Size int64 // of the bytes that were there; more than the descriptor's if there were too many
}

// Error names the digest that was expected.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("the %d bytes received are not those of %s", e.Size, e.Want)
}

// ShortError says that bytes ended before the size that a descriptor gives.
type ShortError struct {
	Want Digest
	Size int64 // of the bytes that were there
	Of   int64
}

// Error says how much is missing.
func (e *ShortError) Error() string {
	return fmt.Sprintf("only %d of the %d bytes of %s were received", e.Size, e.Of, e.Want)
}

// Verify returns a reader of the bytes that a descriptor names. Reading ends with a [ShortError] or
// a [MismatchError] where they are not those; only after io.EOF are the bytes read to be trusted.
func Verify(r io.Reader, d Descriptor) io.Reader {
	return &verifier{r: r, want: d, sum: d.Digest.NewHash()}
}

type verifier struct {
	r    io.Reader
	want Descriptor
	sum  hash.Hash
	read int64
}

// Read implements io.Reader.
func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.read += int64(n)
	v.sum.Write(p[:n])
	switch {
	case v.read > v.want.Size:
		return 0, &MismatchError{Want: v.want.Digest, Size: v.read}
	case !errors.Is(err, io.EOF):
		return n, err
	case v.read < v.want.Size:
		return n, &ShortError{Want: v.want.Digest, Size: v.read, Of: v.want.Size}
	case !v.want.Digest.Matches(v.sum):
		return n, &MismatchError{Want: v.want.Digest, Size: v.read}
	default:
		return n, io.EOF
	}
}
