// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// TestAPipeInPlaceOfWhatWasListedIsNotWaitedFor puts a pipe where something else was when the tree was listed,
// and before it is packed: what is in "dir" comes after "dir.yaml", and is listed before it. Nobody ever writes
// to the pipe. Other systems tell of it in other words.
func TestAPipeInPlaceOfWhatWasListedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		held    bool // somebody has it open to write
	}{
		"a file":                       {"kind: A\n", false},
		"a file, with a writer":        {"kind: A\n", true},
		"an empty file":                {"", false},
		"an empty file, with a writer": {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeTree(t, dir, map[string]string{"dir/a": c.content, "dir.yaml": "packed before it"})
			swap := func(at string, _ bool) (bool, error) {
				if at != "dir.yaml" {
					return false, nil
				}
				return false, becomePipe(t, filepath.Join(dir, "dir", "a"), c.held)
			}
			_, _, err := packTree(t, artifact.Tree{Dir: dir, Ignored: swap})
			if err == nil || !strings.Contains(err.Error(), "the file changed while it was read") {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		writeTree(t, dir, map[string]string{"a/x": "x"})
		swap := func(at string, _ bool) (bool, error) {
			return false, becomePipe(t, filepath.Join(dir, at), false)
		}
		if _, _, err := packTree(t, artifact.Tree{Dir: dir, Ignored: swap}); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("got %v", err)
		}
	})
}

// becomePipe puts a named pipe in place of something. A pipe that is held is open, to be written to.
func becomePipe(t *testing.T, name string, held bool) error {
	t.Helper()
	if err := errors.Join(os.RemoveAll(name), syscall.Mkfifo(name, 0o600)); err != nil || !held {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0) // to open it for nothing but writing would wait for a reader
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return err
}
