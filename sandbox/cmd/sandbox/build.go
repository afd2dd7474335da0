// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// target is one binary to build.
type target struct {
	name    string
	module  string // folder of its module, below the sandbox folder
	pkg     string
	sources string // folder whose files, besides go.mod and go.sum, decide whether to build again
	ldflags string
	links   []string // other names of the binary
	note    string
}

func targets(source string) ([]target, error) {
	const version = "k8s.io/component-base/version"
	kubernetes, err := kubernetesVersion(source)
	if err != nil {
		return nil, err
	}
	return []target{
		{name: "sandbox", module: ".", pkg: "./cmd/sandbox", sources: "cmd/sandbox"},
		{name: "registry", module: "registry", pkg: ".", sources: "registry", note: "about half a minute"},
		{name: "kwok", module: "kwok", pkg: "sigs.k8s.io/kwok/cmd/kwok", sources: "kwok", note: "about a minute"},
		{
			name: "controlplane", module: ".", pkg: "./cmd/controlplane", sources: "cmd/controlplane",
			ldflags: fmt.Sprintf("-X %[1]s.gitVersion=v%[2]s.%[3]s.%[4]s -X %[1]s.gitMajor=%[2]s -X %[1]s.gitMinor=%[3]s"+
				" -X k8s.io/client-go/pkg/version.gitVersion=v%[2]s.%[3]s.%[4]s", // the last one is for user agents
				version, kubernetes[0], kubernetes[1], kubernetes[2]),
			links: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"},
			note:  "about four minutes on two cores",
		},
	}, nil
}

// kubernetesVersion reads major, minor and patch from go.mod: what the API
// server says it is.
func kubernetesVersion(source string) ([]string, error) {
	path := filepath.Join(source, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := regexp.MustCompile(`(?m)^(?:require)?\s*k8s\.io/kubernetes v(\d+)\.(\d+)\.(\d+)`).FindStringSubmatch(string(data))
	if m == nil {
		return nil, fmt.Errorf("%s does not require k8s.io/kubernetes", path)
	}
	return m[1:], nil
}

// binary returns the path of a built binary or link.
func binary(source, name string) string { return filepath.Join(source, ".build", name) }

// findSource finds the sandbox folder from the place of this binary, else from
// the working directory upwards.
func findSource() (string, error) {
	if exe, err := os.Executable(); err == nil {
		if dir := filepath.Dir(exe); filepath.Base(dir) == ".build" && isSource(filepath.Dir(dir)) {
			return filepath.Dir(dir), nil
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		for _, candidate := range []string{dir, filepath.Join(dir, "sandbox")} {
			if isSource(candidate) {
				return candidate, nil
			}
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("the repository's sandbox folder was not found: run in the repository or give --source")
		}
		dir = filepath.Dir(dir)
	}
}

func isSource(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cmd", "controlplane", "main.go"))
	return err == nil
}

// build brings all binaries up to date. It costs a few milliseconds when they are.
func build(ctx context.Context, source string) error {
	stale, err := staleTargets(source)
	if err != nil || len(stale) == 0 {
		return err
	}
	if err := os.MkdirAll(binary(source, ""), 0o755); err != nil {
		return err
	}
	unlock, err := lockFile(binary(source, "lock"), true)
	if err != nil {
		return fmt.Errorf("locking the build: %w", err)
	}
	defer unlock()
	if stale, err = staleTargets(source); err != nil { // another process may have built meanwhile
		return err
	}
	for _, t := range stale {
		if err := buildTarget(ctx, source, t); err != nil {
			return fmt.Errorf("building %s: %w", t.name, err)
		}
	}
	return nil
}

func staleTargets(source string) ([]target, error) {
	all, err := targets(source)
	if err != nil {
		return nil, err
	}
	var stale []target
	for _, t := range all {
		key, err := t.key(source)
		if err != nil {
			return nil, err
		}
		have, _ := os.ReadFile(binary(source, t.name+".key"))
		if _, err := os.Stat(binary(source, t.name)); err != nil || string(have) != key {
			stale = append(stale, t)
		}
	}
	return stale, nil
}

// key identifies everything a binary is made from.
func (t target) key(source string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.GOOS, runtime.GOARCH, runtime.Version(), t.ldflags, t.links)
	files := []string{filepath.Join(source, t.module, "go.mod"), filepath.Join(source, t.module, "go.sum")}
	if t.name == "sandbox" {
		files = nil // it needs the standard library only
	}
	err := filepath.WalkDir(filepath.Join(source, t.sources), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, filepath.Base(file), len(data))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func buildTarget(ctx context.Context, source string, t target) error {
	key, err := t.key(source)
	if err != nil {
		return err
	}
	if t.note != "" {
		fmt.Fprintf(os.Stderr, "sandbox: building %s (once; %s if nothing is cached)\n", t.name, t.note)
	}
	start := time.Now()
	out := binary(source, t.name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", strings.TrimSpace("-s -w "+t.ldflags), "-o", out+".new", t.pkg)
	cmd.Dir = filepath.Join(source, t.module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return err
	}
	// Renamed into place, so that a running process keeps its own file.
	if err := os.Rename(out+".new", out); err != nil {
		return err
	}
	if err := link(source, t); err != nil {
		return err
	}
	if t.note != "" {
		fmt.Fprintf(os.Stderr, "sandbox: built %s in %s\n", t.name, time.Since(start).Round(time.Second))
	}
	return os.WriteFile(out+".key", []byte(key), 0o644)
}

func link(source string, t target) error {
	for _, name := range t.links {
		path := binary(source, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(t.name, path); err != nil {
			return err
		}
	}
	return nil
}
