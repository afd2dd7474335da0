// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// TestEveryLimitOfAnArchiveIsExact measures an archive and lets it meet a limit of one less than that,
// of that, and of one more: it is refused by the first one only, for the reason of that limit.
func TestEveryLimitOfAnArchiveIsExact(t *testing.T) {
	t.Parallel()
	path := strings.Repeat("a/", 9) + strings.Repeat("b", 200)
	header := entry{name: "a", content: "kind: A\n", header: tar.Header{
		PAXRecords: map[string]string{"comment": strings.Repeat("x", 3000)}, Format: tar.FormatPAX,
	}} // a block for the PAX header, six for its records, one for the header itself
	repeated := archive(entry{name: "a", content: strings.Repeat("kind: A\n", 4096)})
	packed := gz(repeated)
	for name, c := range map[string]struct {
		layer []byte
		limit func(l *artifact.Limits, n int)
		at    int
		want  artifact.Reason
	}{
		"bytes of the layer":   {gz(archive(file("a"))), func(l *artifact.Limits, n int) { l.Compressed = int64(n) }, len(gz(archive(file("a")))), artifact.TooLarge},
		"bytes of all files":   {gz(archive(file("a"), file("b"))), func(l *artifact.Limits, n int) { l.Extracted = int64(n) }, 16, artifact.TooLarge},
		"bytes of a file":      {gz(archive(file("a"))), func(l *artifact.Limits, n int) { l.File = int64(n) }, 8, artifact.FileTooLarge},
		"entries":              {gz(archive(file("a"), dir("b/"), file("c"))), func(l *artifact.Limits, n int) { l.Entries = n }, 3, artifact.TooManyEntries},
		"implied directories":  {gz(archive(file("a/b/c/d"))), func(l *artifact.Limits, n int) { l.Entries = n }, 4, artifact.TooManyEntries},
		"bytes of a header":    {gz(archive(header)), func(l *artifact.Limits, n int) { l.HeaderBytes = int64(n) }, 8 * 512, artifact.HeaderTooLarge},
		"bytes of a path":      {gz(archive(file(path))), func(l *artifact.Limits, n int) { l.PathBytes = n }, len(path), artifact.PathTooLong},
		"levels of a path":     {gz(archive(file(path))), func(l *artifact.Limits, n int) { l.Depth = n }, 10, artifact.PathTooDeep},
		"where the ratio ends": {packed, func(l *artifact.Limits, n int) { l.Ratio, l.RatioFrom = 1, int64(n) }, len(repeated), artifact.RatioTooHigh},
		"ratio": {
			packed, func(l *artifact.Limits, n int) { l.Ratio, l.RatioFrom = int64(n), 1 },
			(len(repeated) + len(packed) - 1) / len(packed), artifact.RatioTooHigh,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, limit := range []int{c.at - 1, c.at, c.at + 1} {
				var limits artifact.Limits
				c.limit(&limits, limit)
				_, err := artifact.Extract(t.Context(), bytes.NewReader(c.layer), gzipType, filepath.Join(t.TempDir(), "out"), limits)
				var refused *artifact.RefusedError
				switch {
				case limit >= c.at && err != nil:
					t.Errorf("%d are refused by a limit of %d: %v", c.at, limit, err)
				case limit < c.at && (!errors.As(err, &refused) || refused.Reason != c.want):
					t.Errorf("%d with a limit of %d: got %v, want %s", c.at, limit, err, c.want)
				}
			}
		})
	}
}

// TestTheDefaultLimitsAreThoseDecided keeps a default from being changed by the way.
func TestTheDefaultLimitsAreThoseDecided(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	want := artifact.Limits{
		Compressed: 256 * mib, Extracted: 1024 * mib, File: 64 * mib, Entries: 20_000, HeaderBytes: 64 << 10,
		PathBytes: 1024, Depth: 32, Ratio: 100, RatioFrom: 10 * mib,
	}
	if diff := cmp.Diff(want, artifact.DefaultLimits()); diff != "" {
		t.Error(diff)
	}
}

// tooMany are entries of archives with far more than are unpacked.
func tooMany() map[string]func(i int) entry {
	return map[string]func(i int) entry{
		"files":                             func(i int) entry { return entry{name: fmt.Sprintf("%d/%d", i/1000, i)} },
		"directories":                       func(i int) entry { return dir(fmt.Sprintf("%d/%d/", i/1000, i)) },
		"files in directories of their own": func(i int) entry { return entry{name: fmt.Sprintf("%d/%d/x", i/1000, i)} },
	}
}

// watched is an archive that notes when it was last read from, and what was where it goes at some point before.
type watched struct {
	content *bytes.Reader
	parent  string
	left    int // bytes until that point
	found   int // directories and files
	last    time.Time
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.content.Read(p)
	if w.left > 0 && w.left <= n {
		found, err := os.ReadDir(w.parent)
		must(err)
		w.found = len(found)
	}
	w.left -= n
	w.last = time.Now()
	return n, err
}

// refuseTooMany unpacks an archive, which the default limit ends early, and sees that nothing stays of what
// was unpacked until then. It returns how long it took from the last byte that was read.
func refuseTooMany(t testing.TB, layer []byte) time.Duration {
	t.Helper()
	const before = 5_000 * 512 // bytes: it is refused when about 10,000 headers were read, or 20,000
	parent := t.TempDir()
	w := &watched{content: bytes.NewReader(layer), parent: parent, left: before}
	_, err := artifact.Extract(t.Context(), w, tarType, filepath.Join(parent, "out"), artifact.Limits{})
	took := time.Since(w.last)
	var refused *artifact.RefusedError
	if !errors.As(err, &refused) || refused.Reason != artifact.TooManyEntries {
		t.Errorf("got %v", err)
	}
	if w.found != 1 {
		t.Errorf("%d directories were there before it was refused, want the one that is written", w.found)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return took
}

func TestAHundredThousandEntriesAreRefusedAndRemoved(t *testing.T) {
	t.Parallel()
	for name, entryOf := range tooMany() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuseTooMany(t, archive(many(100_000, entryOf)...))
		})
	}
}

// BenchmarkRefusedArchiveIsRemoved reports how long what was unpacked takes to be removed once the archive is
// refused, which should be less than two seconds.
func BenchmarkRefusedArchiveIsRemoved(b *testing.B) {
	for name, entryOf := range tooMany() {
		b.Run(name, func(b *testing.B) {
			layer := archive(many(100_000, entryOf)...)
			var longest time.Duration
			for b.Loop() {
				longest = max(longest, refuseTooMany(b, layer))
			}
			b.ReportMetric(longest.Seconds(), "s/longest-removal")
		})
	}
}
