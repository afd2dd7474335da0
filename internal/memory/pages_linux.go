// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"runtime"
	"syscall"
)

// heapRoom is more than the heap of all but the largest sets.
const heapRoom = 128 << 20

// onHugePages has the heap lie on huge pages where the system gives them to whom asks. Memory that is
// touched for the first time costs an exception a page, which is dear in virtual machines, some of
// which spend half of a command's time on it. Of the room nothing is touched: it is let go at once, for
// the heap to grow into, and a collection that finds next to nothing makes that known.
func onHugePages() error {
	room := make([]byte, heapRoom)
	err := syscall.Madvise(room, syscall.MADV_HUGEPAGE)
	runtime.KeepAlive(room)
	runtime.GC()
	return err
}
