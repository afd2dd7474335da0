// SPDX-License-Identifier: Apache-2.0

package main

import "syscall"

// dying makes a child die with the thread that started it.
func dying() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
