// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
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

// TestTheFirstCollectionComesLate looks at how much larger than what is in use the heap may become: at first, and
// when garbage was collected.
func TestTheFirstCollectionComesLate(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	collectLater([]string{"kustomizer", "push"})
	if got := percent(); got != 1600 {
		t.Errorf("at first it is %d %%", got)
	}
	runtime.GC()
	for end := time.Now().Add(time.Minute); percent() != 400; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("after a collection it is %d %%", percent())
		}
	}
}

func percent() uint64 {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
