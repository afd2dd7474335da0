// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package testkit

import "syscall"

func processAttr() *syscall.SysProcAttr { return nil }
