// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"os"
	"syscall"
)

// peakMiB reads the kernel's count, which is in KiB on Linux.
func peakMiB(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss / 1024
}
