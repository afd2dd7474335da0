// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// commandError is a command that failed.
type commandError struct {
	command string
	code    int
	output  string
}

// Error implements error.
func (e *commandError) Error() string {
	return fmt.Sprintf("%s\n  exited with code %d and said:\n%s", e.command, e.code, strings.TrimRight(indent(e.output), "\n"))
}

// command runs kustomizer, flux or kubectl as a user does, shows it in the step's line, and returns
// what it printed to standard output.
func (s *story) command(ctx context.Context, args ...string) (string, error) {
	return s.commandWithInput(ctx, "", args...)
}

// commandWithInput gives a command a secret on its standard input.
func (s *story) commandWithInput(ctx context.Context, input string, args ...string) (string, error) {
	typed := typed(args)
	if input != "" {
		typed = "echo $PASSWORD | " + typed
	}
	s.shown = append(s.shown, typed)
	cmd := exec.CommandContext(ctx, filepath.Join(s.path("bin"), args[0]), args[1:]...)
	cmd.Dir = s.opts.root
	cmd.Env = s.userEnv()
	cmd.Stdin = strings.NewReader(input)
	said := &transcript{}
	cmd.Stdout, cmd.Stderr = &stream{said.write, true}, &stream{said.write, false}
	err := runGently(cmd)
	s.printed = said.all.String()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = &commandError{command: typed, code: exit.ExitCode(), output: s.printed}
	}
	return said.results.String(), err
}

// A transcript collects what a command writes: its results, and both streams together.
type transcript struct {
	mu           sync.Mutex
	results, all bytes.Buffer
}

func (t *transcript) write(p []byte, result bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.Write(p)
	if result {
		t.results.Write(p)
	}
}

// stream is one of a command's two streams.
type stream struct {
	write  func(p []byte, result bool)
	result bool
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	s.write(p, s.result)
	return len(p), nil
}

// runGently lets a command end by itself when the context is over.
func runGently(cmd *exec.Cmd) error {
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd.Run()
}

// tool runs a program of the developer's, such as go. What it says matters only where it fails.
func (s *story) tool(ctx context.Context, dir string, args ...string) error {
	_, err := s.toolOutput(ctx, dir, args...)
	return err
}

func (s *story) toolOutput(ctx context.Context, dir string, args ...string) (string, error) {
	s.shown = append(s.shown, typed(args))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = override(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "TMPDIR="+s.path("tmp"), "DOCKER_CONFIG="+s.path("docker"))
	said := &transcript{}
	cmd.Stdout, cmd.Stderr = &stream{said.write, true}, &stream{said.write, false}
	err := runGently(cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = &commandError{command: typed(args), code: exit.ExitCode(), output: said.all.String()}
	}
	return said.results.String(), err
}

// userEnv is a user's environment: a home of its own, the sandbox as the cluster, and nothing of
// the developer's that would change what commands do.
func (s *story) userEnv() []string {
	var env []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		switch {
		case strings.HasPrefix(name, "GITHUB_"), strings.HasPrefix(name, "XDG_"), strings.HasPrefix(name, "KUSTOMIZER_"),
			name == "FLUX_SYSTEM_NAMESPACE", name == "REGISTRY_AUTH_FILE", name == "SOURCE_DATE_EPOCH", name == "CI":
		default:
			env = append(env, entry)
		}
	}
	return override(env, "HOME="+s.path("home"), "DOCKER_CONFIG="+s.path("docker"), "KUBECONFIG="+s.sandbox.Kubeconfig,
		"KUBECACHEDIR="+s.path("home"), "TMPDIR="+s.path("tmp"), "NO_COLOR=1", "LANG=C.UTF-8",
		"PATH="+s.path("bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// override sets variables in an environment.
func override(env []string, settings ...string) []string {
	var out []string
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		replaced := false
		for _, setting := range settings {
			replaced = replaced || strings.HasPrefix(setting, name+"=")
		}
		if !replaced {
			out = append(out, entry)
		}
	}
	return append(out, settings...)
}

// git asks git, and takes a default where it doesn't know.
func (s *story) git(ctx context.Context, otherwise string, args ...string) string {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = s.opts.root
	out, err := cmd.Output()
	if answer := strings.TrimSpace(string(out)); err == nil && answer != "" {
		return answer
	}
	return otherwise
}

// typed is a command as a user would type it.
func typed(args []string) string {
	plain := regexp.MustCompile(`^[A-Za-z0-9_./:=@,+%-]+$`)
	var words []string
	for _, arg := range args {
		if !plain.MatchString(arg) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// tail returns the last lines of a file.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error() + "\n"
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n") + "\n"
}
