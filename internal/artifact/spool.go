// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"io"
	"os"
	"slices"
)

// heldInMemory is how many bytes of a layer are held in memory: more than most layers have, and less than its
// compression takes.
const heldInMemory = 4 << 20

// spool holds a layer until it is sent: in memory, or in a file of a directory if it is large.
type spool struct {
	dir  string
	held [][]byte
	size int
	file *os.File // nil as long as all of it is held
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.size+len(p) > heldInMemory {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	if s.file != nil {
		return s.file.Write(p)
	}
	s.held = append(s.held, slices.Clone(p))
	s.size += len(p)
	return len(p), nil
}

// spill goes on in a file.
func (s *spool) spill() error {
	file, err := os.CreateTemp(s.dir, "layer-")
	if err != nil {
		return err
	}
	s.file = file
	for _, part := range s.held {
		if _, err := file.Write(part); err != nil {
			return err
		}
	}
	s.held = nil
	return nil
}

// Close ends writing.
func (s *spool) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Open returns what was written from its beginning.
func (s *spool) Open() (io.ReadCloser, error) {
	if s.file != nil {
		return os.Open(s.file.Name())
	}
	parts := make([]io.Reader, len(s.held))
	for i, part := range s.held {
		parts[i] = bytes.NewReader(part)
	}
	return io.NopCloser(io.MultiReader(parts...)), nil
}
