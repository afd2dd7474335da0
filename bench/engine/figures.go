// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kustomizer/kustomizer/bench/internal/measure"
)

// figures are all samples, by tool and phase.
type figures map[string]map[phase]*series

type series struct {
	samples  []measure.Sample
	requests []int64
}

func (f figures) add(tool string, p phase, s measure.Sample, requests int) {
	if f[tool] == nil {
		f[tool] = map[phase]*series{}
	}
	if f[tool][p] == nil {
		f[tool][p] = &series{}
	}
	f[tool][p].samples = append(f[tool][p].samples, s)
	f[tool][p].requests = append(f[tool][p].requests, int64(requests))
}

// names returns the tools, ours first.
func (f figures) names() []string {
	var out []string
	for name := range f {
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
func (f figures) markdown(added time.Duration) string {
	var out strings.Builder
	title := "No added latency"
	if added > 0 {
		title = fmt.Sprintf("%s added to each round trip", added)
	}
	fmt.Fprintf(&out, "### %s\n\nMedians: seconds (CPU seconds of the program itself, peak memory in MiB, requests).\n\n", title)
	f.table(&out, f.names(), func(name string, p phase) string {
		s := f[name][p]
		return fmt.Sprintf("%.2f (%.2f, %d, %d)", measure.Median(measure.Walls(s.samples)).Seconds(),
			measure.Median(measure.CPUs(s.samples)).Seconds(), measure.Median(measure.Peaks(s.samples)), measure.Median(s.requests))
	})
	if f[ours] != nil && len(f) > 1 {
		fmt.Fprintf(&out, "How many times longer than %s:\n\n", ours)
		others := slices.DeleteFunc(f.names(), func(name string) bool { return name == ours })
		f.table(&out, others, func(name string, p phase) string {
			return measure.Ratio(measure.Median(measure.Walls(f[name][p].samples)), measure.Median(measure.Walls(f[ours][p].samples)))
		})
	}
	out.WriteString("Raw seconds:\n\n")
	f.table(&out, f.names(), func(name string, p phase) string {
		var raw []string
		for _, wall := range measure.Walls(f[name][p].samples) {
			raw = append(raw, fmt.Sprintf("%.2f", wall.Seconds()))
		}
		return strings.Join(raw, " ")
	})
	return out.String()
}

func (f figures) table(out *strings.Builder, names []string, cell func(name string, p phase) string) {
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
