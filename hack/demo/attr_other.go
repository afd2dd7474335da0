// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package main

import "syscall"

// detached keeps a process out of reach of the terminal's interrupt, where there is a way to.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
