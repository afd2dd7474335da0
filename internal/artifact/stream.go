// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// stream is the tar inside a layer, read through all its limits.
type stream struct {
	ctx        context.Context //nolint:containedctx // a reader's method can't take one; it lives for one call of Extract
	limits     Limits
	compressed *countingReader
	packed     *bufio.Reader // the layer's bytes
	plain      io.Reader     // the tar's bytes
	read       int64         // of plain
	sum        hash.Hash     // of plain
	packing    packing
	close      func()
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// openStream checks that the bytes are what the media type declares, and returns the tar in them.
func openStream(ctx context.Context, r io.Reader, mediaType string, limits Limits) (*stream, error) {
	counted := &countingReader{r: r}
	s := &stream{
		ctx: ctx, limits: limits, compressed: counted, packed: bufio.NewReaderSize(counted, 64<<10),
		packing: packingOf(mediaType), sum: sha256.New(), close: func() {},
	}
	start, err := s.packed.Peek(len(ageIntro))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case s.packing == packingAge:
		return nil, refuse(Encrypted, "", "the layer is encrypted with age")
	case s.packing == packingUnknown:
		return nil, refuse(MediaTypeNotAccepted, "", "%q is not a tar, tar+gzip or tar+zstd layer", clip(mediaType))
	case len(start) == 0:
		return nil, refuse(Empty, "", "the layer has no bytes")
	}
	return s, s.unpack(start)
}

// The bytes with which a format begins.
const (
	gzipIntro = "\x1f\x8b"
	zstdIntro = "\x28\xb5\x2f\xfd"
	ageIntro  = "age-encryption.org/v1"
)

// ageText is how age's text form begins.
const ageText = "-----BEGIN AGE ENCRYPTED FILE-----"

// CheckEncrypted refuses a layer that is declared as encrypted and is something else, as far as that can
// be seen without a key.
func CheckEncrypted(layer io.Reader, mediaType string) error {
	if content := ContentType(mediaType); packingOf(content) == packingUnknown || IsEncrypted(content) {
		return refuse(MediaTypeNotAccepted, "", "%q is not an encrypted tar, tar+gzip or tar+zstd layer", clip(mediaType))
	}
	start := make([]byte, len(ageText))
	n, err := io.ReadFull(layer, start)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case n == 0:
		return refuse(Empty, "", "the layer has no bytes")
	case bytes.HasPrefix(start[:n], []byte(ageIntro)), string(start[:n]) == ageText:
		return nil
	default:
		return refuse(NotAge, "", "the layer is declared as encrypted with age and is something else")
	}
}

func (s *stream) unpack(start []byte) error {
	begins := func(intro string) bool { return bytes.HasPrefix(start, []byte(intro)) }
	found := "something else"
	switch {
	case begins(gzipIntro):
		found = "gzip"
	case begins(zstdIntro):
		found = "zstd"
	case begins(ageIntro):
		found = "encrypted with age"
	}
	switch s.packing {
	case packingGzip:
		if found != "gzip" {
			return refuse(NotGzip, "", "the layer is declared as gzip and is %s", found)
		}
		zr, err := gzip.NewReader(s.packed)
		if err != nil {
			return s.translate(err)
		}
		zr.Multistream(false)
		s.plain = zr
	case packingZstd:
		if found != "zstd" {
			return refuse(NotZstd, "", "the layer is declared as zstd and is %s", found)
		}
		const window = 64 << 20
		zr, err := zstd.NewReader(s.packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderLowmem(true))
		if err != nil {
			return s.translate(err)
		}
		s.plain, s.close = zr, zr.Close
	default:
		if found != "something else" {
			return refuse(NotTar, "", "the layer is declared as tar and is %s", found)
		}
		s.plain = s.packed
	}
	return nil
}

// Read returns bytes of the tar. It stops when the context ends, and at a compression bomb.
func (s *stream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.plain.Read(p)
	s.read += int64(n)
	s.sum.Write(p[:n])
	if s.compressed.n > s.limits.Compressed {
		return n, refuse(TooLarge, "", "the layer has more than %d bytes", s.limits.Compressed)
	}
	if s.packing != packingTar && s.read > s.limits.RatioFrom && s.read > s.limits.Ratio*s.compressed.n {
		return n, refuse(RatioTooHigh, "", "%d bytes expand more than %d times", s.compressed.n, s.limits.Ratio)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return n, s.translate(err)
	}
	return n, err
}

// translate names what a decompressor found wrong.
func (s *stream) translate(err error) error {
	var refused *RefusedError
	switch {
	case errors.As(err, &refused), s.ctx.Err() != nil:
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return refuse(Truncated, "", "the compressed data ends early")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, zstd.ErrMagicMismatch):
		return refuse(Corrupt, "", "a header of the compressed data is wrong")
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zstd.ErrCRCMismatch):
		return refuse(Corrupt, "", "the checksum of the compressed data is wrong")
	default:
		return refuse(Corrupt, "", "the compressed data is damaged")
	}
}

// finish reads what comes after the blocks that end the tar: padding with zeros, then nothing. It
// also makes the decompressor check its checksum, which comes last.
func (s *stream) finish() error {
	const mostPadding = 1 << 20
	buffer := make([]byte, 32<<10)
	padding := 0
	for {
		n, err := s.Read(buffer)
		if len(bytes.Trim(buffer[:n], "\x00")) > 0 {
			return refuse(TrailingData, "", "there is data after the end of the tar")
		}
		if padding += n; padding > mostPadding {
			return refuse(TrailingData, "", "there is more padding than %d bytes after the end of the tar", mostPadding)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if s.packing != packingGzip {
		return nil
	}
	switch rest, err := s.packed.Peek(len(gzipIntro)); {
	case len(rest) == 0 && errors.Is(err, io.EOF):
		return nil
	case len(rest) == 0:
		return s.translate(err) // what lies below, such as a decryption, has not come to its end
	case string(rest) == gzipIntro:
		return refuse(MultipleMembers, "", "the layer has more than one gzip member")
	default:
		return refuse(TrailingData, "", "there is data after the compressed data")
	}
}
