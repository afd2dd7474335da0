// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// An event is a line of `go test -json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of what did not build
	FailedBuild string
	Test        string
	Output      string
	Elapsed     float64
}

// A tally counts tests, subtests among them.
type tally struct {
	passed, failed int
	skipped        []string
}

func (t *tally) add(o tally) {
	t.passed += o.passed
	t.failed += o.failed
	t.skipped = append(t.skipped, o.skipped...)
}

// String returns the counts in words.
func (t tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, len(t.skipped))
}

func (t tally) verdict(allowSkips bool) error {
	switch {
	case t.failed > 0:
		return errors.New(t.String())
	case len(t.skipped) > 0 && !allowSkips:
		return fmt.Errorf("%d tests were skipped, so nothing is known of what they are for: %s", len(t.skipped), strings.Join(t.skipped, ", "))
	}
	return nil
}

// A reader follows the events of one run of go test.
type reader struct {
	stdout io.Writer
	total  tally
	// What is known of packages and tests that still run.
	counts map[string]*tally
	output map[string][]string // of a test, a package or a build
}

// read follows a run's events, prints what they come to, and counts.
func read(in io.Reader, stdout io.Writer) (tally, error) {
	r := reader{stdout: stdout, counts: map[string]*tally{}, output: map[string][]string{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if errors.Is(err, io.EOF) {
			return r.total, nil
		}
		if err != nil {
			return r.total, err
		}
	}
}

func (r *reader) line(line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		fmt.Fprint(r.stdout, line) // not an event: whoever wrote it wanted it seen
		return
	}
	switch {
	case e.Action == "build-output":
		r.output[e.ImportPath] = append(r.output[e.ImportPath], e.Output)
	case e.Action == "output":
		r.keep(e)
	case e.Test != "":
		r.test(e)
	default:
		r.pkg(e)
	}
}

// keep remembers a test's output until it is known whether anyone needs to see it.
func (r *reader) keep(e event) {
	key := e.Package + " " + e.Test
	r.output[key] = append(r.output[key], e.Output)
}

func (r *reader) test(e event) {
	count := r.count(e.Package)
	key := e.Package + " " + e.Test
	switch e.Action {
	case "pass":
		count.passed++
	case "fail":
		count.failed++
		r.show(key)
	case "skip":
		count.skipped = append(count.skipped, e.Package+"."+e.Test)
	default:
		return
	}
	delete(r.output, key)
}

func (r *reader) count(pkg string) *tally {
	if r.counts[pkg] == nil {
		r.counts[pkg] = &tally{}
	}
	return r.counts[pkg]
}

// pkg closes a package: its line, and what it printed outside its tests if it failed.
func (r *reader) pkg(e event) {
	if !slices.Contains([]string{"pass", "fail", "skip"}, e.Action) {
		return
	}
	count := r.count(e.Package)
	if e.Action == "fail" {
		r.failed(e, count)
	}
	ran := count.passed + count.failed + len(count.skipped)
	switch {
	case ran == 0: // no test files, or none of the tests was asked for
	case e.Action == "fail":
		fmt.Fprintf(r.stdout, "FAIL %s %s %.1fs\n", e.Package, count, e.Elapsed)
	default:
		fmt.Fprintf(r.stdout, "ok   %s %s %.1fs\n", e.Package, count, e.Elapsed)
	}
	r.total.add(*count)
	delete(r.counts, e.Package)
	delete(r.output, e.Package+" ")
}

// failed tells why a package failed where no test of it says so: it did not build, it panicked, it
// ran out of time.
func (r *reader) failed(e event, count *tally) {
	if e.FailedBuild != "" {
		r.show(e.FailedBuild)
	}
	for key := range r.output {
		if strings.HasPrefix(key, e.Package+" Test") { // still running when the package ended
			count.failed++
			r.show(key)
			delete(r.output, key)
		}
	}
	if count.failed == 0 {
		count.failed++
	}
	r.show(e.Package + " ")
}

func (r *reader) show(key string) {
	for _, line := range r.output[key] {
		fmt.Fprint(r.stdout, line)
	}
}
