// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// A phase is what is measured of a tool, in this order.
type phase string

const (
	first     phase = "first apply"
	unchanged phase = "unchanged"
	changed   phase = "one changed"
	diff      phase = "diff"
)

func phases() []phase { return []phase{first, unchanged, changed, diff} }

// A tool is a program that makes a set of manifests true in a namespace.
type tool struct {
	name string
	// apply and diff return a command line for a namespace and a file of manifests.
	apply, diff func(namespace, file string) []string
	slow        bool  // a request after the other
	accept      []int // exit codes of diff that say that there are differences
}

// kubectl is one of any version.
func kubectl(program string) tool {
	return tool{
		apply: func(_, file string) []string { return []string{program, "apply", "--server-side", "-f", file} },
		diff:  func(_, file string) []string { return []string{program, "diff", "--server-side", "-f", file} },
		slow:  true,
		// diff(1) itself says 1 where there are differences.
		accept: []int{1},
	}
}

// tools returns the tools that were asked for.
func (b *bench) tools() ([]tool, error) {
	known := map[string]tool{
		"kustomizer": {
			apply: func(ns, file string) []string {
				return []string{b.kustomizer, "apply", "inventory", "bench", "-n", ns, "-f", file, "--timeout=10m"}
			},
			diff: func(ns, file string) []string {
				return []string{b.kustomizer, "diff", "inventory", "bench", "-n", ns, "-f", file, "--timeout=10m"}
			},
			accept: []int{1},
		},
		"kubectl":      kubectl(b.sandbox.Kubectl),
		"kubectl-1.33": kubectl(b.oldKubectl),
		"published": {
			apply: func(ns, file string) []string { return []string{b.published, "apply", ns, file} },
			diff:  func(ns, file string) []string { return []string{b.published, "diff", ns, file} },
			slow:  true,
		},
		"kapp": {
			apply: func(ns, file string) []string {
				return []string{b.kapp, "deploy", "-a", "bench", "-n", ns, "-f", file, "-y", "--wait=false"}
			},
			diff: func(ns, file string) []string {
				return []string{b.kapp, "deploy", "-a", "bench", "-n", ns, "-f", file, "--diff-run"}
			},
		},
	}
	var out []tool
	for name := range strings.SplitSeq(b.options.tools, ",") {
		t, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("there is no tool %q", name)
		}
		t.name = name
		out = append(out, t)
	}
	return out, nil
}
