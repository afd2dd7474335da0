// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kustomizer/kustomizer/bench/internal/measure"
)

// report is the section of RESULTS.md.
type report struct {
	strings.Builder
	peaks []peak
}

// peak is the memory that the largest run with a tree took, in MiB.
type peak struct {
	size       int
	push, pull int64
}

func newReport(b *bench) *report {
	r := &report{}
	fmt.Fprintf(r, "## Pushing and pulling artifacts\n\n`make bench-artifacts`: %s. Medians of %d runs after one that does not count, each push to a repository of its own;\n"+
		"what was pulled is what was pushed. CPU and memory are those of all processes of a command. Beside them run the sandbox's registries.", measure.Machine(), b.runs)
	if b.note != "" {
		r.WriteString(" " + b.note)
	}
	r.WriteString("\n")
	return r
}

// add writes the table of a tree, and whether the goals are met.
func (r *report) add(size, files int, all []figures) {
	fmt.Fprintf(r, "\n### %d MB in %d files\n\n| | push | CPU | peak MiB | pull | CPU | peak MiB | blob kB |\n|---|---|---|---|---|---|---|---|\n", size, files)
	for _, f := range all {
		fmt.Fprintf(r, "| %s | %s | %s | %d | %s | %s | %d | %d |\n", f.program.name,
			milliseconds(measure.Median(measure.Walls(f.push))), milliseconds(measure.Median(measure.CPUs(f.push))), slices.Max(measure.Peaks(f.push)),
			milliseconds(measure.Median(measure.Walls(f.pull))), milliseconds(measure.Median(measure.CPUs(f.pull))), slices.Max(measure.Peaks(f.pull)), f.blob/1000)
	}
	ours, others := all[0], all[1:]
	r.peaks = append(r.peaks, peak{size: size, push: slices.Max(measure.Peaks(ours.push)), pull: slices.Max(measure.Peaks(ours.pull))})
	better := slices.MinFunc(others, func(a, b figures) int {
		return int(measure.Median(measure.Walls(a.push)) - measure.Median(measure.Walls(b.push)))
	})
	smallest := slices.MinFunc(others, func(a, b figures) int { return int(a.blob - b.blob) })
	faster := float64(measure.Median(measure.Walls(better.push))) / float64(measure.Median(measure.Walls(ours.push)))
	goal := atLeast()[size]
	fmt.Fprintf(r, "\n- A push is %.2f times as fast as that of the better of the others, %s (goal: %.1f): %s.\n", faster, better.program.name, goal, verdict(faster >= goal))
	// The goal is about the peer whose time a push is compared with. Who takes longer may well pack closer.
	larger := float64(ours.blob) / float64(better.blob)
	fmt.Fprintf(r, "- The blob is %.2f times that of the same, %s (goal: at most %.1f): %s.\n", larger, better.program.name, mostBlob, verdict(larger <= mostBlob))
	if smallest.program.name != better.program.name {
		slower := measure.Ratio(measure.Median(measure.Walls(smallest.push)), measure.Median(measure.Walls(ours.push)))
		fmt.Fprintf(r, "- The blob is %.2f times the smallest of all, that of %s, whose push takes %s as long.\n", float64(ours.blob)/float64(smallest.blob), smallest.program.name, slower)
	}
}

// answers measures what needs no registry.
func (b *bench) answers(ctx context.Context, r *report) error {
	r.WriteString("\n### Memory and answers\n\n")
	last, before := r.peaks[len(r.peaks)-1], r.peaks[len(r.peaks)-2]
	for _, m := range []struct {
		name         string
		last, before int64
	}{{"push", last.push, before.push}, {"pull", last.pull, before.pull}} {
		grows := float64(m.last) / float64(m.before)
		fmt.Fprintf(r, "- A %s of %d MB takes %d MiB, one of %d MB %d MiB (goal: bounded, at most %.2f times): %s.\n", m.name, last.size, m.last, before.size, m.before, memoryRoom, verdict(grows <= memoryRoom))
	}
	for _, args := range []string{"version --client", "push artifact --help", "completion bash", "__complete push art"} {
		var samples []measure.Sample
		for range 4*b.runs + 1 {
			s, err := b.shell(ctx, "exec kustomizer "+args, "", "")
			if err != nil {
				return err
			}
			samples = append(samples, s)
		}
		took := measure.Median(measure.Walls(samples))
		fmt.Fprintf(r, "- `kustomizer %s` takes %s (goal: at most %s): %s.\n", args, milliseconds(took), instant, verdict(took <= instant))
	}
	return nil
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

func (r *report) write(file string) error { return measure.WriteSection(file, "artifacts", r.String()) }
