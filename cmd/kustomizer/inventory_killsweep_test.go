// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

const (
	// sweepVariable, set to "all", has every case of the sweep run, as `make sweep` does. Otherwise
	// a fixed sample is.
	sweepVariable = "KUSTOMIZER_SWEEP"
	sweptAtOnce   = 6
	// convergesWithin is for a busy machine.
	convergesWithin = 3 * time.Minute
)

// cliSweep kills the command at one write after the other.
type cliSweep struct {
	name          string
	before, after []string // names of the set's objects; nothing before: an install, nothing after: a delete
	changed       string   // the version of the objects after
	cases         atomic.Int32
}

// The command is ended by kill -9 before and after each write of an install of 40 objects, of an
// update that adds 10, changes 10 and removes 10, and of a delete. At any moment all that is ours is
// on record; run once more, the command finishes the work; and what is not ours is never touched.
func TestCommandKilledBeforeAndAfterEachWrite(t *testing.T) {
	t.Parallel()
	testkit.Cluster(t) // without a sandbox this is where it ends
	objects := sweptNames(50)
	for _, s := range []*cliSweep{
		{name: "install", after: objects[:40], changed: "one"},
		{name: "update", before: objects[:40], after: objects[10:], changed: "two"},
		{name: "delete", before: objects[:40]},
	} {
		t.Run(s.name, s.all)
	}
}

// sweptNames are names of objects of several kinds and stages.
func sweptNames(n int) []string {
	kinds := []string{"configmap", "secret", "service", "serviceaccount", "configmap", "deployment", "configmap", "role", "secret", "configmap"}
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%02d", kinds[i%len(kinds)], i)
	}
	return out
}

// all counts the writes of an undisturbed run and then kills before and after each of them, or of a
// sample.
func (s *cliSweep) all(t *testing.T) {
	writes := s.undisturbed(t)
	if len(writes) < max(len(s.after), len(s.before))-10 {
		t.Fatalf("only %d writes were counted:\n%s", len(writes), writes)
	}
	chosen, want := sample(len(writes)), len(sample(len(writes)))
	if os.Getenv(sweepVariable) == "all" {
		chosen, want = everyWrite(len(writes)), 2*len(writes)
	}
	var group errgroup.Group
	group.SetLimit(sweptAtOnce)
	for _, point := range chosen {
		group.Go(func() error {
			t.Run(fmt.Sprintf("%s write %d", point.moment, point.write), func(t *testing.T) { s.killed(t, point) })
			return nil
		})
	}
	_ = group.Wait() // the cases report for themselves
	if got := int(s.cases.Load()); got != want {
		t.Errorf("%d cases were run, not %d", got, want)
	}
	t.Logf("%d writes, %d cases", len(writes), s.cases.Load())
}

// killPoint is where a case kills.
type killPoint struct {
	write  int // from 1
	moment testkit.Moment
}

func everyWrite(writes int) []killPoint {
	var out []killPoint
	for i := range writes {
		out = append(out, killPoint{i + 1, testkit.BeforeWrite}, killPoint{i + 1, testkit.AfterWrite})
	}
	return out
}

// sample are the first writes, which are those of the record, one in the middle, and the last ones.
func sample(writes int) []killPoint {
	return []killPoint{
		{1, testkit.AfterWrite}, {2, testkit.AfterWrite}, {3, testkit.BeforeWrite}, {4, testkit.AfterWrite},
		{writes / 2, testkit.BeforeWrite}, {writes / 2, testkit.AfterWrite}, {writes - 1, testkit.BeforeWrite}, {writes, testkit.BeforeWrite},
	}
}

// cliRun is one run of a scenario.
type cliRun struct {
	*tool
	*cliSweep
	proxy   *testkit.Proxy
	fault   atomic.Pointer[testkit.Hook] // what becomes of requests; nil: nothing
	dir     string
	foreign map[string]string // version of each object that is not ours, by resource and name
}

// undisturbed runs the scenario without a kill and returns its writes, as the audit log has them.
func (s *cliSweep) undisturbed(t *testing.T) testkit.Requests {
	t.Helper()
	run := s.prepare(t)
	mark, before := run.Mark(t), len(run.proxy.Writes())
	run.must(t, 0, run.args(true)...)
	run.converged(t)
	writes := run.Requests(t, testkit.ByUser(run.user.UserName), testkit.After(mark)).Writes()
	if seen := len(run.proxy.Writes()) - before; seen != len(writes) {
		t.Fatalf("the audit log has %d writes, %d were seen on the way", len(writes), seen)
	}
	return writes
}

