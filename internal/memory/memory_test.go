// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"strings"
	"testing"
)

func TestWhoSetsItHasItAsItIs(t *testing.T) {
	for name, c := range map[string]struct {
		env  string
		args []string
		want bool
	}{
		"a command":           {"", []string{"kustomizer", "push", "artifact"}, true},
		"the agent":           {"", []string{"kustomizer", "controller"}, false},
		"GOGC is set":         {"GOGC=50", []string{"kustomizer", "push"}, false},
		"GOMEMLIMIT is set":   {"GOMEMLIMIT=1GiB", []string{"kustomizer", "push"}, false},
		"another is set only": {"GODEBUG=madvdontneed=1", []string{"kustomizer", "push"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOGC", "")
			t.Setenv("GOMEMLIMIT", "")
			if key, value, found := strings.Cut(c.env, "="); found {
				t.Setenv(key, value)
			}
			if got := collectLater(c.args); got != c.want {
				t.Errorf("collected later: %t, want %t", got, c.want)
			}
		})
	}
}
