// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// runOnTerminal runs a command at a terminal, at which keys were already pressed, and returns what it shows.
func runOnTerminal(cmd *exec.Cmd, keys string) (string, error) {
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer screen.Close()
	fd := int(screen.Fd()) //nolint:gosec // a small number
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return "", err
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return "", err
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	defer terminal.Close()
	if _, err := io.WriteString(screen, keys); err != nil {
		return "", err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	if err := cmd.Start(); err != nil {
		return "", err
	}
	_ = terminal.Close() // the screen is at its end when the command's copies are closed, too
	var shown bytes.Buffer
	_, _ = io.Copy(&shown, screen)
	return shown.String(), cmd.Wait()
}
