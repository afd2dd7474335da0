// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A step is one thing that the guide does.
type step struct {
	name string
	// run gives the commands.
	run func(context.Context, *story) error
	// check says what is not as it should be after them. It is repeated until nothing is missing
	// or the time is over.
	check  func(context.Context, *story) error
	within time.Duration
	// sabotage is what the check must notice.
	sabotage sabotage
}

// A sabotage makes a step go wrong in a way that its check has to notice. Every function but one of
// before and after may be nil.
type sabotage struct {
	what   string
	before func(context.Context, *story) error // in place when the commands run
	after  func(context.Context, *story) error // between the commands and the check
	// undo leaves the story so that the step can be run again, properly.
	undo func(context.Context, *story) error
}

func (b sabotage) spoilBefore(ctx context.Context, s *story) error { return call(ctx, s, b.before) }
func (b sabotage) spoilAfter(ctx context.Context, s *story) error  { return call(ctx, s, b.after) }
func (b sabotage) repair(ctx context.Context, s *story) error      { return call(ctx, s, b.undo) }

func call(ctx context.Context, s *story, f func(context.Context, *story) error) error {
	if f == nil {
		return nil
	}
	return f(ctx, s)
}

// stepError says at which step the demo failed.
type stepError struct {
	step string
	err  error
}

// Error implements error.
func (e *stepError) Error() string { return fmt.Sprintf("step %s: %s", e.step, e.err) }

// Unwrap returns the reason.
func (e *stepError) Unwrap() error { return e.err }

// unmet is an assertion that does not hold.
type unmet struct{ want, got string }

// Error implements error.
func (e *unmet) Error() string { return "expected " + e.want + "\n  but saw " + e.got }

// expect compares what is with what should be.
func expect[T comparable](what string, want, got T) error {
	if want == got {
		return nil
	}
	return &unmet{want: fmt.Sprintf("%s to be %v", what, want), got: fmt.Sprintf("%v", got)}
}

// perform runs one step and prints its line.
func (s *story) perform(ctx context.Context, st step, broken bool) error {
	s.shown, s.printed = nil, ""
	start := time.Now()
	err := s.attempt(ctx, st, broken)
	took := time.Since(start)
	if err == nil {
		s.line("✔", st.name, took)
		return nil
	}
	s.line("✗", st.name, took)
	if ctx.Err() == nil {
		s.explain(err)
	}
	return &stepError{step: st.name, err: err}
}

func (s *story) attempt(ctx context.Context, st step, broken bool) error {
	if broken {
		fmt.Fprintf(s.out, "  sabotage: %s\n", st.sabotage.what)
		if err := st.sabotage.spoilBefore(ctx, s); err != nil {
			return fmt.Errorf("sabotaging: %w", err)
		}
	}
	if err := st.run(ctx, s); err != nil {
		return err
	}
	if broken {
		if err := st.sabotage.spoilAfter(ctx, s); err != nil {
			return fmt.Errorf("sabotaging: %w", err)
		}
	}
	return s.await(ctx, st.check, st.within)
}

// pause is the time between two looks at the cluster.
const pause = 150 * time.Millisecond

// lookLimit bounds a single check: one that is under way when the time is over may end, so that what
// is reported is what is missing and not that there was no time to look.
const lookLimit = 30 * time.Second

// await repeats a check until it finds nothing missing.
func (s *story) await(ctx context.Context, check func(context.Context, *story) error, limit time.Duration) error {
	over := time.NewTimer(limit)
	defer over.Stop()
	for {
		missing := s.look(ctx, check)
		if missing == nil {
			return nil
		}
		if s.agent != nil && s.agent.ended() {
			return fmt.Errorf("the agent has ended by itself: %w", missing)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over.C:
			return fmt.Errorf("not within %s: %w", limit, missing)
		case <-time.After(pause):
		}
	}
}

func (s *story) look(ctx context.Context, check func(context.Context, *story) error) error {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	return check(ctx, s)
}

// line prints a step's result: its name, its duration and its commands.
func (s *story) line(mark, name string, took time.Duration) {
	fmt.Fprintf(s.out, "%s %-12s %5.1fs  %s\n", mark, name, took.Seconds(), strings.Join(s.shown, " && "))
}

// explain prints why a step failed: what was expected and seen, what its last command and the
// agent said.
func (s *story) explain(err error) {
	fmt.Fprintf(s.out, "  %s\n", err)
	var failed *commandError
	if s.printed != "" && !errors.As(err, &failed) {
		fmt.Fprintf(s.out, "  the last command said:\n%s", indent(s.printed))
	}
	if s.agent != nil {
		fmt.Fprintf(s.out, "  the agent's last lines, of %s:\n%s", s.agent.log, indent(tail(s.agent.log, 15)))
	}
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		b.WriteString("    " + line)
	}
	return b.String()
}

func findStep(all []step, name string) (step, bool) {
	for _, st := range all {
		if st.name == name {
			return st, true
		}
	}
	return step{}, false
}

func stepNames() []string {
	var names []string
	for _, st := range steps() {
		names = append(names, st.name)
	}
	return names
}
