// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// asProgram makes this test binary the demo.
const asProgram = "DEMO_TEST_PROGRAM"

// TestMain lets this test binary be the demo, and tend the agent as the demo's own binary does.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asProgram) != "":
		main()
	case len(os.Args) > 1 && os.Args[1] == tendCommand:
		os.Exit(tend(os.Args[2:]))
	default:
		os.Exit(m.Run())
	}
}

// TestEveryStepHasANameAndASabotage keeps DEMO_BREAK complete.
func TestEveryStepHasANameAndASabotage(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, st := range steps() {
		if st.name == "" || seen[st.name] {
			t.Errorf("the name %q is not one of its own", st.name)
		}
		seen[st.name] = true
		b := st.sabotage
		if b.what == "" || (b.before == nil) == (b.after == nil) {
			t.Errorf("step %s has no sabotage that is made at one time", st.name)
		}
		if b.before != nil && b.undo == nil {
			t.Errorf("step %s: what its sabotage does before can't be undone", st.name)
		}
		if st.run == nil || st.check == nil || st.within <= 0 {
			t.Errorf("step %s does nothing or asserts nothing", st.name)
		}
	}
}

func TestMistakesInTheCallAreNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		env   map[string]string
		wants string
	}{
		"a step that isn't there": {env: map[string]string{"DEMO_BREAK": "lunch"}, wants: "publish"},
		"a flag that isn't there": {args: []string{"--lunch"}, wants: "lunch"},
		"an argument":             {args: []string{"lunch"}, wants: "lunch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := run(t.Context(), c.args, func(name string) string { return c.env[name] }, &out)
			var usage *usageError
			if !errors.As(err, &usage) || exitCode(err) != 2 {
				t.Errorf("got %v, want a mistake of usage", err)
			}
			if !strings.Contains(out.String(), c.wants) {
				t.Errorf("said %q, want something about %q", out.String(), c.wants)
			}
		})
	}
}

