// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestALogIsReadFromTheBeginningOfALine begins to read while a line is being written.
func TestALogIsReadFromTheBeginningOfALine(t *testing.T) {
	t.Parallel()
	event := func(uri string) string {
		return fmt.Sprintf(`{"kind":"Event","auditID":%q,"requestURI":%q,"verb":"get","user":{"username":"jane"},"note":%q}`+"\n", uri, uri, strings.Repeat("x", 9000))
	}
	for _, before := range []string{"", event("/before"), event("/before") + event("/just-before")} {
		for _, seen := range []int{0, 1, 10, 4096, 8192, 9000, len(event("/torn")) - 1} {
			path := filepath.Join(t.TempDir(), "audit.log")
			text := before + event("/torn")
			write := func(text string) {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(text[:len(before)+seen])
			log := newAuditLog(t, path)
			write(text + event("/after"))
			if err := log.readUntil("/after"); err != nil {
				t.Fatalf("with %d bytes of a line seen: %v", seen, err)
			}
			if got := log.snapshot(); len(got) != 2 || got[0].URI != "/torn" {
				t.Errorf("with %d bytes of a line seen: %s", seen, got)
			}
		}
	}
}
