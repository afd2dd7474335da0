// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadCountsAndShowsOnlyWhatFailed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		events string
		want   tally
		shown  string
	}{
		"a package that passes": {
			events: `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestA/sub"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok p\n"}
{"Action":"pass","Package":"p","Elapsed":1.25}`,
			want:  tally{passed: 2},
			shown: "ok   p 2 passed, 0 failed, 0 skipped 1.2s\n",
		},
		"a test that fails": {
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"why\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"fail","Package":"p","Elapsed":0}`,
			want:  tally{failed: 1},
			shown: "why\nFAIL\nFAIL p 0 passed, 1 failed, 0 skipped 0.0s\n",
		},
		"a test that is skipped": {
			events: `{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":0}`,
			want:  tally{skipped: []string{"p.TestA"}},
			shown: "ok   p 0 passed, 0 failed, 1 skipped 0.0s\n",
		},
		"a package that does not build": {
			events: `{"Action":"build-output","ImportPath":"p [p.test]","Output":"p.go:1: syntax\n"}
{"Action":"build-fail","ImportPath":"p [p.test]"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p [p.test]"}`,
			want:  tally{failed: 1},
			shown: "p.go:1: syntax\nFAIL p 0 passed, 1 failed, 0 skipped 0.0s\n",
		},
		"a test that panics": {
			events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: why\n"}
{"Action":"output","Package":"p","Output":"FAIL p\n"}
{"Action":"fail","Package":"p","Elapsed":0}`,
			want:  tally{failed: 1},
			shown: "panic: why\nFAIL p\nFAIL p 0 passed, 1 failed, 0 skipped 0.0s\n",
		},
		"a package without tests": {
			events: `{"Action":"output","Package":"p","Output":"? p [no test files]\n"}
{"Action":"skip","Package":"p","Elapsed":0}`,
		},
		"a line that is no event": {
			events: "go: downloading something",
			shown:  "go: downloading something",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var shown strings.Builder
			got, err := read(strings.NewReader(tt.events), &shown)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(tally{})); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.shown, shown.String()); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
		})
	}
}

func TestASkippedTestIsAFailure(t *testing.T) {
	t.Parallel()
	skipped := tally{passed: 3, skipped: []string{"p.TestA"}}
	if skipped.verdict(false) == nil {
		t.Error("a run with a skipped test passed")
	}
	if err := skipped.verdict(true); err != nil {
		t.Errorf("skips are allowed, but: %v", err)
	}
	if (tally{passed: 3, failed: 1}).verdict(true) == nil {
		t.Error("a run with a failed test passed")
	}
}
