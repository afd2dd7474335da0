// SPDX-License-Identifier: Apache-2.0

// Package memory decides how often garbage is collected. It is imported for that alone.
package memory

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
)

// Libraries allocate some megabytes before main begins, and had them collected three times over: a
// fifth of what a short command takes. Only what a package's variables begin with comes before that;
// this package needs little, and has its turn before there is much.
var _ = collectLater(os.Args)

// collectLater has garbage collected less often than usual in commands that run for a moment: with
// a thousand objects that is a fifth of their time. The first time comes late, since most commands are done before.
// The limit keeps sets of many thousands in bounds. The agent, which stays, and whoever sets GOGC or GOMEMLIMIT,
// have it as it is. It says whether it did.
func collectLater(args []string) bool {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" || slices.Contains(args, "controller") {
		return false
	}
	// The heap's size at which garbage is collected at first, and then how much larger than what is in use. Go
	// has no word for the first: it is as many percent of 4 MiB.
	const first, percent, limit = 64 << 20, 400, 320 << 20
	debug.SetGCPercent(first / (4 << 20) * 100)
	debug.SetMemoryLimit(limit)
	garbage := new([64]byte) // a smaller one may share its memory with what stays
	runtime.AddCleanup(garbage, func(percent int) { debug.SetGCPercent(percent) }, percent)
	return true
}
