// SPDX-License-Identifier: Apache-2.0

package testkit

import "syscall"

// processAttr makes a process die with the thread that started it.
func processAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
