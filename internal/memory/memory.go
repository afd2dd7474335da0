// SPDX-License-Identifier: Apache-2.0

// Package memory decides how often garbage is collected. It is imported for that alone.
package memory

import (
	"os"
	"runtime/debug"
	"slices"
)

// Libraries allocate some megabytes before main begins, and had them collected three times over: a
// fifth of what a short command takes. Only what a package's variables begin with comes before that;
// this package needs little, and has its turn before there is much.
var _ = collectLater(os.Args)

// collectLater has garbage collected less often than usual in commands that run for a moment: with
// a thousand objects that is a fifth of their time. The limit keeps sets of many thousands in bounds.
// The agent, which stays, and whoever sets GOGC or GOMEMLIMIT, have it as it is. It says whether it did.
func collectLater(args []string) bool {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" || slices.Contains(args, "controller") {
		return false
	}
	const percent, limit = 400, 320 << 20
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(limit)
	return true
}
