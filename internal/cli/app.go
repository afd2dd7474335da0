// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/kustomizer/kustomizer/internal/report"
)

// How long a command may take unless --timeout says otherwise.
const (
	ownTimeout  = time.Minute     // Kustomizer's commands
	fluxTimeout = 5 * time.Minute // the commands on Flux's resources
	noTimeout   = time.Duration(0)
)

// fluxNamespace is where delivery objects live unless something says otherwise.
const fluxNamespace = "flux-system"

// app is what every command is given.
type app struct {
	program Program
	streams Streams
	ui      *printer
	getenv  func(string) string
	// workflow is the step of GitHub Actions that this runs in, if any.
	workflow *workflow

	clock     *limited      // of the command that runs; nil where it has no limit
	timeout   time.Duration // of the flag; zero for the command's own
	namespace string        // of the flag
	kube      *genericclioptions.ConfigFlags
}

func newApp(program Program, streams Streams) *app {
	return &app{
		program: program, streams: streams, getenv: environment, ui: newPrinter(streams, environment), workflow: workflowOf(environment),
	}
}

// addGlobalFlags adds the flags that every command has. Those that choose the cluster are not
// shown in each command's help but by "options".
func (a *app) addGlobalFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&a.timeout, "timeout", 0, "how long the command may take, waits included and the time of an answer not (default 1m0s; 5m0s for commands on resources in the cluster)")
	fs.StringVarP(&a.namespace, "namespace", "n", "", "namespace of what the command is about (env KUSTOMIZER_NAMESPACE; for resources in the cluster the default is "+fluxNamespace+")")
	connection := pflag.NewFlagSet("connection", pflag.ContinueOnError)
	a.addConnectionFlags(connection)
	connection.VisitAll(func(f *pflag.Flag) { f.Hidden = true })
	fs.AddFlagSet(connection)
}

// addConnectionFlags adds kubectl's flags that say which cluster and as whom. There is no
// --request-timeout, which --timeout covers, and --server has no short form.
func (a *app) addConnectionFlags(fs *pflag.FlagSet) {
	a.kube = genericclioptions.NewConfigFlags(false)
	a.kube.Timeout, a.kube.Namespace = nil, nil
	server := a.kube.APIServer
	a.kube.APIServer = nil
	a.kube.AddFlags(fs)
	a.kube.APIServer = server
	fs.StringVar(server, "server", "", "The address and port of the Kubernetes API server")
}

// body is what a command does: check its arguments, make one call, print the value it returned.
type body func(ctx context.Context, args []string) error

// run makes a command's RunE from its body: with a time limit, and with errors that name what ended
// the command: its own limit, or a signal.
func (a *app) run(limit time.Duration, do body) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		limit, err := a.limit(cmd, limit)
		if err != nil {
			return err
		}
		if limit > 0 {
			clock, cancel := withLimit(ctx, limit, &report.TimeoutError{After: limit})
			defer cancel()
			ctx, a.clock = clock, clock
		}
		return withHelp(cmd, explainEnd(ctx, do(ctx, args)))
	}
}

// limit returns how long a command may take: what --timeout says, else without end where it follows
// what happens, else the command's own.
func (a *app) limit(cmd *cobra.Command, own time.Duration) (time.Duration, error) {
	following := cmd.Flags().Lookup("watch")
	switch {
	case cmd.Flags().Changed("timeout") && a.timeout <= 0:
		return 0, usagef(cmd, "--timeout must be more than zero")
	case cmd.Flags().Changed("timeout"):
		return a.timeout, nil
	case following != nil && following.Value.String() == "true":
		return noTimeout, nil
	default:
		return own, nil
	}
}

// explainEnd says what ended a context where an error only says that it ended.
func explainEnd(ctx context.Context, err error) error {
	end := context.Cause(ctx)
	if err == nil || end == nil {
		return err
	}
	var signal *report.SignalError
	if errors.As(end, &signal) {
		return signal
	}
	var limit *report.TimeoutError
	var explained *report.WaitError
	if errors.As(end, &limit) && !errors.As(err, &explained) &&
		(errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return fmt.Errorf("%w: %w", limit, err)
	}
	return err
}

// withHelp gives an error of usage that has no hint the command's help as its hint.
func withHelp(cmd *cobra.Command, err error) error {
	var usage *report.UsageError
	if errors.As(err, &usage) && usage.Hint == "" {
		usage.Hint = helpHint(cmd)
	}
	return err
}

func helpHint(cmd *cobra.Command) string { return "see: " + cmd.CommandPath() + " --help" }
