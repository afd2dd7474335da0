// SPDX-License-Identifier: Apache-2.0

// Command gotest runs `go test` and makes its result short and strict: a line for each package, the
// output of what failed, and a count of tests. A skipped test is a failure unless skips are
// allowed, because a test that did not run has shown nothing.
//
//	go run ./hack/gotest -modules .,sandbox -- -count=1 ./...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
}

// A request is what the flags ask for.
type request struct {
	modules    []string // directories in which go test runs
	counts     string   // file to append "passed failed skipped" to, or empty
	allowSkips bool
	args       []string // of go test
}

func parse(args []string, stderr io.Writer) (request, error) {
	var req request
	fs := flag.NewFlagSet("gotest", flag.ContinueOnError)
	fs.SetOutput(stderr)
	modules := fs.String("modules", ".", "directories of the modules to test, with commas between them")
	fs.StringVar(&req.counts, "counts", "", "append the numbers of passed, failed and skipped tests to this file")
	fs.BoolVar(&req.allowSkips, "allow-skips", false, "a skipped test is no failure")
	if err := fs.Parse(args); err != nil {
		return req, err
	}
	req.modules = strings.Split(*modules, ",")
	req.args = fs.Args()
	if len(req.args) == 0 {
		req.args = []string{"./..."}
	}
	return req, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	req, err := parse(args, stderr)
	if err != nil {
		return err
	}
	start := time.Now()
	var all tally
	for _, dir := range req.modules {
		t, err := test(ctx, dir, req.args, stdout, stderr)
		if err != nil {
			return fmt.Errorf("testing %s: %w", dir, err)
		}
		all.add(t)
	}
	fmt.Fprintf(stdout, "%s in %s\n", all, time.Since(start).Round(time.Second))
	if req.counts != "" {
		if err := all.append(req.counts); err != nil {
			return err
		}
	}
	return all.verdict(req.allowSkips)
}

// test runs go test in one module. An error means that go test itself could not be run or understood.
func test(ctx context.Context, dir string, args []string, stdout, stderr io.Writer) (tally, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir, cmd.Stderr = dir, stderr
	// Interrupted, go test ends its test binaries; killed, it leaves them behind.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return tally{}, err
	}
	if err := cmd.Start(); err != nil {
		return tally{}, err
	}
	t, readErr := read(out, stdout)
	if readErr != nil {
		_, _ = io.Copy(io.Discard, out) // so that go test can end
	}
	waitErr := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return t, context.Cause(ctx)
	case readErr != nil:
		return t, readErr
	case waitErr != nil && t.failed == 0:
		return t, waitErr
	case t.passed+t.failed+len(t.skipped) == 0:
		return t, errors.New("no test ran")
	}
	return t, nil
}

func (t tally) append(file string) error {
	f, err := os.OpenFile(filepath.Clean(file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, t.passed, t.failed, len(t.skipped))
	return errors.Join(err, f.Close())
}
