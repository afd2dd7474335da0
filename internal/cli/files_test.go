// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/report"
)

// A file with certificates was once cut after 1 MiB without a word, so that those behind were not trusted.
func TestAFileThatIsTooLargeIsRefusedAndNotCut(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	write := func(size int) string {
		name := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(name, bytes.Repeat([]byte("#"), size), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if text, err := readSmallFile(write(most)); err != nil || len(text) != most {
		t.Errorf("1 MiB: %d bytes, %v", len(text), err)
	}
	large := write(most + 1)
	for name, err := range map[string]error{
		"key": second(readSmallFile(large)), "authority": second((&connectionFlags{caFile: large}).connect(&app{}, registry.Anonymous{})),
	} {
		if p := report.Of(err); p.Exit != report.ExitUsage || !strings.Contains(p.Line, "more than 1 MiB") {
			t.Errorf("%s: exit %d, %q", name, p.Exit, p.Line)
		}
	}
}

// Whatever keeps a file from being read that a flag names, the exit code is that of a wrong call.
func TestAFileThatCannotBeReadIsAWrongCall(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"missing": filepath.Join(t.TempDir(), "missing"), "directory": t.TempDir()} {
		_, err := readSmallFile(file)
		if p := report.Of(err); p.Exit != report.ExitUsage || strings.Count(p.Line, file) != 1 || p.Hint == "" {
			t.Errorf("%s: exit %d, %q, hint %q", name, p.Exit, p.Line, p.Hint)
		}
	}
}

func second[T any](_ T, err error) error { return err }
