// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package measure

import "os"

func peakMiB(*os.ProcessState) int64 { return 0 }
