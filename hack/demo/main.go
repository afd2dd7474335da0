// SPDX-License-Identifier: Apache-2.0

// Command demo runs the guide from its first command to its last in a sandbox: it publishes the
// demo app, installs the agent, has it deploy, update, correct, hold and promote, and asserts every
// step against the cluster.
//
//	go run ./hack/demo            # or: make demo
//	KEEP=1 go run ./hack/demo     # leaves everything running and says how to look around
//	DEMO_BREAK=drift go run ./hack/demo
//
// The last one sabotages a step: the demo must then fail and name it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == tendCommand {
		os.Exit(tend(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case interrupted:
		os.Exit(130)
	default:
		os.Exit(exitCode(err))
	}
}

// usageError is a mistake in how the demo was called.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func exitCode(err error) int {
	var usage *usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// options say how the demo runs.
type options struct {
	bin      string // a kustomizer binary; empty: built
	keep     bool
	sabotage string // name of a step
	root     string // the repository
}

// run is the demo. It prints how it ended, and stops all that it started unless it is to be kept.
func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	opts, err := parse(args, getenv, out)
	if err == nil {
		err = perform(ctx, opts, out)
	}
	var failed *stepError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Fprintln(out, "✗ interrupted: everything is stopped")
	case errors.As(err, &failed):
		fmt.Fprintf(out, "✗ the demo failed at the step %q\n", failed.step)
	default:
		fmt.Fprintln(out, "✗", err)
	}
	return err
}

func parse(args []string, getenv func(string) string, out io.Writer) (options, error) {
	o := options{sabotage: getenv("DEMO_BREAK")}
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&o.bin, "bin", "", "use this kustomizer `binary` instead of building one")
	fs.BoolVar(&o.keep, "keep", getenv("KEEP") != "" && getenv("KEEP") != "0", "leave everything running at the end; KEEP=1 does the same")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, &usageError{err.Error()}
	}
	if fs.NArg() > 0 {
		return o, &usageError{fmt.Sprintf("unexpected argument %q", fs.Arg(0))}
	}
	if _, ok := findStep(steps(), o.sabotage); o.sabotage != "" && !ok {
		return o, &usageError{fmt.Sprintf("DEMO_BREAK=%s: there is no such step; there are %s", o.sabotage, strings.Join(stepNames(), ", "))}
	}
	var err error
	o.root, err = findRoot()
	return o, err
}

// findRoot finds the repository from the working directory upwards.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "sandbox", "cmd", "sandbox", "main.go")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", &usageError{"the demo runs inside a clone of the repository"}
		}
	}
}

// perform sets the scene, runs all steps, and stops everything.
func perform(ctx context.Context, opts options, out io.Writer) (err error) {
	start := time.Now()
	s, err := newStory(opts, out)
	if err != nil {
		return err
	}
	kept := false
	defer func() {
		if kept {
			return
		}
		if stopErr := s.stop(context.WithoutCancel(ctx), err == nil || ctx.Err() != nil); stopErr != nil {
			err = errors.Join(err, stopErr)
		}
	}()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	for _, st := range steps() {
		if err := s.perform(ctx, st, st.name == opts.sabotage); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\n%s\n", strings.TrimRight(s.events, "\n"))
	if opts.keep {
		kept = true
		s.sayHowToLook()
		return nil
	}
	fmt.Fprintf(out, "\n✔ the guide works: %d steps in %s\n", len(steps()), time.Since(start).Round(100*time.Millisecond))
	return nil
}