// killed runs the scenario with a kill at one write, looks at what is left, and runs it again.
func (s *cliSweep) killed(t *testing.T, at killPoint) {
	run := s.prepare(t)
	ctx, cancel := context.WithTimeout(t.Context(), convergesWithin)
	defer cancel()
	cmd := run.command(ctx, t, run.args(true)...)
	started := make(chan *os.Process, 1)
	dead := run.proxy.KillAt(at.write, at.moment, func() {
		process := <-started
		_ = process.Kill() // it may have ended by itself: the exit code tells
	})
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started <- cmd.Process
	_ = cmd.Wait() // the exit code tells
	select {
	case <-dead:
	case <-ctx.Done():
		t.Fatal("write", at.write, "never came")
	}
	if code := cmd.ProcessState.ExitCode(); code != -1 {
		t.Fatalf("the command was not killed, but ended with %d:\n%s", code, tail(output.String()))
	}
	run.nothingForgotten(t)
	run.proxy.Restore()
	r := run.run(t, run.args(false)...)
	if gone := len(s.after) == 0 && r.code == 5; r.code != 0 && !gone {
		t.Fatalf("the next run: exit code %d\n%s%s", r.code, tail(r.stdout), tail(r.stderr))
	}
	run.converged(t)
	s.cases.Add(1)
}

// prepare brings a run to where the scenario begins.
func (s *cliSweep) prepare(t *testing.T) *cliRun {
	t.Helper()
	k := newTool(t, testkit.Cluster(t))
	run := &cliRun{tool: k, cliSweep: s, dir: t.TempDir()}
	run.proxy = testkit.FaultProxy(t, k.Env, k.user, func(r testkit.Request) testkit.Fault {
		if fault := run.fault.Load(); fault != nil {
			return (*fault)(r)
		}
		return testkit.Fault{}
	})
	k.through = run.proxy.Kubeconfig
	writeFile(t, run.dir, "before.yaml", run.set(s.before, "one"))
	writeFile(t, run.dir, "after.yaml", run.set(s.after, s.changed))
	run.plantForeign(t)
	if len(s.before) > 0 {
		run.must(t, 0, "apply", "inventory", "app", "-f", run.dir+"/before.yaml", "--timeout=3m")
	}
	return run
}

// args are what is run. A run that will be killed never renews its hold, which would be a write at
// no certain place; the one after it does not wait for long for a sign of life.
func (r *cliRun) args(killed bool) []string {
	args := []string{"apply", "inventory", "app", "-f", r.dir + "/after.yaml", "--prune"}
	if len(r.after) == 0 {
		args = []string{"delete", "inventory", "app", "--yes"}
	}
	args = append(args, "--timeout=3m")
	if killed {
		return append(args, "--lock-heartbeat=1h", "--lock-timeout=3h")
	}
	return append(args, "--lock-heartbeat=1s", "--lock-timeout=4s")
}

// set returns manifests. A third of the objects is in another version, which is what an update
// changes: ten of thirty.
func (r *cliRun) set(names []string, version string) string {
	var b strings.Builder
	for i, name := range names {
		v := "one"
		if i%3 == 0 && i < 30 {
			v = version
		}
		kind, _, _ := strings.Cut(name, "-")
		fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s, annotations: {version: %s}}\n%s---\n",
			sweptVersion(kind), sweptKind(kind), name, r.Namespace, v, sweptSpec(kind, name))
	}
	return b.String()
}

func sweptKind(kind string) string {
	return map[string]string{
		"configmap": "ConfigMap", "secret": "Secret", "service": "Service", "serviceaccount": "ServiceAccount", "deployment": "Deployment", "role": "Role",
	}[kind]
}

func sweptVersion(kind string) string {
	switch kind {
	case "deployment":
		return "apps/v1"
	case "role":
		return "rbac.authorization.k8s.io/v1"
	}
	return "v1"
}

func sweptSpec(kind, name string) string {
	switch kind {
	case "service":
		return "spec: {ports: [{port: 80}]}\n"
	case "deployment":
		return fmt.Sprintf("spec: {replicas: 0, selector: {matchLabels: {app: %[1]s}}, template: {metadata: {labels: {app: %[1]s}}, "+
			"spec: {containers: [{name: web, image: registry.example/web:1}]}}}\n", name)
	}
	return ""
}

