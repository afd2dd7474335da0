// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line: it turns flags into requests and results into text or JSON. It
// is the only package that prints. Each command has one file with one constructor; what they share
// is in [app]: the streams, the global flags and the connections made from them.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/report"
)

// Program says which program runs: under which name it was called, and its version.
type Program struct {
	Path    string // argv[0]: "flux" and "kubectl-kustomizer" change the name that is shown
	Version string
}

// command returns the name under which the program was called, as a shell knows it.
func (p Program) command() string {
	switch base := strings.TrimSuffix(filepath.Base(p.Path), ".exe"); base {
	case "flux", "kubectl-kustomizer":
		return base
	default:
		return "kustomizer"
	}
}

// name returns the program's name as help and hints show it.
func (p Program) name() string {
	if p.command() == "kubectl-kustomizer" {
		return "kubectl kustomizer"
	}
	return p.command()
}

// Run runs one command line to its end and returns the exit code.
func Run(ctx context.Context, program Program, args []string, streams Streams) (code int) {
	a := newApp(program, streams)
	defer a.recovered(&code)
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = a.ui.writeError()
	}
	return a.finish(err)
}

// recovered turns a panic into a failure: an exit code, and what is needed to report the defect.
func (a *app) recovered(code *int) {
	if r := recover(); r != nil {
		a.ui.Fail(fmt.Sprintf("internal error: %v", r), "this is a defect: please report it with the lines below")
		fmt.Fprintf(a.streams.Err, "%s", debug.Stack()) // there is nowhere left to say that stderr is gone
		*code = report.ExitFailed
	}
}

// Commands returns the tree of all commands, for the generated reference.
func Commands() *cobra.Command { return newRoot(newApp(Program{}, Streams{})) }

// exitCode is an error that says nothing and only sets the exit code: a diff that found
// differences.
type exitCode int

// Error implements error.
func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// finish prints what went wrong and returns the exit code.
func (a *app) finish(err error) int {
	var code exitCode
	switch {
	case err == nil:
		return report.ExitDone
	case errors.As(err, &code):
		return int(code)
	case isBrokenPipe(err):
		return report.ExitFailed
	}
	problems := report.All(err)
	for _, p := range problems {
		a.ui.Fail(p.Line, p.Hint)
	}
	if a.workflow != nil {
		a.ui.Annotate(a.workflow.annotations(problems))
	}
	return report.Exit(problems)
}

// isBrokenPipe says whether whoever read our output has stopped: head has seen enough. A pipe that
// breaks elsewhere, in a connection, is an error like others.
func isBrokenPipe(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && errors.Is(err, syscall.EPIPE) && strings.HasPrefix(path.Path, "/dev/std")
}

// WithSignals returns a context that the first interrupt or termination signal ends. A second
// signal finds the default handling restored and kills the process.
func WithSignals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	received := make(chan os.Signal, 1)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-received:
			signal.Stop(received)
			cancel(signalError(s))
		case <-ctx.Done():
			signal.Stop(received)
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

func signalError(s os.Signal) error {
	number, ok := s.(syscall.Signal)
	if !ok {
		number = syscall.SIGINT
	}
	return &report.SignalError{Name: s.String(), Number: int(number)}
}
