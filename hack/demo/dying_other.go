// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "syscall"

// dying is for systems without Linux's parent-death signal: only an orderly end of the parent ends
// the child.
func dying() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
