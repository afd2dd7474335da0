// SPDX-License-Identifier: Apache-2.0

//go:build unix

package artifact

import (
	"os"
	"syscall"
)

// toRead opens a file, without waiting for a writer where a pipe took its place since it was listed. It
// also spares four system calls with which package os would find out whether to wait.
const toRead = os.O_RDONLY | syscall.O_NONBLOCK
