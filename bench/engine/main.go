// SPDX-License-Identifier: Apache-2.0

// Command engine measures `kustomizer apply` and `diff inventory` beside other tools, on one API
// server, in one run: the first apply of a set, the same again, one object changed, and what would
// change. `make bench-engine` runs it in a sandbox of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kustomizer/kustomizer/bench/internal/measure"
)

// options are the program's flags.
type options struct {
	kustomizer, kapp, published string
	oldKubectl                  string
	tools                       string
	objects, runs, slow, large  int
	latencies                   string
	results                     string
	command                     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func parse() (options, error) {
	var o options
	flag.StringVar(&o.kustomizer, "kustomizer", "../bin/kustomizer", "this project's program")
	flag.StringVar(&o.kapp, "kapp", ".build/kapp", "kapp's program")
	flag.StringVar(&o.published, "published", ".build/published", "the program of ./published")
	flag.StringVar(&o.oldKubectl, "kubectl-1.33", ".build/kubectl-1.33", "kubectl 1.33; that of the sandbox is measured, too")
	flag.StringVar(&o.tools, "tools", "kustomizer,kubectl,kubectl-1.33,published,kapp", "what to measure")
	flag.IntVar(&o.objects, "objects", 1000, "how many objects, a quarter of each kind")
	flag.IntVar(&o.runs, "runs", 3, "how often each tool has its turn; medians are reported")
	flag.IntVar(&o.slow, "slow-runs", 0, "how often either kubectl and published, which take minutes, have theirs; 0 for as often")
	flag.IntVar(&o.large, "large", 0, "instead: install a set of so many objects, change one, remove half, and look at our memory")
	flag.StringVar(&o.latencies, "latencies", "0s,10ms", "latencies to add to each round trip")
	flag.StringVar(&o.results, "results", "", "file to write the figures to; without it they are printed only")
	flag.StringVar(&o.command, "command", "make bench-engine", "the command that the results name")
	flag.Parse()
	if flag.NArg() > 0 || o.objects < 4 || o.runs < 1 {
		return o, errors.New("there are no arguments, and at least 4 objects and 1 run")
	}
	if o.slow == 0 {
		o.slow = o.runs
	}
	for _, path := range []*string{&o.kustomizer, &o.kapp, &o.published, &o.oldKubectl} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return o, err
		}
		*path = absolute
	}
	return o, nil
}

func run(ctx context.Context) error {
	o, err := parse()
	if err != nil {
		return err
	}
	bench, err := newBench(o)
	if err != nil {
		return err
	}
	defer bench.close()
	if o.large > 0 {
		text, err := bench.large(ctx, o.large)
		return errors.Join(err, o.write("large", text))
	}
	machine := measure.Machine()
	var text strings.Builder
	fmt.Fprintf(&text, "## Apply and diff, %d objects\n\n`%s` · %s\n\nThe controller-manager runs `%s`.\n\n",
		o.objects, o.command, machine, bench.sandbox.Controllers)
	for latency := range strings.SplitSeq(o.latencies, ",") {
		added, err := time.ParseDuration(latency)
		if err != nil {
			return fmt.Errorf("reading latencies: %w", err)
		}
		figures, err := bench.series(ctx, added)
		if err != nil {
			return err
		}
		text.WriteString(figures.markdown(added))
	}
	fmt.Fprintf(&text, "Load average after the run: %s.\n", measure.Load())
	return o.write("engine", text.String())
}

// write prints what came of it and keeps it where that was asked for.
func (o options) write(section, text string) error {
	fmt.Print(text)
	if o.results == "" || text == "" {
		return nil
	}
	return measure.WriteSection(o.results, section, text)
}
