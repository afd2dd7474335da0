// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"

	"github.com/klauspost/compress/flate"
)

const (
	// compressionLevel and the compressor behind it are part of the format: another level or another
	// compressor gives other bytes, and so another digest, for the same content.
	compressionLevel = 6

	// blockBytes is how much is compressed in one piece, and so part of the format as well. Each piece
	// knows the end of the one before it, so that the result is hardly larger than in one go.
	blockBytes = 1 << 20

	// windowBytes is how far back a compressed piece can point.
	windowBytes = 32 << 10

	mostCompressors = 8
)

// compressor writes one gzip member whose header holds neither name nor time, and always the same
// operating system. Pieces are compressed beside each other; the bytes that come out don't depend on
// how many. Memory is bounded by the number of pieces at work.
type compressor struct {
	dst     io.Writer
	block   []byte
	window  []byte
	crc     uint32
	size    uint32
	queue   chan chan piece
	written chan error
}

// piece is a block, compressed.
type piece struct {
	bytes []byte
	err   error
}

func newCompressor(dst io.Writer) *compressor {
	workers := min(runtime.GOMAXPROCS(0), mostCompressors)
	c := &compressor{dst: dst, queue: make(chan chan piece, workers), written: make(chan error, 1)}
	go c.write()
	return c
}

// write writes the pieces in their order.
func (c *compressor) write() {
	const osUnknown = 255
	_, failed := c.dst.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, osUnknown})
	for next := range c.queue {
		p := <-next
		if failed == nil {
			failed = p.err
		}
		if failed == nil {
			_, failed = c.dst.Write(p.bytes)
		}
	}
	c.written <- failed
}

// Write implements io.Writer. What goes wrong further on is told by Close.
func (c *compressor) Write(p []byte) (int, error) {
	c.crc = crc32.Update(c.crc, crc32.IEEETable, p)
	c.size += uint32(len(p)) //nolint:gosec // gzip counts modulo 2^32
	for rest := p; len(rest) > 0; {
		if len(c.block) == blockBytes {
			c.send(false)
		}
		if c.block == nil {
			c.block = make([]byte, 0, min(blockBytes, max(len(rest), windowBytes)))
		}
		n := min(blockBytes-len(c.block), len(rest))
		c.block = append(c.block, rest[:n]...)
		rest = rest[n:]
	}
	return len(p), nil
}

// send hands the block over to be compressed.
func (c *compressor) send(last bool) {
	block, window, done := c.block, c.window, make(chan piece, 1)
	c.window, c.block = block[max(0, len(block)-windowBytes):], nil
	c.queue <- done
	go func() { done <- compressBlock(block, window, last) }()
}

// Close writes what is left and says what went wrong, if anything did.
func (c *compressor) Close() error {
	c.send(true)
	close(c.queue)
	if err := <-c.written; err != nil {
		return err
	}
	trailer := binary.LittleEndian.AppendUint32(nil, c.crc)
	_, err := c.dst.Write(binary.LittleEndian.AppendUint32(trailer, c.size))
	return err
}

func compressBlock(block, window []byte, last bool) piece {
	var b bytes.Buffer
	w, err := flate.NewWriterDict(&b, compressionLevel, window)
	if err != nil {
		return piece{err: err}
	}
	if _, err := w.Write(block); err != nil {
		return piece{err: err}
	}
	if last {
		err = w.Close()
	} else {
		err = w.Flush()
	}
	return piece{bytes: b.Bytes(), err: err}
}
