// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"strings"
	"testing"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

func TestForeignTextIsMadeFitForAMessage(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"two\n  lines\t":         "two lines",
		"a \x1b[31mred\x1b[0m b": "a [31mred [0m b",
		"left\u202eright":        "left right",
		"bad \xff byte":          "bad ? byte",
	} {
		if got := artifact.Line(given); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
	long := strings.Repeat("é", 400)
	if got := artifact.Line(long); got != long {
		t.Error("Line cut a long text")
	}
	if got := artifact.OneLine(long); len(got) > 310 || !strings.HasSuffix(got, "é…") {
		t.Errorf("OneLine: %d bytes, ends with %q", len(got), got[len(got)-6:])
	}
}
