// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kustomizer/kustomizer/bench/internal/measure"
)

// peakLimitMiB is what our process may take for the largest set that is promised.
const peakLimitMiB = 512

// A step is one command on the large set.
type step struct {
	name    string
	objects int
	change  bool
	more    []string
}

// large installs a set, changes one object and removes half of it. It fails if our process took
// more memory than it may, or if something else than the half is left.
func (b *bench) large(ctx context.Context, n int) (text string, err error) {
	const namespace = "bench-large"
	if err := b.kubectl(ctx, "create", "namespace", namespace); err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "## A set of %d objects\n\n`%s` · %s\n\n| | seconds | CPU seconds | peak MiB | requests |\n|---|---|---|---|---|\n",
		n, b.command, measure.Machine())
	steps := []step{
		{name: "install", objects: n},
		{name: "change one", objects: n, change: true},
		{name: "remove half", objects: n / 2, change: true, more: []string{"--prune", "--prune-guard=off"}},
	}
	for _, s := range steps {
		sample, requests, err := b.step(ctx, namespace, s)
		if err != nil {
			return "", err
		}
		line := fmt.Sprintf("| %s | %.1f | %.1f | %d | %d |\n", s.name, sample.Wall.Seconds(), sample.CPU.Seconds(), sample.PeakMiB, requests)
		fmt.Fprint(os.Stderr, line)
		out.WriteString(line)
		if sample.PeakMiB > peakLimitMiB {
			return "", fmt.Errorf("%s took %d MiB, more than %d", s.name, sample.PeakMiB, peakLimitMiB)
		}
	}
	records, err := b.left(ctx, namespace, n/2)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&out, "\nThe record of it lies in %d ConfigMaps. Load average after the run: %s.\n", records, measure.Load())
	return out.String(), nil
}

func (b *bench) step(ctx context.Context, namespace string, s step) (measure.Sample, int, error) {
	file := filepath.Join(b.dir, "large.yaml")
	if err := writeManifests(file, namespace, s.objects, s.change); err != nil {
		return measure.Sample{}, 0, err
	}
	args := append([]string{b.kustomizer, "apply", "inventory", "bench", "-n", namespace, "-f", file, "--timeout=30m"}, s.more...)
	before := b.audit.mark()
	sample, err := measure.Run(ctx, measure.Command{Args: args, Env: b.environment(b.sandbox.Kubeconfig), Dir: b.dir})
	if err != nil {
		return sample, 0, err
	}
	requests, err := before.count(userAgent(b.kustomizer))
	return sample, requests, err
}

// left counts what is left, and returns how many ConfigMaps hold the record.
func (b *bench) left(ctx context.Context, namespace string, want int) (records int, err error) {
	for _, kind := range []string{"configmaps", "services", "serviceaccounts", "deployments"} {
		names, err := b.names(ctx, namespace, kind)
		if err != nil {
			return 0, err
		}
		found := 0
		for _, name := range names {
			switch {
			case strings.HasPrefix(name, "app-"):
				found++
			case strings.HasPrefix(name, "inv-bench-record-"):
				records++
			}
		}
		if found != want/4 {
			return 0, fmt.Errorf("%d %s are left, not %d", found, kind, want/4)
		}
	}
	if records < 2 {
		return records, errors.New("the record is not split")
	}
	return records, nil
}

func (b *bench) names(ctx context.Context, namespace, kind string) ([]string, error) {
	output, err := measure.Output(ctx, measure.Command{
		Args: []string{b.sandbox.Kubectl, "-n", namespace, "get", kind, "-o", `jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}`},
		Env:  b.environment(b.sandbox.Kubeconfig), Dir: b.dir,
	})
	return strings.Fields(output), err
}
