// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kustomizer/kustomizer/bench/internal/measure"
)

// figures are all samples, by tool and phase, and how long a bare client's first applies took.
type figures struct {
	tools map[string]map[phase]*series
	bare  []time.Duration
}

func newFigures() *figures { return &figures{tools: map[string]map[phase]*series{}} }

type series struct {
	samples  []measure.Sample
	requests []int64
}

func (f *figures) add(tool string, p phase, s measure.Sample, requests int) {
	if f.tools[tool] == nil {
		f.tools[tool] = map[phase]*series{}
	}
	if f.tools[tool][p] == nil {
		f.tools[tool][p] = &series{}
	}
	f.tools[tool][p].samples = append(f.tools[tool][p].samples, s)
	f.tools[tool][p].requests = append(f.tools[tool][p].requests, int64(requests))
}

// names returns the tools, ours first.
func (f *figures) names() []string {
	var out []string
	for name := range f.tools {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(rank(a)+a, rank(b)+b) })
	return out
}

func rank(name string) string {
	if name == ours {
		return "0"
	}
	return "1"
}

const ours = "kustomizer"

// markdown is a table of medians, one of ratios, and all raw values.
func (f *figures) markdown(added time.Duration) string {
	var out strings.Builder
	title := "No added latency"
	if added > 0 {
		title = fmt.Sprintf("%s added to each round trip", added)
	}
	fmt.Fprintf(&out, "### %s\n\nMedians: seconds (CPU seconds of the program itself, peak memory in MiB, requests).\n\n", title)
	f.table(&out, f.names(), func(name string, p phase) string {
		s := f.tools[name][p]
		return fmt.Sprintf("%.2f (%.2f, %d, %d)", measure.Median(measure.Walls(s.samples)).Seconds(),
			measure.Median(measure.CPUs(s.samples)).Seconds(), measure.Median(measure.Peaks(s.samples)), measure.Median(s.requests))
	})
	if f.tools[ours] != nil && len(f.tools) > 1 {
		fmt.Fprintf(&out, "How many times longer than %s:\n\n", ours)
		others := slices.DeleteFunc(f.names(), func(name string) bool { return name == ours })
		f.table(&out, others, func(name string, p phase) string {
			return measure.Ratio(measure.Median(measure.Walls(f.tools[name][p].samples)), measure.Median(measure.Walls(f.tools[ours][p].samples)))
		})
	}
	f.besideBare(&out)
	out.WriteString("Raw seconds:\n\n")
	f.table(&out, f.names(), func(name string, p phase) string {
		var raw []string
		for _, wall := range measure.Walls(f.tools[name][p].samples) {
			raw = append(raw, fmt.Sprintf("%.2f", wall.Seconds()))
		}
		return strings.Join(raw, " ")
	})
	return out.String()
}

// besideBare compares the first apply with what a bare client's requests take.
func (f *figures) besideBare(out *strings.Builder) {
	if len(f.bare) == 0 || f.tools[ours] == nil {
		return
	}
	median := measure.Median(f.bare)
	fmt.Fprintf(out, "A client that only sends each object's dry run and then its apply, %d at a time, takes %.2f s (raw:", inFlight, median.Seconds())
	for _, took := range f.bare {
		fmt.Fprintf(out, " %.2f", took.Seconds())
	}
	fmt.Fprintf(out, "). The first apply of %s takes %s that.\n\n", ours, measure.Ratio(measure.Median(measure.Walls(f.tools[ours][first].samples)), median))
}

func (f *figures) table(out *strings.Builder, names []string, cell func(name string, p phase) string) {
	out.WriteString("| |")
	for _, p := range phases() {
		fmt.Fprintf(out, " %s |", p)
	}
	out.WriteString("\n|---|" + strings.Repeat("---|", len(phases())) + "\n")
	for _, name := range names {
		fmt.Fprintf(out, "| %s |", name)
		for _, p := range phases() {
			fmt.Fprintf(out, " %s |", cell(name, p))
		}
		out.WriteString("\n")
	}
	out.WriteString("\n")
}
