// SPDX-License-Identifier: Apache-2.0

// Package report puts outcomes and errors into words: one line that says what went wrong, a hint
// at what to do, a stable code and an exit code. The command line prints them, and the agent uses
// the same words in conditions and events.
package report

import (
	"strings"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/render"
)

// The exit codes of the command line.
const (
	ExitDone        = 0
	ExitFailed      = 1 // of a diff command: there are differences
	ExitUsage       = 2 // usage or configuration
	ExitInvalid     = 3 // input that is no YAML, no kustomization, no artifact
	ExitAuth        = 4 // authentication or authorisation
	ExitNotFound    = 5
	ExitRefused     = 6 // refused or in conflict
	ExitUnverified  = 7 // verification failed, or nothing to verify
	ExitNotReady    = 8 // timed out, or not healthy
	ExitDiffFailed  = 9 // the general failure of a diff command, where 1 means differences
	ExitInterrupted = 130
	ExitTerminated  = 143
)

// Problem is an error in words.
type Problem struct {
	Line string // what was wanted and why it failed; may hold line breaks where a server's answer does
	Hint string // what to do about it, or nothing where there is no general advice
	Code string // stable, in CamelCase: scripts may match on it
	Exit int    // the exit code of a command that ends with it

	// Position is the place in a file of the user's that is at fault; the zero value where there is none.
	Position object.Position
}

// Of says in words what an error is. Its line is the error's own text unless a better one is known.
func Of(err error) Problem {
	if err == nil {
		return Problem{}
	}
	for _, known := range table() {
		if p, ok := known(err); ok {
			return complete(p, err)
		}
	}
	return complete(Problem{}, err)
}

func complete(p Problem, err error) Problem {
	if p.Line == "" {
		p.Line = err.Error()
	}
	if p.Code == "" {
		p.Code = "Failed"
	}
	if p.Exit == 0 {
		p.Exit = ExitFailed
	}
	p.Position = positionOf(err)
	return p
}

func positionOf(err error) object.Position {
	if e, ok := as[*object.SyntaxError](err); ok {
		return e.Position
	}
	if e, ok := as[*render.BuildError](err); ok {
		return e.Position
	}
	if e, ok := as[*render.RemoteError](err); ok {
		return e.Position
	}
	return object.Position{}
}

// All says in words what each of several collected errors is: those that [errors.Join] put
// together, at any depth, one by one.
func All(err error) []Problem {
	if err == nil {
		return nil
	}
	many, ok := err.(interface{ Unwrap() []error }) // only a join at the top is taken apart
	if !ok || !isJoin(err, many.Unwrap()) {
		return []Problem{Of(err)}
	}
	var out []Problem
	for _, one := range many.Unwrap() {
		out = append(out, All(one)...)
	}
	return out
}

// isJoin tells what errors.Join made from an error that wraps several and has a text of its own.
func isJoin(err error, parts []error) bool {
	texts := make([]string, len(parts))
	for i, part := range parts {
		texts[i] = part.Error()
	}
	return err.Error() == strings.Join(texts, "\n")
}

// Exit returns the exit code for several problems: that of the first.
func Exit(problems []Problem) int {
	if len(problems) == 0 {
		return ExitDone
	}
	return problems[0].Exit
}
