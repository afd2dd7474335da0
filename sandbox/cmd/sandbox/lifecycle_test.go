// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestDownSparesALaterProcessOfTheSamePID(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = childAttr()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	now := newProcess("sleep", cmd.Process.Pid)
	earlier := now
	earlier.Start = "1"
	dir := t.TempDir()
	if err := writeJSON(pidsPath(dir), processes{Supervisor: earlier, Children: []process{earlier}}); err != nil {
		t.Fatal(err)
	}
	if err := down(dir); err != nil {
		t.Fatal(err)
	}
	if !now.alive() {
		t.Error("a process that only shares the pid was ended")
	}
	if _, err := os.Stat(pidsPath(dir)); err == nil {
		t.Error("pids.json is still there")
	}
}

func TestDownEndsChildrenWithoutTheirSupervisor(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	child := newProcess("sleep", cmd.Process.Pid)
	dir := t.TempDir()
	if err := writeJSON(pidsPath(dir), processes{Children: []process{child}}); err != nil {
		t.Fatal(err)
	}
	if err := down(dir); err != nil {
		t.Fatal(err)
	}
	if child.alive() {
		t.Error("the child still runs")
	}
}

func TestRunReturnsTheExitCodeOfItsCommand(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	err := runCommand(t.Context(), dir, []string{"sh", "-c", "echo $KUSTOMIZER_SANDBOX > seen; exit 7"})
	var exit exitCode
	if !errors.As(err, &exit) || exit != 7 {
		t.Fatalf("got %v, want exit code 7", err)
	}
	seen, err := os.ReadFile("seen")
	if err != nil || string(seen) != dir+"\n" {
		t.Errorf("the command saw %q, %v", seen, err)
	}
}

func TestTailReturnsTheLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	write(t, path, "one\ntwo\nthree\n")
	if got := tail(path, 2); got != "two\nthree" {
		t.Errorf("got %q", got)
	}
}

func TestTheRegistriesAloneAreWithoutAControlPlane(t *testing.T) {
	if _, _, err := parse("up", []string{"--dir", "x", "--source", "y", "--registries", "--bare"}); err == nil {
		t.Error("--bare, which is without registries, is taken together with --registries")
	}
	o, _, err := parse("up", []string{"--dir", "x", "--source", "y", "--registries"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLayout(o.source, o.dir)
	if err != nil {
		t.Fatal(err)
	}
	if s := l.state(o); s.Server != "" || s.Kubeconfig != "" || s.Registry == "" || s.PrivateRegistry == "" {
		t.Errorf("it would be described as %+v", s)
	}
}
