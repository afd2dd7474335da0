// SPDX-License-Identifier: Apache-2.0

package hugepages

import (
	"runtime"
	"syscall"
)

var _ = askInCommands()

// room is more than the heap of all but the largest sets.
const room = 128 << 20

// askInCommands asks, but not in the agent, which stays: there the kernel would in time fill up what
// the collector gave back. Whoever sets GOGC or GOMEMLIMIT has the heap as Go has it.
func askInCommands() bool {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if value, _ := syscall.Getenv(name); value != "" {
			return false
		}
	}
	if isAgent(commandLine()) {
		return false
	}
	return ask() == nil
}

// ask gives the kernel advice about room for the heap. Of that nothing is touched: it is let go at once,
// for the heap to grow into, and a collection that finds next to nothing makes that known.
func ask() error {
	heap := make([]byte, room)
	err := syscall.Madvise(heap, syscall.MADV_HUGEPAGE)
	runtime.KeepAlive(heap)
	runtime.GC()
	return err
}

// commandLine returns the arguments, each with a zero byte behind it, or as much as matters of them:
// package os, which has them, gets its turn later.
func commandLine() string {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = syscall.Close(fd) }() // it was only read from
	var line [4096]byte
	n, err := syscall.Read(fd, line[:])
	if err != nil {
		return ""
	}
	return string(line[:n])
}

// isAgent says whether one of the arguments is the agent's command.
func isAgent(line string) bool {
	const command = "\x00controller\x00"
	for at := range line {
		if len(line)-at >= len(command) && line[at:at+len(command)] == command {
			return true
		}
	}
	return false
}
