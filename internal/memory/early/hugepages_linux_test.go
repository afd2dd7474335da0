// SPDX-License-Identifier: Apache-2.0

package early

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheHeapAsksForHugePages looks for what the kernel took down of its memory. One that has no huge
// pages says that the advice is invalid.
func TestTheHeapAsksForHugePages(t *testing.T) {
	err := ask()
	maps, problem := os.ReadFile("/proc/self/smaps")
	if problem != nil {
		t.Fatal(problem)
	}
	asked := slices.ContainsFunc(strings.Split(string(maps), "\n"), func(line string) bool {
		flags, found := strings.CutPrefix(line, "VmFlags:")
		return found && slices.Contains(strings.Fields(flags), "hg")
	})
	if asked == errors.Is(err, syscall.EINVAL) {
		t.Errorf("asked for huge pages: %t, with the error %v", asked, err)
	}
}

// TestRoomForTheHeapIsNotTaken compares what the process takes before and after, and sees that nothing had to
// be collected for it: that takes longer than all the rest.
func TestRoomForTheHeapIsNotTaken(t *testing.T) {
	before := settled()
	_ = ask() // whether there are any does not matter here
	after := settled()
	if most := before.HeapInuse + before.StackInuse + 1<<20; after.HeapInuse+after.StackInuse > most {
		t.Errorf("%d bytes are taken, which should be at most %d", after.HeapInuse+after.StackInuse, most)
	}
	if after.NumGC != before.NumGC {
		t.Errorf("garbage was collected %d times", after.NumGC-before.NumGC)
	}
	if after.HeapIdle < room {
		t.Errorf("the heap has room for %d bytes more, want %d", after.HeapIdle, room)
	}
}

// settled says what is taken when no goroutine has the room as its stack any more: it may have its end still
// before it when it has told how it went.
func settled() runtime.MemStats {
	var now runtime.MemStats
	for end := time.Now().Add(time.Minute); ; runtime.Gosched() {
		runtime.ReadMemStats(&now)
		if now.StackInuse < room/2 || time.Now().After(end) {
			return now
		}
	}
}

func TestTheAgentDoesNotAsk(t *testing.T) {
	for line, want := range map[string]bool{
		"kustomizer\x00controller\x00":                         true,
		"kustomizer\x00--verbose\x00controller\x00--watch\x00": true,
		"kustomizer\x00push\x00artifact\x00":                   false,
		"kustomizer\x00controller.yaml\x00":                    false,
		"controller\x00":                                       false,
		"":                                                     false,
	} {
		if got := isAgent(line); got != want {
			t.Errorf("%q is the agent: %t, want %t", line, got, want)
		}
	}
	if line := commandLine(); !strings.HasPrefix(line, os.Args[0]+"\x00") {
		t.Errorf("the command line is %q, want that of %s", line, os.Args[0])
	}
}

func TestWhoSetsTheHeapHasItAsItIs(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "1GiB")
	if inCommands() {
		t.Error("it asked, though GOMEMLIMIT is set")
	}
}
