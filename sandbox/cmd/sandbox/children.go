// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a command to start. Its output goes to LOGDIR/NAME.log; stdout to a
// file of its own where one is given.
type child struct {
	name   string
	bin    string
	args   []string
	stdout string
}

// children are the processes of one sandbox. They live in ctx, which ends with
// the first of them.
type children struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	home   string
	logs   string
	done   sync.WaitGroup

	mu       sync.Mutex
	running  map[string]*exec.Cmd
	started  []process
	stopping bool
}

func newChildren(ctx context.Context, dir string) *children {
	ctx, cancel := context.WithCancelCause(ctx)
	return &children{
		ctx: ctx, cancel: cancel,
		home: filepath.Join(dir, "home"), logs: filepath.Join(dir, "logs"),
		running: map[string]*exec.Cmd{},
	}
}

// start must be called from the goroutine that keeps the supervisor's thread:
// see childAttr.
func (c *children) start(spec child) error {
	log, err := os.Create(c.logPath(spec.name))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(spec.bin, spec.args...)
	cmd.Dir = c.home
	// Garbage is collected half as often: an API server spends a tenth less time on a set, for 250 MiB.
	cmd.Env = []string{"HOME=" + c.home, "PATH=" + os.Getenv("PATH"), "OTEL_TRACES_EXPORTER=none", "GOGC=200"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttr()
	if spec.stdout != "" {
		out, err := os.Create(spec.stdout)
		if err != nil {
			return err
		}
		defer out.Close()
		cmd.Stdout = out
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", spec.name, err)
	}
	c.mu.Lock()
	c.running[spec.name] = cmd
	c.started = append(c.started, newProcess(spec.name, cmd.Process.Pid))
	c.mu.Unlock()
	c.done.Go(func() { c.wait(spec.name, cmd) })
	return nil
}

func (c *children) wait(name string, cmd *exec.Cmd) {
	err := cmd.Wait()
	c.mu.Lock()
	delete(c.running, name)
	stopping := c.stopping
	c.mu.Unlock()
	if !stopping {
		if err == nil {
			err = fmt.Errorf("exit status 0")
		}
		c.cancel(fmt.Errorf("%s ended: %w\n%s", name, err, tail(c.logPath(name), 15)))
	}
}

// stop ends all children: by SIGTERM, and after a grace period by SIGKILL. What
// they would save is thrown away, so the period is short.
func (c *children) stop(grace time.Duration) {
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	c.signal(syscall.SIGTERM)
	kill := time.AfterFunc(grace, func() { c.signal(syscall.SIGKILL) })
	defer kill.Stop()
	c.done.Wait()
}

func (c *children) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range c.running {
		_ = cmd.Process.Signal(sig)
	}
}

func (c *children) logPath(name string) string { return filepath.Join(c.logs, name+".log") }

// tail returns the last lines of a log.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
