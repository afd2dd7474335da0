// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// ControlPlane says what a control plane of a test's own is made of, besides
// etcd, API server and controller-manager.
type ControlPlane struct {
	// Node adds the scheduler and the simulated node, on which pods become Ready.
	Node bool
	// NoControllerManager leaves the controller-manager out: no garbage
	// collection, and namespaces stay terminating.
	NoControllerManager bool
}

// controlPlanesAtOnce is how many tests may have a control plane of their own
// at the same time, over all test binaries.
const controlPlanesAtOnce = 2

// OwnControlPlane starts a control plane that the test has to itself and that
// is gone when the test ends. It takes about four seconds, and waits while two
// other tests have theirs. Registries are the shared sandbox's: [Registry].
func OwnControlPlane(t testing.TB, options ControlPlane) *Env {
	t.Helper()
	shared := sandbox(t)
	takeSlot(t, filepath.Join(shared.Dir, "slots"))
	dir := t.TempDir()
	args := []string{
		"up", "--dir", dir, "--bare", "--while-pid", strconv.Itoa(os.Getpid()),
		"--node=" + strconv.FormatBool(options.Node),
		"--no-controller-manager=" + strconv.FormatBool(options.NoControllerManager),
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		if out, err := exec.CommandContext(ctx, shared.Launcher, "down", "--dir", dir).CombinedOutput(); err != nil {
			t.Errorf("stopping the test's control plane: %v\n%s", err, out)
		}
	})
	if out, err := exec.CommandContext(t.Context(), shared.Launcher, args...).CombinedOutput(); err != nil {
		t.Fatalf("starting a control plane: %v\n%s", err, out)
	}
	return newEnv(t, readSandbox(t, dir))
}

// takeSlot waits for one of a few locks and holds it until the test ends.
func takeSlot(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		for i := range controlPlanesAtOnce {
			unlock, err := tryLock(filepath.Join(dir, strconv.Itoa(i)))
			if err == nil {
				t.Cleanup(unlock)
				return
			}
		}
		select {
		case <-t.Context().Done():
			t.Fatal("waiting for a control plane: the test is over")
		case <-tick.C:
		}
	}
}
