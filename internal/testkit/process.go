// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// BinaryVariable names the environment variable with the path of a kustomizer
// binary to test instead of one built from the working tree.
const BinaryVariable = "KUSTOMIZER_BIN"

// buildBinary builds once a test binary; go's cache makes the others' cheap.
var buildBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(BinaryVariable); path != "" {
		return filepath.Abs(path)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", ".test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for unlock, err := tryLock(filepath.Join(dir, "lock")); ; unlock, err = tryLock(filepath.Join(dir, "lock")) {
		if err == nil {
			defer unlock()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	path := filepath.Join(dir, "kustomizer")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/kustomizer")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building kustomizer: %w\n%s", err, out)
	}
	return path, nil
})

// Binary returns the path of the kustomizer binary of the working tree.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// moduleRoot finds the folder of the project's go.mod from the working
// directory, which in tests is the package's folder.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(data, []byte("module github.com/kustomizer/kustomizer\n")) {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("the project's go.mod was not found above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// Command is a program to start.
type Command struct {
	Path string
	Args []string
	// Env is added to the test's environment, from which KUBECONFIG and what
	// points to the developer's home are taken.
	Env []string
	Dir string
}

// Process is a running [Command]. It is killed when the test ends, and its
// output is logged if the test has failed.
type Process struct {
	cmd    *exec.Cmd
	output *output
	exited chan struct{}
}

// Start starts a program.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	p := &Process{output: newOutput(), exited: make(chan struct{})}
	p.cmd = exec.Command(c.Path, c.Args...)
	p.cmd.Dir = c.Dir
	p.cmd.Env = append(cleanEnviron(t.TempDir()), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = processAttr()
	p.cmd.WaitDelay = time.Second
	started := make(chan error)
	go func() {
		// The process dies with the thread that started it, which this
		// goroutine keeps for as long as the process lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
		p.output.close()
		close(p.exited)
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", c.Path, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("output of %s %s:\n%s", filepath.Base(c.Path), strings.Join(c.Args, " "), p.Output())
		}
	})
	return p
}

// cleanEnviron is the environment without what would let a developer's own
// cluster, registries or settings into a test.
func cleanEnviron(home string) []string {
	var env []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "HOME", "KUBECONFIG", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "KUSTOMIZER_NAMESPACE", "FLUX_SYSTEM_NAMESPACE":
		default:
			env = append(env, entry)
		}
	}
	return append(env, "HOME="+home)
}

// Kill ends the process at once (SIGKILL) and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Stop asks the process to end (SIGTERM) and returns its exit code.
func (p *Process) Stop(t testing.TB, limit time.Duration) int {
	t.Helper()
	if err := terminate(p.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("stopping process %d: %v", p.cmd.Process.Pid, err)
	}
	return p.Wait(t, limit)
}

// Suspend stops the process without its knowing (SIGSTOP), as a machine without time does, until
// [Process.Resume].
func (p *Process) Suspend() error { return suspend(p.cmd.Process) }

// Resume lets a suspended process go on.
func (p *Process) Resume() error { return resume(p.cmd.Process) }

// Wait returns the exit code of a process that ends by itself: -1 when it was
// ended by a signal.
func (p *Process) Wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		t.Fatalf("process %d has not ended within %s", p.cmd.Process.Pid, limit)
		return 0
	}
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Output returns what the process has written so far, both streams together.
func (p *Process) Output() string { return p.output.String() }

// WaitForOutput waits until the process has written a text.
func (p *Process) WaitForOutput(t testing.TB, text string, limit time.Duration) {
	t.Helper()
	deadline := time.After(limit)
	for {
		changed, ended := p.output.next()
		if strings.Contains(p.Output(), text) {
			return
		}
		if ended {
			t.Fatalf("the process has ended without writing %q", text)
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the process has not written %q within %s", text, limit)
		}
	}
}

// WaitForURL waits until a URL answers 200, as health endpoints do.
func (p *Process) WaitForURL(t testing.TB, url string, limit time.Duration) {
	t.Helper()
	Eventually(t, url, limit, func() error {
		select {
		case <-p.exited:
			t.Fatalf("the process has ended before %s answered", url)
		default:
		}
		resp, err := http.Get(url)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// output collects what a process writes and wakes those who wait for more.
type output struct {
	mu      sync.Mutex
	buffer  bytes.Buffer
	changed chan struct{}
	ended   bool
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// Write implements [io.Writer].
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.buffer.Write(p)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	close(o.changed)
	o.changed = make(chan struct{})
}

// next returns a channel that is closed with the next change, and whether there
// will be none.
func (o *output) next() (<-chan struct{}, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed, o.ended
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}
