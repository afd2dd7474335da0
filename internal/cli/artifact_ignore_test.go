// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// TestPlainPatternsMatchWhatParsedOnesDo compares them for lines and paths of few characters, so that many match.
func TestPlainPatternsMatchWhatParsedOnesDo(t *testing.T) {
	t.Parallel()
	source := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same cases each time
	word := func(of string, most int) string {
		var b strings.Builder
		for range 1 + source.IntN(most) {
			b.WriteByte(of[source.IntN(len(of))])
		}
		return b.String()
	}
	plain, matched := 0, 0
	for range 100_000 {
		line := word("ab.*!/?[]^-\\ ", 4)
		var path []string
		for range 1 + source.IntN(3) {
			path = append(path, word("ab.!?[]^- ", 3))
		}
		got := patternOf(line, nil)
		if _, ok := got.(plainPattern); ok {
			plain++
		}
		for _, dir := range []bool{false, true} {
			want := gitignore.ParsePattern(line, nil).Match(path, dir)
			if want == gitignore.Exclude {
				matched++
			}
			if found := got.Match(path, dir); found != want {
				t.Fatalf("%q with %q, a directory: %t: %d, want %d", line, path, dir, found, want)
			}
		}
	}
	if plain < 10_000 || matched < 10_000 {
		t.Errorf("%d lines were plain, %d matched: too few to tell anything", plain, matched)
	}
}

func TestDefaultPatternsArePlain(t *testing.T) {
	t.Parallel()
	for _, line := range defaultIgnored() {
		if _, ok := patternOf(line, nil).(plainPattern); !ok {
			t.Errorf("%s is parsed", line)
		}
	}
}
