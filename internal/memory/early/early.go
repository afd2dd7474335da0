// SPDX-License-Identifier: Apache-2.0

// Package early sees to memory before other packages allocate any. It is imported for that alone.
//
// Packages that need little have their turn before others, and this one needs nothing but the system's
// calls. It has the heap of a command lie on huge pages where the system gives them to whom asks, and the
// program's file mapped at one go: memory that is touched for the first time costs an exception a page, which
// is dear in virtual machines. On some, a command with a thousand objects spends half of its time on it.
package early

import "runtime"

var _ = noSamples()

// noSamples ends that Go notes down who allocated, once in a while. Nothing here shows that, and looking for
// the callers reads much of the program's file that a short command does not need.
func noSamples() bool {
	runtime.MemProfileRate = 0
	return true
}
