// SPDX-License-Identifier: Apache-2.0

// Command artifacts measures pushing and pulling trees of 1, 10 and 100 MB beside oras, crane and
// Flux's own library, in one run and against one registry, and how long the answers take that
// need no registry. See ../README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The goals, as ratios to the better of the others.
const (
	megabyte   = 1_000_000
	instant    = 60 * time.Millisecond
	mostBlob   = 1.1
	memoryRoom = 1.25 // how much more memory a tree ten times as large may take
)

// atLeast is how many times faster a push has to be, by megabytes.
func atLeast() map[int]float64 { return map[int]float64{1: 1, 10: 1.5, 100: 2} }

func main() {
	var b bench
	flag.StringVar(&b.programs, "programs", ".build", "directory with kustomizer, oras, crane and flux")
	flag.StringVar(&b.results, "results", "RESULTS.md", "file for the results; empty for none")
	flag.IntVar(&b.runs, "runs", 5, "how often each program pushes and pulls each tree")
	flag.StringVar(&b.note, "note", "", "what to say about the machine")
	flag.Parse()
	if err := run(context.Background(), &b); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// bench is a run of everything.
type bench struct {
	programs, results, note string
	runs                    int
	registry, dir           string
}

func run(ctx context.Context, b *bench) error {
	var err error
	if b.programs, err = filepath.Abs(b.programs); err != nil {
		return err
	}
	if b.registry, err = registryOf(os.Getenv("KUSTOMIZER_SANDBOX")); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "kustomizer-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.install(); err != nil {
		return err
	}
	text := newReport(b)
	for _, size := range []int{1, 10, 100} {
		tree := filepath.Join(b.dir, fmt.Sprintf("tree-%d", size))
		files, err := writeTree(tree, size*megabyte)
		if err != nil {
			return err
		}
		figures, err := b.measure(ctx, tree, size)
		if err != nil {
			return err
		}
		text.add(size, files, figures)
		if b.results != "" { // what there is, should the rest take too long
			if err := text.write(b.results); err != nil {
				return err
			}
		}
	}
	if err := b.answers(ctx, text); err != nil {
		return err
	}
	fmt.Print(text.String())
	if b.results != "" {
		return text.write(b.results)
	}
	return nil
}

// registryOf returns the address of the sandbox's registry.
func registryOf(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("there is no sandbox: run this by make bench-artifacts")
	}
	text, err := os.ReadFile(filepath.Join(dir, "sandbox.json"))
	if err != nil {
		return "", err
	}
	var described struct{ Registry string }
	if err := json.Unmarshal(text, &described); err != nil {
		return "", err
	}
	return described.Registry, nil
}
