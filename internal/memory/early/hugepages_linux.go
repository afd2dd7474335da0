// SPDX-License-Identifier: Apache-2.0

package early

import (
	"syscall"
	"unsafe"
)

var _ = inCommands()

const (
	// room is more than the heap of all but the largest sets.
	room = 128 << 20

	// size is that of a huge page, or a multiple: it only says from where on the kernel is asked.
	size = 2 << 20

	adviseCollapse = 25 // MADV_COLLAPSE
)

// inCommands does all that this package can, but not in the agent, which stays: there the kernel would in time
// fill up what the collector gave back. Whoever sets GOGC or GOMEMLIMIT has memory as Go has it.
func inCommands() bool {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if value, _ := syscall.Getenv(name); value != "" {
			return false
		}
	}
	if isAgent(commandLine()) {
		return false
	}
	asked := ask() == nil
	go mapProgram() // beside what packages do from here on
	return asked
}

// ask gives the kernel advice about room for the heap, of which nothing is touched. The heap has no room yet,
// and asks for a little at a time: a goroutine whose stack is as large has it given, and gives it back with its
// end. Had it been allocated, a collection would have to find that it is not needed.
func ask() error {
	first := new(byte) // lies where the heap begins
	done := make(chan error)
	go func() { done <- onLargeStack(false, uintptr(unsafe.Pointer(first))&^(size-1)) }()
	return <-done
}

// onLargeStack asks for huge pages for its stack, and for what is before it from the heap's beginning on, if that
// is where it is. What was touched before keeps the huge page at the beginning away, so that the kernel is asked
// to gather it; older ones can't.
//
//go:noinline
func onLargeStack(neverSet bool, beginning uintptr) error {
	if neverSet {
		large()
	}
	var last byte
	to := uintptr(unsafe.Pointer(&last))
	from := min(beginning, (to-room)&^(size-1))
	if err := advise(from, to-from, syscall.MADV_HUGEPAGE); err != nil {
		return err
	}
	_ = advise(beginning, size, adviseCollapse)
	return nil
}

// large returns so much that whoever could call it needs a stack of as many bytes. Nobody does.
//
//go:noinline
func large() (result [room / 2]byte) { return result }

// advise tells the kernel about memory. Of some that does not exist it complains, and does the rest.
func advise(from, length, advice uintptr) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_MADVISE, from, length, advice)
	if errno == 0 || errno == syscall.ENOMEM {
		return nil
	}
	return errno
}

// commandLine returns the arguments, each with a zero byte behind it, or as much as matters of them:
// package os, which has them, gets its turn later.
func commandLine() string {
	var line [4096]byte
	return string(line[:readStart("/proc/self/cmdline", line[:])])
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
