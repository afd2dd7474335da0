// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are a command's input and outputs. Results go to Out, all else to Err.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	// Terminal says that Err is a terminal, which may show colour.
	Terminal bool
	// Interactive says that a person can be asked: In and Err are terminals.
	Interactive bool
	// Width returns how many columns the terminal has, or 0. May be nil.
	Width func() int
}

// OSStreams returns the process's own streams.
func OSStreams() Streams {
	terminal := isTerminal(os.Stderr)
	return Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Terminal: terminal, Interactive: terminal && isTerminal(os.Stdin), Width: stderrWidth,
	}
}

func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) }

// stderrWidth asks each time: a window can be resized.
func stderrWidth() int {
	width, _, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil {
		return 0
	}
	return width
}
