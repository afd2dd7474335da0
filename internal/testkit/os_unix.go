// SPDX-License-Identifier: Apache-2.0

//go:build unix

package testkit

import (
	"os"
	"syscall"
)

// tryLock takes an exclusive lock on a file, or fails at once. The lock ends
// with the process or with the returned function.
func tryLock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

func suspend(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
