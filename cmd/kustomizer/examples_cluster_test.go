// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/kustomizer/kustomizer/internal/report"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// clusterExample is a command whose examples need a cluster.
type clusterExample struct {
	path string
	// before makes what an example presumes, anew before each, unless all of them only read.
	before func(c *exampleCluster, t *testing.T, line string)
	reads  bool
	// after looks at what an example has done, if that is not seen otherwise.
	after func(c *exampleCluster, t *testing.T)
	// shows is what each example prints.
	shows string
	// until is what an example prints that does not end by itself, and is then asked to end; code is how it does.
	until string
	code  int
}

// clusterExamples are the commands in the order in which their examples run: one installs the agent, and
// the last removes it.
func clusterExamples() []clusterExample {
	nothing := func(*exampleCluster, *testing.T, string) {}
	there, suspended, gone, agent := (*exampleCluster).delivery, (*exampleCluster).suspended, (*exampleCluster).noInventory, (*exampleCluster).startAgent
	return []clusterExample{
		{path: "install", before: nothing},
		{path: "version", before: nothing, reads: true},
		{path: "apply inventory", before: gone},
		{path: "diff inventory", before: (*exampleCluster).inventories, reads: true},
		{path: "get inventories", before: (*exampleCluster).inventories, reads: true, shows: "app"},
		{path: "inspect inventory", before: (*exampleCluster).inventories, reads: true, shows: "onfig"},
		{path: "delete inventory", before: (*exampleCluster).inventories},
		{path: "create secret oci", before: agent},
		{path: "create source oci", before: agent},
		{path: "create kustomization", before: agent},
		{path: "options", before: there, reads: true},
		{path: "get all", before: (*exampleCluster).notReady, reads: true, shows: "demo-app"},
		{path: "get kustomizations", before: (*exampleCluster).notReady, reads: true, shows: "demo-app"},
		{path: "get sources all", before: (*exampleCluster).notReady, reads: true, shows: "demo-app"},
		{path: "get sources oci", before: (*exampleCluster).notReady, reads: true, shows: "demo-app"},
		{path: "export kustomization", before: there, reads: true, shows: "name: demo-app"},
		{path: "export source oci", before: there, reads: true, shows: "name: demo-app"},
		{path: "reconcile source oci", before: there},
		{path: "reconcile kustomization", before: there},
		{path: "suspend source oci", before: there},
		{path: "suspend kustomization", before: there},
		{path: "resume source oci", before: suspended},
		{path: "resume kustomization", before: suspended},
		{path: "events", before: (*exampleCluster).warning, reads: true, shows: "demo-app", until: "the fields of a patch are misspelled", code: 143},
		{path: "delete kustomization", before: there},
		{path: "delete source oci", before: there},
		{path: "approve prune", before: (*exampleCluster).held, after: (*exampleCluster).noVolume},
		{path: "controller", before: (*exampleCluster).stopAgent, until: "The agent is at work"},
		{path: "uninstall", before: (*exampleCluster).installed},
	}
}

// TestClusterExamplesRun runs the examples that need a cluster, as they stand, on a control plane of their
// own: with registries of the hosts that they name, and with the agent, which runs beside the cluster.
func TestClusterExamplesRun(t *testing.T) {
	t.Parallel()
	c := newExampleCluster(t)
	for _, e := range clusterExamples() {
		t.Run(e.path, func(t *testing.T) {
			for i, line := range examplesOf(t, e.path) {
				if c.presume(t, line); i == 0 || !e.reads {
					e.before(c, t, line)
				}
				c.show(t, line, e)
				if e.after != nil {
					e.after(c, t)
				}
			}
		})
	}
}

// show runs an example in its way.
func (c *exampleCluster) show(t *testing.T, line string, e clusterExample) {
	t.Helper()
	switch {
	case strings.Contains(line, " --watch ") || strings.HasSuffix(line, " --watch") || strings.HasPrefix(line, "kustomizer controller"):
		c.runUntil(t, line, e)
	case asks(line):
		c.answerYes(t, line)
	default:
		if out := c.run(t, line); !strings.Contains(line, ">") && !strings.Contains(out, e.shows) {
			t.Errorf("%s\ndoes not show %q:\n%s", line, e.shows, tail(out))
		}
	}
}

