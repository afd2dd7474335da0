// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// childAttr gives a child a process group of its own. Without Linux's
// parent-death signal, only an orderly end of the supervisor ends its children.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// startTime identifies a process among all that ever had its pid. It is empty
// when there is none.
func startTime(pid int) string {
	out, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