// sweptResources are what the sets are made of.
func sweptResources() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{
		{Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "secrets"}, {Version: "v1", Resource: "services"},
		{Version: "v1", Resource: "serviceaccounts"}, {Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
	}
}

// plantForeign makes what is not ours: an object without labels, and one onto which somebody copied
// the labels of ours.
func (r *cliRun) plantForeign(t *testing.T) {
	t.Helper()
	r.foreign = map[string]string{}
	for name, labels := range map[string]map[string]string{"stranger": nil, "copycat": plan.Inventory(r.Namespace, "app").Labels()} {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
		u.SetName(name)
		u.SetLabels(labels)
		made, err := r.Dynamic.Resource(sweptResources()[0]).Namespace(r.Namespace).Create(t.Context(), u, metav1.CreateOptions{FieldManager: "operator"})
		if err != nil {
			t.Fatal(err)
		}
		r.foreign[name] = string(made.GetUID()) + " " + made.GetResourceVersion()
	}
}

// ours are the objects that carry the inventory's labels, with their versions, but for the copycat.
func (r *cliRun) ours(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, gvr := range sweptResources() {
		list, err := r.Dynamic.Resource(gvr).Namespace(r.Namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range list.Items {
			if planted, ok := r.foreign[u.GetName()]; ok {
				if now := string(u.GetUID()) + " " + u.GetResourceVersion(); now != planted {
					t.Errorf("%s, which is not ours, was %s and is %s", u.GetName(), planted, now)
				}
				continue
			}
			if plan.Inventory(r.Namespace, "app").Marks(&u) {
				out[u.GetName()] = u.GetAnnotations()["version"]
			}
		}
	}
	return out
}

func (r *cliRun) recorded(t *testing.T) *record.Record {
	t.Helper()
	c, err := cluster.Connect(r.Config)
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := record.Load(t.Context(), c, plan.Inventory(r.Namespace, "app"), r.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	if damage := recorded.Degraded(); damage != "" {
		t.Errorf("the record is damaged: %s", damage)
	}
	return recorded
}

// nothingForgotten sees that all that is ours is on record.
func (r *cliRun) nothingForgotten(t *testing.T) {
	t.Helper()
	known := map[string]bool{}
	for _, id := range r.recorded(t).IDs() {
		known[id.Name] = true
	}
	for name := range r.ours(t) {
		if !known[name] {
			t.Errorf("%s exists and is not on record", name)
		}
	}
}

// converged sees that the cluster has what the scenario ends with, and the record says so.
func (r *cliRun) converged(t *testing.T) {
	t.Helper()
	want, located := map[string]string{}, r.set(r.after, r.changed)
	for _, line := range strings.Split(located, "\n") {
		if _, rest, ok := strings.Cut(line, "metadata: {name: "); ok && strings.Contains(line, "annotations: {version: ") {
			name, _, _ := strings.Cut(rest, ",")
			_, version, _ := strings.Cut(rest, "{version: ")
			want[name] = strings.TrimRight(version, "}")
		}
	}
	if d := cmp.Diff(want, r.ours(t)); d != "" {
		t.Errorf("what is there (-want +got):\n%s", d)
	}
	recorded := r.recorded(t)
	var names []string
	for id, e := range recorded.Entries {
		names = append(names, id.Name)
		if e.Pending || e.Retained || e.Unproven || e.UID == "" {
			t.Errorf("on record is %+v", e)
		}
	}
	slices.Sort(names)
	wanted := slices.Sorted(slices.Values(r.after))
	if d := cmp.Diff(wanted, names); d != "" {
		t.Errorf("what is on record (-want +got):\n%s", d)
	}
	if holder := recorded.Holder().Name; holder != "" {
		t.Errorf("%s still holds the inventory", holder)
	}
	if len(r.after) == 0 && recorded.Exists {
		t.Error("the record is still there")
	}
	r.projected(t)
}

// projected sees that the inventory in Kustomizer's format agrees.
func (r *cliRun) projected(t *testing.T) {
	t.Helper()
	u, err := r.Dynamic.Resource(sweptResources()[0]).Namespace(r.Namespace).Get(t.Context(), "inv-app", metav1.GetOptions{})
	if len(r.after) == 0 {
		if err == nil {
			t.Error("the inventory is still there")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	resources, _, _ := unstructured.NestedString(u.Object, "data", "resources")
	if n := strings.Count(resources, `"id":`); n != len(r.after) {
		t.Errorf("the inventory has %d entries, not %d", n, len(r.after))
	}
}