// exampleCluster is the world of examples with a cluster in it.
type exampleCluster struct {
	*exampleWorld
	env   *testkit.Env
	top   *testing.T // whose end is that of the agent
	agent *testkit.Process
}

func newExampleCluster(t *testing.T) *exampleCluster {
	t.Helper()
	c := &exampleCluster{env: testkit.OwnControlPlane(t, testkit.ControlPlane{Node: true}), top: t}
	c.exampleWorld = newExampleWorld(t)
	config, err := clientcmd.LoadFromFile(c.env.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.Contexts["production"] = config.Contexts[config.CurrentContext]
	kubeconfig := filepath.Join(c.dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	c.env.Kubectl(t, "create", "clusterrolebinding", "jane", "--clusterrole=cluster-admin", "--user=jane")
	for _, namespace := range []string{"apps", "prod"} {
		c.env.Kubectl(t, "create", "namespace", namespace)
	}
	c.exampleWorld.env = append(c.exampleWorld.env, "KUBECONFIG="+kubeconfig, "NO_COLOR=1")
	c.stands = append(c.stands, "/data", filepath.Join(c.dir, ".store"))
	return c
}

// try runs a line that may fail, and returns all that it printed.
func (c *exampleCluster) try(t *testing.T, line string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", line)
	cmd.Dir, cmd.Env = c.dir, c.exampleWorld.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", line, err)
	}
	return string(out)
}

// standsFor has something stand for what an example says, from now on.
func (c *exampleCluster) standsFor(said, here string) {
	if i := slices.Index(c.stands, said); i >= 0 {
		c.stands[i+1] = here
		return
	}
	c.stands = append(c.stands, said, here)
}

func (c *exampleCluster) noInventory(t *testing.T, _ string) {
	t.Helper()
	if strings.Contains(c.run(t, "kustomizer get inventories -A"), "app") {
		c.try(t, "kustomizer delete inventory app --yes")
		c.try(t, "kustomizer delete inventory app -n apps --yes")
	}
}

// inventories applies two of them. Where an example approves what a refusal named, one has a volume.
func (c *exampleCluster) inventories(t *testing.T, line string) {
	t.Helper()
	volume := ""
	approves := strings.Contains(line, "--approve-prune")
	if approves {
		volume = " -f volume"
	}
	c.run(t, "kustomizer apply inventory app -f manifests"+volume)
	c.run(t, "kustomizer apply inventory app -n apps -f other")
	if approves {
		refusal := c.try(t, "kustomizer delete inventory app --yes")
		hash := releaseHash(ran{stderr: refusal})
		if hash == "" {
			t.Errorf("the deletion was not refused:\n%s", refusal)
		}
		c.standsFor("<hash>", hash)
	}
}

// startAgent runs the agent until stopAgent, or the end of all examples.
func (c *exampleCluster) startAgent(t *testing.T, _ string) {
	t.Helper()
	if c.agent != nil {
		return
	}
	c.agent = testkit.Start(c.top, c.command("kustomizer controller --storage-path="+filepath.Join(c.dir, ".agent")))
	c.agent.WaitForOutput(t, "The agent is at work", time.Minute)
}

func (c *exampleCluster) stopAgent(t *testing.T, _ string) {
	t.Helper()
	if c.agent == nil {
		return
	}
	for _, namespace := range []string{"flux-system", "apps"} {
		c.env.Kubectl(t, "delete", "kustomizations.kustomize.toolkit.fluxcd.io", "--all", "-n", namespace)
	}
	if code := c.agent.Stop(t, time.Minute); code != 0 {
		t.Errorf("the agent ended with exit code %d", code)
	}
	c.agent = nil
}

// command is a line as a process that can be asked to end.
func (c *exampleCluster) command(line string) testkit.Command {
	return testkit.Command{Path: "/bin/sh", Args: []string{"-ec", "exec " + c.fill(line)}, Env: c.exampleWorld.env, Dir: c.dir}
}

// delivery makes the sources and Kustomizations that examples name as if nothing had happened to them.
func (c *exampleCluster) delivery(t *testing.T, line string) {
	t.Helper()
	c.startAgent(t, line)
	c.env.Kubectl(t, "apply", "--server-side", "--force-conflicts", "-f", filepath.Join(c.dir, "delivery.yaml"))
}

// notReady has a source without an artifact as well, and a Kustomization that waits for it.
func (c *exampleCluster) notReady(t *testing.T, line string) {
	t.Helper()
	c.delivery(t, line)
	c.env.Kubectl(t, "apply", "--server-side", "-f", filepath.Join(c.dir, "broken.yaml"))
	c.env.Kubectl(t, "wait", "--for=condition=Ready=false", "--timeout=60s", "-f", filepath.Join(c.dir, "broken.yaml"))
}

func (c *exampleCluster) suspended(t *testing.T, line string) {
	t.Helper()
	c.env.Kubectl(t, "delete", "--ignore-not-found", "-f", filepath.Join(c.dir, "broken.yaml"))
	text, err := os.ReadFile(filepath.Join(c.dir, "delivery.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, c.dir, "suspended.yaml", strings.ReplaceAll(string(text), "suspend: false", "suspend: true"))
	c.startAgent(t, line)
	c.env.Kubectl(t, "apply", "--server-side", "--force-conflicts", "-f", file)
}

func (c *exampleCluster) warning(t *testing.T, line string) {
	t.Helper()
	c.delivery(t, line)
	c.env.Kubectl(t, "apply", "--server-side", "-f", filepath.Join(c.dir, "event.yaml"))
}

// held has the deletion of a volume held, or a Kustomization deploy one that is to be deleted with it.
func (c *exampleCluster) held(t *testing.T, line string) {
	t.Helper()
	c.delivery(t, line)
	c.run(t, "kustomizer push artifact oci://ghcr.io/me/demo-app:latest -f demo -f volume")
	c.run(t, "kustomizer reconcile kustomization demo-app --with-source")
	if strings.Contains(line, "--deletion") {
		return
	}
	c.run(t, "kustomizer push artifact oci://ghcr.io/me/demo-app:latest -f demo")
	said := c.try(t, "kustomizer reconcile kustomization demo-app --with-source")
	message := c.run(t, `kustomizer get kustomizations demo-app -o json | jq -r '.status.conditions[] | select(.type == "Ready") | .message'`)
	hash, found := report.HeldPlan(strings.TrimSpace(message))
	if !found {
		t.Fatalf("nothing is held: %s\n%s", message, said)
	}
	c.standsFor("1f1ed2aa5510", hash)
}

// noVolume waits until the agent has deleted the volume.
func (c *exampleCluster) noVolume(t *testing.T) {
	t.Helper()
	c.env.Kubectl(t, "wait", "--for=delete", "--timeout=60s", "-n", "apps", "persistentvolumeclaim/data")
}

func (c *exampleCluster) installed(t *testing.T, line string) {
	t.Helper()
	c.stopAgent(t, line)
	c.run(t, "kustomizer install")
}

// runUntil runs a line that goes on until it is asked to end.
func (c *exampleCluster) runUntil(t *testing.T, line string, e clusterExample) {
	t.Helper()
	p := testkit.Start(t, c.command(line))
	p.WaitForOutput(t, e.until, time.Minute)
	if code := p.Stop(t, time.Minute); code != e.code {
		t.Errorf("%s\nended with exit code %d, want %d", line, code, e.code)
	}
}

// asks says whether an example asks a question before it does what it is for.
func asks(line string) bool {
	for _, verb := range []string{"delete ", "uninstall", "approve "} {
		if strings.HasPrefix(line, "kustomizer "+verb) {
			return !strings.Contains(line, "--yes") && !strings.Contains(line, "--dry-run") && !strings.Contains(line, "--plan")
		}
	}
	return false
}

// answerYes runs a line on a terminal, where somebody says yes to each question.
func (c *exampleCluster) answerYes(t *testing.T, line string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", c.fill(line))
	cmd.Dir, cmd.Env = c.dir, c.exampleWorld.env
	said, err := runOnTerminal(cmd, "y\ny\n")
	if err != nil {
		t.Errorf("%s\n%v\n%s", line, err, tail(said))
	}
	if !strings.Contains(said, "[y/N]") {
		t.Errorf("%s\nhas asked nothing:\n%s", line, tail(said))
	}
}
