// SPDX-License-Identifier: Apache-2.0

// Package measure takes the time, the CPU time and the memory of programs, and keeps what came of it.
package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// A Sample is one run of a program.
type Sample struct {
	// Wall is from start to end, CPU what the process itself used, in user and system mode.
	Wall, CPU time.Duration
	// PeakMiB is the largest resident set in MiB, 0 where the system does not tell.
	PeakMiB int64
	// ExitCode is not 0 only if Command was told to expect it.
	ExitCode int
}

// A Command is a program with its arguments, environment and directory.
type Command struct {
	Args []string
	// Env is the whole environment.
	Env []string
	Dir string
	// Accept holds exit codes besides 0 that are no failure: 1 of a diff.
	Accept []int
}

// Run runs a program to its end. Its output is kept only for the error of a run that failed.
func Run(ctx context.Context, c Command) (Sample, error) {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.Env, c.Dir, &output, &output
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	exit := &exec.ExitError{}
	if err != nil && !(errors.As(err, &exit) && slices.Contains(c.Accept, exit.ExitCode())) {
		return Sample{}, fmt.Errorf("running %s: %w\n%s", strings.Join(c.Args, " "), err, tail(output.Bytes(), 4000))
	}
	state := cmd.ProcessState
	return Sample{Wall: wall, CPU: state.UserTime() + state.SystemTime(), PeakMiB: peakMiB(state), ExitCode: state.ExitCode()}, nil
}

// Output runs a program and returns what it printed on its standard output.
func Output(ctx context.Context, c Command) (string, error) {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running %s: %w", strings.Join(c.Args, " "), err)
	}
	return string(out), nil
}

// Median returns the middle of the values, the mean of the two in the middle if their number is even, 0 of none.
func Median[T ~int64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Walls returns the wall times of samples.
func Walls(samples []Sample) []time.Duration {
	out := make([]time.Duration, 0, len(samples))
	for _, s := range samples {
		out = append(out, s.Wall)
	}
	return out
}

// CPUs returns the CPU times of samples.
func CPUs(samples []Sample) []time.Duration {
	out := make([]time.Duration, 0, len(samples))
	for _, s := range samples {
		out = append(out, s.CPU)
	}
	return out
}

// Peaks returns the largest resident sets of samples in MiB.
func Peaks(samples []Sample) []int64 {
	out := make([]int64, 0, len(samples))
	for _, s := range samples {
		out = append(out, s.PeakMiB)
	}
	return out
}

func tail(data []byte, n int) []byte {
	return data[max(0, len(data)-n):]
}
