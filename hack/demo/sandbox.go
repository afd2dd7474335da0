// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// The user of the sandbox's private registry.
const (
	registryUser     = "flux"
	registryPassword = "sandbox-password"
)

// sandboxState is what the sandbox's launcher says about a running sandbox.
type sandboxState struct {
	Dir             string `json:"dir"`
	Server          string `json:"server"`
	Kubeconfig      string `json:"kubeconfig"`
	CACert          string `json:"caCert"`
	Registry        string `json:"registry"`
	PrivateRegistry string `json:"privateRegistry"`
	Kubectl         string `json:"kubectl"`
	Launcher        string `json:"launcher"`
}

// stateFile is there exactly as long as the sandbox runs.
func (s *story) stateFile() string { return filepath.Join(s.path("sandbox"), "sandbox.json") }

func (s *story) startSandbox(ctx context.Context) error {
	launcher, err := s.launcher(ctx)
	if err != nil {
		return err
	}
	// From here on it may run, also if starting it is interrupted.
	s.sandbox.Launcher, s.sandbox.Dir = launcher, s.path("sandbox")
	args := []string{"up", "--dir", s.short(s.path("sandbox"))}
	if !s.opts.keep {
		args = append(args, "--while-pid", strconv.Itoa(os.Getpid()))
	}
	s.shown = []string{typed(append([]string{s.short(launcher)}, args...))}
	cmd := exec.CommandContext(ctx, launcher, args...)
	cmd.Dir = s.opts.root
	cmd.Env = override(os.Environ(), "TMPDIR="+s.path("tmp"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, s.out // it says on standard error what it builds, which can take minutes
	if err := runGently(cmd); err != nil {
		return fmt.Errorf("starting the sandbox: %w\n%s", err, said.String())
	}
	data, err := os.ReadFile(s.stateFile())
	if err != nil {
		return err
	}
	return json.Unmarshal(data, &s.sandbox)
}

// launcher builds the sandbox's launcher if it isn't there; once built it keeps itself up to date.
func (s *story) launcher(ctx context.Context) (string, error) {
	source := filepath.Join(s.opts.root, "sandbox")
	launcher := filepath.Join(source, ".build", "sandbox")
	if _, err := os.Stat(launcher); !errors.Is(err, fs.ErrNotExist) {
		return launcher, err
	}
	return launcher, s.tool(ctx, source, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", launcher, "./cmd/sandbox")
}

// short is a path as seen from the repository.
func (s *story) short(path string) string {
	if rel, err := filepath.Rel(s.opts.root, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// stopSandbox ends the sandbox, also when the user is impatient: a second interrupt must not leave
// processes behind.
func (s *story) stopSandbox(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.sandbox.Launcher, "down", "--dir", s.path("sandbox"))
	cmd.SysProcAttr = detached()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("stopping the sandbox: %w\n%s", err, out)
	}
	return nil
}
