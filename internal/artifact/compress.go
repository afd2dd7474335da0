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
	// compressor gives other bytes, and so another digest, for the same content. This one takes a third
	// of the time of level 6, for a tenth more bytes, and packs closer than what crane pushes.
	compressionLevel = 1

	// blockBytes is how much is compressed in one piece, and so part of the format as well: little enough
	// that a megabyte keeps several cores busy. Each piece knows the end of the one before it, so that the
	// result is hardly larger than in one go.
	blockBytes = 256 << 10

	// windowBytes is how far back a compressed piece can point.
	windowBytes = 32 << 10

	mostCompressors = 8
)

// compressor writes one gzip member whose header holds neither name nor time, and always the same
// operating system. Pieces are compressed beside each other; the bytes that come out don't depend on
// how many. Memory is bounded by the number of pieces at work, and is used anew.
type compressor struct {
	dst     io.Writer
	block   []byte
	window  []byte
	crc     uint32
	size    uint32
	queue   chan chan piece
	written chan error
	idle    chan *flate.Writer // their tables are large
	blocks  chan []byte
	buffers chan *bytes.Buffer
}

// piece is a block, compressed.
type piece struct {
	bytes *bytes.Buffer
	err   error
}

func newCompressor(dst io.Writer) *compressor {
	workers := min(runtime.GOMAXPROCS(0), mostCompressors)
	c := &compressor{
		dst: dst, queue: make(chan chan piece, workers), written: make(chan error, 1),
		idle: make(chan *flate.Writer, workers), blocks: make(chan []byte, workers), buffers: make(chan *bytes.Buffer, workers),
	}
	go c.write()
	return c
}

// take returns something to be used anew, or the zero value; give keeps it for that, if there is room.
func take[T any](from chan T) (t T) {
	select {
	case t = <-from:
	default:
	}
	return t
}

func give[T any](to chan T, t T) {
	select {
	case to <- t:
	default:
	}
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
			_, failed = c.dst.Write(p.bytes.Bytes())
		}
		give(c.buffers, p.bytes)
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
			c.block = c.newBlock()
		}
		n := min(blockBytes-len(c.block), len(rest))
		c.block = append(c.block, rest[:n]...)
		rest = rest[n:]
	}
	return len(p), nil
}

// newBlock makes room for a whole block. What of it is not used costs nothing but its address.
func (c *compressor) newBlock() []byte {
	if used := take(c.blocks); used != nil {
		return used[:0]
	}
	return make([]byte, 0, blockBytes)
}

// send hands the block over to be compressed.
func (c *compressor) send(last bool) {
	block, window, done := c.block, c.window, make(chan piece, 1)
	c.window, c.block = bytes.Clone(block[max(0, len(block)-windowBytes):]), nil
	c.queue <- done
	go func() {
		done <- c.compress(block, window, last)
		give(c.blocks, block)
	}()
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

// compress compresses a block, to the same bytes whether the writer was used before or not.
func (c *compressor) compress(block, window []byte, last bool) piece {
	b := take(c.buffers)
	if b == nil {
		b = bytes.NewBuffer(make([]byte, 0, len(block)/2+windowBytes))
	}
	b.Reset()
	w, err := take(c.idle), error(nil)
	if w == nil {
		w, err = flate.NewWriterDict(b, compressionLevel, window)
	} else {
		w.ResetDict(b, window)
	}
	if err != nil {
		return piece{bytes: b, err: err}
	}
	if _, err := w.Write(block); err != nil {
		return piece{bytes: b, err: err}
	}
	if last {
		err = w.Close()
	} else {
		err = w.Flush()
	}
	give(c.idle, w)
	return piece{bytes: b, err: err}
}
