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
	// compressor gives other bytes, and so another digest, for the same content. This one takes half of
	// the time of level 6, for a tenth more bytes, and packs closer than what crane pushes. Level 2 packs
	// large trees closer in the same time, and makes a small one wait for its larger tables.
	compressionLevel = 1

	// blockBytes is how much is compressed in one piece, and so part of the format as well: little enough
	// that a megabyte keeps several cores busy. Each piece knows the end of the one before it, so that the
	// result is hardly larger than in one go.
	blockBytes = 256 << 10

	// windowBytes is how much of the end of the piece before it a piece knows, and part of the format, too: as
	// much as compresses YAML by less than a hundredth worse than the 32 KiB that it could know. To look
	// through these takes a twentieth of the time of all packing.
	windowBytes = 8 << 10

	mostCompressors = 8

	// piecesEach is how many pieces there are for each of those that compress: with one, who fills them
	// waits for the piece that is to be written next, while others are done.
	piecesEach = 2
)

// compressor writes one gzip member whose header holds neither name nor time, and always the same
// operating system. Pieces are compressed beside each other; the bytes that come out don't depend on
// how many. There are so many pieces and no more: memory is bounded.
type compressor struct {
	dst     io.Writer
	piece   *piece // is being filled
	crc     uint32
	size    uint32
	full    chan *piece // are to be compressed
	queue   chan *piece // the same, are to be written in this order
	written chan error
	idle    chan *piece
}

// piece is what is compressed in one go, and what came of it. It is used again and again.
type piece struct {
	content []byte // the end of the piece before it, and what is compressed
	known   int    // how much of that is the end of the piece before it
	last    bool   // none follows
	packed  bytes.Buffer
	done    chan error
}

func newCompressor(dst io.Writer) *compressor {
	workers := min(runtime.GOMAXPROCS(0), mostCompressors)
	pieces := piecesEach * workers
	c := &compressor{
		dst: dst, piece: newPiece(), queue: make(chan *piece, pieces+1), full: make(chan *piece, pieces+1),
		written: make(chan error, 1), idle: make(chan *piece, pieces+1),
	}
	for range pieces {
		c.idle <- newPiece()
	}
	for range workers {
		go c.compress()
	}
	go c.write()
	return c
}

// newPiece makes room for a whole piece. What of it is not used costs nothing but its address.
func newPiece() *piece {
	return &piece{content: make([]byte, 0, windowBytes+blockBytes), done: make(chan error, 1)}
}

// room returns how much more fits.
func (p *piece) room() int { return p.known + blockBytes - len(p.content) }

// follow empties the piece but for the end of the one before it.
func (p *piece) follow(before *piece) {
	p.content = append(p.content[:0], before.content[max(0, len(before.content)-windowBytes):]...)
	p.known = len(p.content)
}

// write writes the pieces in their order.
func (c *compressor) write() {
	const osUnknown = 255
	_, failed := c.dst.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, osUnknown})
	for p := range c.queue {
		err := <-p.done
		if failed == nil {
			failed = err
		}
		if failed == nil {
			_, failed = c.dst.Write(p.packed.Bytes())
		}
		c.idle <- p
	}
	c.written <- failed
}

// Write implements io.Writer. What goes wrong further on is told by Close.
func (c *compressor) Write(b []byte) (int, error) {
	c.crc = crc32.Update(c.crc, crc32.IEEETable, b)
	c.size += uint32(len(b)) //nolint:gosec // gzip counts modulo 2^32
	for rest := b; len(rest) > 0; {
		if c.piece.room() == 0 {
			full := c.piece
			c.send(false)
			c.piece = <-c.idle
			c.piece.follow(full)
		}
		n := min(c.piece.room(), len(rest))
		c.piece.content = append(c.piece.content, rest[:n]...)
		rest = rest[n:]
	}
	return len(b), nil
}

// send hands the piece over to be compressed.
func (c *compressor) send(last bool) {
	c.piece.last = last
	c.full <- c.piece
	c.queue <- c.piece
}

// Close writes what is left and says what went wrong, if anything did.
func (c *compressor) Close() error {
	c.send(true)
	close(c.full)
	close(c.queue)
	if err := <-c.written; err != nil {
		return err
	}
	trailer := binary.LittleEndian.AppendUint32(nil, c.crc)
	_, err := c.dst.Write(binary.LittleEndian.AppendUint32(trailer, c.size))
	return err
}

// compress compresses pieces, one after the other.
func (c *compressor) compress() {
	var w *flate.Writer // its tables are large, and used again
	var err error
	for p := range c.full {
		if w == nil {
			w, err = flate.NewWriter(&p.packed, compressionLevel)
		}
		if err == nil {
			err = p.compress(w)
		}
		p.done <- err
	}
}

// compress compresses the piece, to the same bytes whether the writer was used before or not.
func (p *piece) compress(w *flate.Writer) error {
	p.packed.Reset()
	p.packed.Grow(len(p.content) / 2) // more than most need
	w.ResetDict(&p.packed, p.content[:p.known])
	if _, err := w.Write(p.content[p.known:]); err != nil {
		return err
	}
	if p.last {
		return w.Close()
	}
	return w.Flush()
}
