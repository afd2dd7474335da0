// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestTheHeapAsksForHugePages looks for what the kernel took down of its memory. One that has no huge
// pages says that the advice is invalid.
func TestTheHeapAsksForHugePages(t *testing.T) {
	err := onHugePages()
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

// TestRoomForTheHeapIsNotTaken compares what the process takes before and after.
func TestRoomForTheHeapIsNotTaken(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_ = onHugePages() // whether there are any does not matter here
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > before.HeapAlloc+(1<<20) {
		t.Errorf("%d bytes are taken, before it was %d", after.HeapAlloc, before.HeapAlloc)
	}
}
