// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"errors"
	"os/exec"
)

// runOnTerminal is for Linux, as the sandbox is.
func runOnTerminal(*exec.Cmd, string) (string, error) {
	return "", errors.New("there is a terminal for tests on Linux only")
}
