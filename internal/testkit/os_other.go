// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package testkit

import (
	"errors"
	"os"
)

func tryLock(string) (unlock func(), err error) {
	return nil, errors.New("tests with processes run on Unix only")
}

func terminate(p *os.Process) error { return p.Kill() }

func suspend(*os.Process) error { return errors.ErrUnsupported }

func resume(*os.Process) error { return errors.ErrUnsupported }
