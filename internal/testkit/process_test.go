// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestProcessIsStoppedWithItsExitCode(t *testing.T) {
	t.Parallel()
	script := `echo "home is $HOME, kubeconfig is [$KUBECONFIG]"; trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done`
	p := Start(t, Command{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"LATER=1"}})
	p.WaitForOutput(t, "ready", 30*time.Second)
	if code := p.Stop(t, 30*time.Second); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if out := p.Output(); !strings.Contains(out, "bye") || !strings.Contains(out, "kubeconfig is []") {
		t.Errorf("output: %s", out)
	}
}

func TestProcessIsKilled(t *testing.T) {
	t.Parallel()
	p := Start(t, Command{Path: "/bin/sh", Args: []string{"-c", "echo ready; exec sleep 60"}})
	p.WaitForOutput(t, "ready", 30*time.Second)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	t.Cleanup(server.Close)
	p.WaitForURL(t, server.URL, 30*time.Second)
	p.Kill()
	if code := p.Wait(t, time.Second); code != -1 {
		t.Errorf("exit code %d, want -1", code)
	}
}
