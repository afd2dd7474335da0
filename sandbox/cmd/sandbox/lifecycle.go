// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// up starts a sandbox and leaves it running.
func up(ctx context.Context, o options) error {
	if err := build(ctx, o.source); err != nil {
		return err
	}
	start := time.Now()
	if err := startSupervisor(ctx, o); err != nil {
		return err
	}
	var s State
	if err := readJSON(statePath(o.dir), &s); err != nil {
		return err
	}
	fmt.Printf("sandbox ready in %.1fs\n", time.Since(start).Seconds())
	if s.Server != "" {
		fmt.Printf("  API server        %s\n  kubeconfig        %s\n  kubectl           %s\n", s.Server, s.Kubeconfig, s.Kubectl)
	}
	if s.Registry != "" {
		fmt.Printf("  registry          %s\n  private registry  %s (user %s, password sandbox-password)\n",
			s.Registry, s.PrivateRegistry, registryUser)
	}
	fmt.Printf("  stop it           %s down --dir %s\n", s.Launcher, s.Dir)
	return nil
}

// startSupervisor returns when the sandbox is ready, or with the reason why it
// is not and nothing left running.
func startSupervisor(ctx context.Context, o options) error {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	unlock, err := lockFile(filepath.Join(o.dir, "lock"), false)
	if err != nil {
		return fmt.Errorf("a sandbox already runs in %s: stop it with `sandbox down --dir %s`", o.dir, o.dir)
	}
	if err := clean(o.dir); err != nil {
		unlock()
		return err
	}
	unlock()
	logPath := filepath.Join(o.dir, "supervisor.log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(binary(o.source, "sandbox"), o.superviseArgs()...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return errors.New(strings.TrimPrefix(tail(logPath, 40), "sandbox: "))
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
			<-ended
			return context.Cause(ctx)
		case <-tick.C:
			if _, err := os.Stat(statePath(o.dir)); err == nil {
				return nil
			}
		}
	}
}

func (o options) superviseArgs() []string {
	return []string{
		"supervise", "--dir", o.dir, "--source", o.source,
		"--bare=" + strconv.FormatBool(o.bare), "--registries=" + strconv.FormatBool(o.registriesOnly), "--node=" + strconv.FormatBool(o.node),
		"--no-controller-manager=" + strconv.FormatBool(o.noManager), "--controllers", o.controllers,
		"--timeout", o.timeout.String(), "--while-pid", strconv.Itoa(o.whilePID),
	}
}

// down ends exactly the processes that up started, and returns when they are gone.
func down(dir string) error {
	var pids processes
	err := readJSON(pidsPath(dir), &pids)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(os.Stderr, "sandbox: nothing runs in %s\n", dir)
		return nil
	}
	if err != nil {
		return err
	}
	all := append([]process{pids.Supervisor}, pids.Children...)
	// The supervisor ends its children; only if it is gone or stuck are they
	// signalled from here.
	if pids.Supervisor.alive() {
		send(all[:1], syscall.SIGTERM)
	} else {
		send(all, syscall.SIGTERM)
	}
	if !gone(all, stopGrace+3*time.Second) {
		send(all, syscall.SIGKILL)
		if !gone(all, 5*time.Second) {
			return fmt.Errorf("processes of %s do not end: see %s", dir, pidsPath(dir))
		}
	}
	for _, path := range []string{statePath(dir), pidsPath(dir)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func send(all []process, sig syscall.Signal) {
	for _, p := range all {
		if p.alive() {
			_ = syscall.Kill(p.PID, sig)
		}
	}
}

// gone waits until all processes have ended.
func gone(all []process, limit time.Duration) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		living := 0
		for _, p := range all {
			if p.alive() {
				living++
			}
		}
		if living == 0 {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// run starts a sandbox, runs a command in it, and stops it whatever happens.
func run(ctx context.Context, o options, command []string) error {
	if len(command) == 0 {
		return errors.New("run: no command given after --")
	}
	if err := build(ctx, o.source); err != nil {
		return err
	}
	runtime.LockOSThread() // the command dies with this thread: see childAttr
	o.whilePID = os.Getpid()
	if err := startSupervisor(ctx, o); err != nil {
		return err
	}
	runErr := runCommand(ctx, o.dir, command)
	return errors.Join(runErr, down(o.dir))
}

// runCommand runs the command in a process group of its own, passes a signal
// on to the whole group, and leaves none of the group behind.
func runCommand(ctx context.Context, dir string, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = childAttr()
	cmd.Env = []string{"KUSTOMIZER_SANDBOX=" + dir}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "KUBECONFIG=") && !strings.HasPrefix(entry, "KUSTOMIZER_SANDBOX=") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running %s: %w", command[0], err)
	}
	err := cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil && strings.HasPrefix(context.Cause(ctx).Error(), syscall.SIGTERM.String()):
		return exitCode(128 + syscall.SIGTERM)
	case ctx.Err() != nil:
		return exitCode(128 + syscall.SIGINT)
	case errors.As(err, &exit):
		return exitCode(max(exit.ExitCode(), 1))
	}
	return err
}
