// SPDX-License-Identifier: Apache-2.0

// Command sandbox builds, starts and stops a real Kubernetes control plane, a
// simulated node and two registries on loopback, for the demo and the tests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const usage = `usage:
  sandbox build                          build what it runs, if anything changed
  sandbox up   --dir DIR [flags]         start a sandbox and leave it running
  sandbox down --dir DIR                 stop it
  sandbox run  --dir DIR [flags] -- CMD  start it, run CMD with KUSTOMIZER_SANDBOX=DIR, stop it

flags of up and run:
  --bare                   etcd, API server and controller-manager only
  --registries             the two registries only
  --node                   with --bare: the scheduler and the simulated node as well
  --no-controller-manager  with --bare: without the controller-manager
  --controllers A,B        what the controller-manager runs, as its flag of that name (default: all that have work here)
  --timeout 2m             bounds starting, building not counted
  --while-pid PID          stop by itself when that process ends
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := dispatch(ctx, os.Args[1:])
	var exit exitCode
	switch {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(int(exit))
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
	default:
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
}

// exitCode is the exit code of the command that `sandbox run` ran.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		return flag.ErrHelp
	}
	o, rest, err := parse(args[0], args[1:])
	if err != nil {
		return err
	}
	switch args[0] {
	case "build":
		return build(ctx, o.source)
	case "up":
		return up(ctx, o)
	case "down":
		return down(o.dir)
	case "run":
		return run(ctx, o, rest)
	case "supervise":
		return supervise(ctx, o)
	}
	return fmt.Errorf("unknown command %q\n%s", args[0], usage)
}

// options says what to start and where.
type options struct {
	source    string // the sandbox folder of the repository
	dir       string // all state
	bare      bool
	node      bool
	noManager bool
	// registriesOnly excludes all of the above.
	registriesOnly bool
	// controllers are those that the controller-manager runs, as its flag of that name has them.
	controllers string
	timeout     time.Duration
	whilePID    int
}

func (o options) controlPlane() bool { return !o.registriesOnly }
func (o options) manager() bool      { return !o.bare || !o.noManager }
func (o options) withNode() bool     { return !o.bare || o.node }
func (o options) registries() bool   { return !o.bare }

func parse(command string, args []string) (options, []string, error) {
	var o options
	fs := flag.NewFlagSet(command, flag.ContinueOnError)
	fs.Usage = func() {}
	fs.StringVar(&o.dir, "dir", "", "state directory")
	fs.StringVar(&o.source, "source", "", "the repository's sandbox folder (default: found from the binary or the working directory)")
	fs.BoolVar(&o.bare, "bare", false, "control plane only")
	fs.BoolVar(&o.registriesOnly, "registries", false, "registries only")
	fs.BoolVar(&o.node, "node", false, "with --bare: scheduler and simulated node")
	fs.BoolVar(&o.noManager, "no-controller-manager", false, "with --bare: no controller-manager")
	fs.StringVar(&o.controllers, "controllers", allControllers, "what the controller-manager runs")
	fs.DurationVar(&o.timeout, "timeout", 2*time.Minute, "bounds starting")
	fs.IntVar(&o.whilePID, "while-pid", 0, "stop when this process ends")
	if err := fs.Parse(args); err != nil {
		return o, nil, err
	}
	if command != "run" && fs.NArg() > 0 {
		return o, nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.registriesOnly && o.bare {
		return o, nil, errors.New("--bare is without registries: give it or --registries")
	}
	if err := o.complete(command); err != nil {
		return o, nil, err
	}
	return o, fs.Args(), nil
}

func (o *options) complete(command string) (err error) {
	if command != "build" {
		if o.dir == "" {
			return errors.New("--dir is required")
		}
		if o.dir, err = filepath.Abs(o.dir); err != nil {
			return err
		}
	}
	if command == "down" {
		return nil
	}
	if o.source == "" {
		o.source, err = findSource()
	} else {
		o.source, err = filepath.Abs(o.source)
	}
	return err
}
