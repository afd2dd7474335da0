// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// auditLog is the API server's: one line a request.
type auditLog struct{ path string }

// mark is a place in the log.
type mark struct {
	path   string
	offset int64
}

func (a auditLog) mark() mark {
	m := mark{path: a.path}
	if info, err := os.Stat(a.path); err == nil {
		m.offset = info.Size()
	}
	return m
}

// settle waits until hardly anything is asked of the API server any more: controllers go on after a
// program has ended, and would take their time from what is measured next.
func (a auditLog) settle(ctx context.Context) error {
	const quiet, most = 16 << 10, 30 // bytes in a second, seconds
	for range most {
		before := a.mark()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		if a.mark().offset-before.offset < quiet {
			return nil
		}
	}
	return fmt.Errorf("the API server did not come to rest in %d s", most)
}

// count returns how many requests came since from programs whose name begins so, watches not
// counted twice.
func (m mark) count(agent string) (int, error) {
	f, err := os.Open(m.path)
	if err != nil {
		return 0, fmt.Errorf("reading the audit log: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(m.offset, io.SeekStart); err != nil {
		return 0, fmt.Errorf("reading the audit log: %w", err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return 0, fmt.Errorf("reading the audit log: %w", err)
	}
	n := 0
	for line := range bytes.Lines(data) {
		if bytes.Contains(line, []byte(`"userAgent":"`+agent)) && bytes.Contains(line, []byte(`"stage":"ResponseComplete"`)) {
			n++
		}
	}
	return n, nil
}