// TestCommandsAreShownAsTyped guards that what a step's line shows can be pasted into a shell.
func TestCommandsAreShownAsTyped(t *testing.T) {
	t.Parallel()
	got := typed([]string{"kustomizer", "push", "--source=https://x/y", "--revision=a branch", "it's"})
	if want := `kustomizer push --source=https://x/y '--revision=a branch' 'it'\''s'`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestEveryStepNoticesItsSabotage runs the demo once. Each step is first sabotaged, and its
// assertion must notice; then it is undone and run properly, and the assertion must hold.
func TestEveryStepNoticesItsSabotage(t *testing.T) {
	t.Parallel()
	s := newTestStory(t)
	start, compiling := time.Now(), time.Duration(0)
	for _, st := range steps() {
		began := time.Now()
		runSabotaged(t, s, st)
		runProperly(t, s, st)
		if st.name == "image" {
			compiling = time.Since(began)
		}
	}
	if took := time.Since(start) - compiling; took > 5*time.Minute {
		t.Errorf("took %s besides compiling, want at most 5 minutes", took)
	}
}

func runSabotaged(t *testing.T, s *story, st step) {
	t.Helper()
	mustWork(t, st.name+": sabotaging before", st.sabotage.spoilBefore(t.Context(), s))
	if err := st.run(t.Context(), s); err != nil {
		t.Logf("%s, sabotaged, ended with: %v", st.name, err)
	}
	mustWork(t, st.name+": sabotaging after", st.sabotage.spoilAfter(t.Context(), s))
	expectNoticed(t, s, st)
	mustWork(t, st.name+": undoing the sabotage", st.sabotage.repair(t.Context(), s))
}

func runProperly(t *testing.T, s *story, st step) {
	t.Helper()
	s.shown, s.printed = nil, ""
	if err := st.run(t.Context(), s); err != nil {
		t.Fatalf("%s: %v\n%s", st.name, err, agentLog(s))
	}
	if err := s.await(t.Context(), st.check, st.within); err != nil {
		t.Fatalf("%s: %v\nthe last command said:\n%s\nthe agent said:\n%s", st.name, err, s.printed, agentLog(s))
	}
}

// How long an assertion is given to hold although it must not: where the agent is concerned, longer
// than a reconciliation takes, and than the interval at which it would put something right.
const (
	sabotagedPatience  = time.Second
	correctionPatience = 6 * time.Second
)

// expectNoticed wants a sabotaged step's assertion to say what is wrong.
func expectNoticed(t *testing.T, s *story, st step) {
	t.Helper()
	patience := sabotagedPatience
	if s.agent != nil && st.within != soon {
		patience = correctionPatience
	}
	err := s.await(t.Context(), st.check, patience)
	switch {
	case err == nil:
		t.Errorf("%s: its assertion holds although %s", st.name, st.sabotage.what)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		t.Errorf("%s: its assertion could not look: %v", st.name, err)
	default:
		t.Logf("%s: %s, and the assertion noticed: %v", st.name, st.sabotage.what, err)
	}
}

func mustWork(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func agentLog(s *story) string {
	if s.agent == nil {
		return ""
	}
	return tail(s.agent.log, 40)
}

// newTestStory starts a sandbox of the test's own: the demo installs and elects as if it had the
// cluster for itself.
func newTestStory(t *testing.T) *story {
	t.Helper()
	if os.Getenv(testkit.SandboxVariable) == "" {
		t.Skipf("%s is not set: run `make test`", testkit.SandboxVariable)
	}
	root, err := findRoot()
	mustWork(t, "finding the repository", err)
	var out bytes.Buffer
	s, err := newStory(options{root: root}, &out)
	mustWork(t, "setting the scene", err)
	t.Cleanup(func() {
		if err := s.stop(context.WithoutCancel(t.Context()), !t.Failed()); err != nil {
			t.Errorf("stopping: %v", err)
		}
		if t.Failed() {
			t.Logf("said:\n%s", out.String())
		}
	})
	mustWork(t, "starting", s.prepare(t.Context()))
	return s
}

// TestABrokenStepFailsTheDemo runs the demo as `make demo` does, with DEMO_BREAK set.
func TestABrokenStepFailsTheDemo(t *testing.T) {
	t.Parallel()
	p := startDemo(t, "DEMO_BREAK=tag")
	if code := p.Wait(t, 2*time.Minute); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	said := p.Output()
	for _, want := range []string{"✔ publish ", "✗ tag ", `the demo failed at the step "tag"`, "expected"} {
		if !strings.Contains(said, want) {
			t.Errorf("said nothing of %q:\n%s", want, said)
		}
	}
	dir := demoDir(t, said)
	if sandboxAlive(filepath.Join(dir, "sandbox")) {
		t.Error("the sandbox still runs")
	}
	mustWork(t, "removing the logs", os.RemoveAll(dir))
}

func TestAnInterruptStopsEverything(t *testing.T) {
	t.Parallel()
	p := startDemo(t, "KEEP=1")
	p.WaitForOutput(t, "✔ login", time.Minute)
	if code := p.Stop(t, time.Minute); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if dir := demoDir(t, p.Output()); sandboxAlive(filepath.Join(dir, "sandbox")) {
		t.Error("the sandbox still runs")
	} else if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is left", dir)
	}
}

func startDemo(t *testing.T, env ...string) *testkit.Process {
	t.Helper()
	if os.Getenv(testkit.SandboxVariable) == "" {
		t.Skipf("%s is not set: run `make test`", testkit.SandboxVariable)
	}
	self, err := os.Executable()
	mustWork(t, "finding this program", err)
	return testkit.Start(t, testkit.Command{
		Path: self, Args: []string{"--bin", testkit.Binary(t)}, Env: append([]string{asProgram + "=1", "KEEP=", "DEMO_BREAK="}, env...),
	})
}

// demoDir reads from what a demo said where it kept its files.
func demoDir(t *testing.T, said string) string {
	t.Helper()
	_, rest, found := strings.Cut(said, "--dir ")
	dir, _, ended := strings.Cut(rest, "/sandbox")
	root, err := findRoot()
	mustWork(t, "finding the repository", err)
	if !found || !ended {
		t.Fatalf("it didn't say where its sandbox lies:\n%s", said)
	}
	return filepath.Join(root, dir)
}

// TestTheAgentEndsWithTheSandbox guards KEEP=1: the sandbox's `down` has to end the agent as well.
func TestTheAgentEndsWithTheSandbox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state, err := json.Marshal(map[string]any{"supervisor": map[string]int{"pid": os.Getpid()}})
	mustWork(t, "describing a sandbox", err)
	mustWork(t, "describing a sandbox", os.WriteFile(filepath.Join(dir, "pids.json"), state, 0o600))
	mustWork(t, "describing a sandbox", os.WriteFile(filepath.Join(dir, "sandbox.json"), []byte("{}"), 0o600))
	self, err := os.Executable()
	mustWork(t, "finding this program", err)
	p := testkit.Start(t, testkit.Command{Path: self, Args: []string{tendCommand, dir, "sleep", "300"}})
	select {
	case <-p.Exited():
		t.Fatal("it ended while the sandbox ran")
	case <-time.After(300 * time.Millisecond):
	}
	mustWork(t, "stopping the sandbox", os.Remove(filepath.Join(dir, "sandbox.json")))
	p.Wait(t, 30*time.Second)
}
