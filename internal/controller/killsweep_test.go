// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// sweptAtOnce is how many cases of the sweep run side by side: each waits most of its time.
const sweptAtOnce = 4

// sweep kills the agent at one write after the other of what a scenario has it do.
type sweep struct {
	name   string
	update bool // the agent is killed in an update, else in the first install
	wait   bool // the Kustomization waits for health

	kinds []schema.GroupVersionResource // that an owner's objects can be of
	cases atomic.Int32
}

func TestKilledBeforeAndAfterEachWrite(t *testing.T) {
	t.Parallel()
	kinds := listableKinds(t, testkit.Cluster(t))
	for _, s := range []*sweep{
		{name: "first install"},
		{name: "update", update: true},
		{name: "first install that waits", wait: true},
		{name: "update that waits", update: true, wait: true},
	} {
		s.kinds = kinds
		t.Run(s.name, s.all)
	}
}

// all counts the writes of an undisturbed run and then kills before and after each of them.
func (s *sweep) all(t *testing.T) {
	writes := s.count(t)
	if len(writes) < len(s.wanted()) {
		t.Fatalf("only %d writes were counted:\n%s", len(writes), writes)
	}
	var group errgroup.Group
	group.SetLimit(sweptAtOnce)
	for i, w := range writes {
		for _, moment := range []testkit.Moment{testkit.BeforeWrite, testkit.AfterWrite} {
			name := fmt.Sprintf("%s write %d %s %s %s", moment, i+1, w.Verb, w.Resource, w.Name)
			group.Go(func() error {
				t.Run(name, func(t *testing.T) { s.killed(t, i+1, moment) })
				return nil
			})
		}
	}
	_ = group.Wait() // the cases report for themselves
	if got, want := int(s.cases.Load()), 2*len(writes); got != want {
		t.Errorf("%d cases were run, not %d: twice the %d writes\n%s", got, want, len(writes), writes)
	}
	t.Logf("%d writes, %d cases", len(writes), s.cases.Load())
}

// count returns the writes that every run of the scenario has. While the agent waits for health it
// may say once more, or once less, what it waits for: the fewest of some runs come in each.
func (s *sweep) count(t *testing.T) testkit.Requests {
	var mu sync.Mutex
	var fewest testkit.Requests
	var group errgroup.Group
	for i := range sweptAtOnce - 1 {
		group.Go(func() error {
			t.Run(fmt.Sprintf("undisturbed run %d", i+1), func(t *testing.T) {
				writes := s.undisturbed(t)
				mu.Lock()
				defer mu.Unlock()
				if fewest == nil || len(writes) < len(fewest) {
					fewest = writes
				}
			})
			return nil
		})
	}
	_ = group.Wait() // the runs report for themselves
	return fewest
}

// undisturbed runs the scenario without a kill and returns the agent's writes.
func (s *sweep) undisturbed(t *testing.T) testkit.Requests {
	run := s.prepare(t)
	before := len(run.proxy.Writes())
	run.drive(t.Context(), t)
	run.arena.waitForReady(t, "app", run.revision)
	run.arena.converged(t, run.kinds, run.wanted())
	return run.proxy.Writes()[before:]
}

// killed runs the scenario with a kill at one write, looks at what is left, and has another process
// go on.
func (s *sweep) killed(t *testing.T, index int, moment testkit.Moment) {
	run := s.prepare(t)
	ctx, cancel := context.WithTimeout(t.Context(), converges)
	defer cancel()
	dead := run.proxy.KillAt(index, moment, run.kill)
	go func() {
		defer cancel() // only when the kill is over: it is what the end of the context tells
		select {
		case <-dead:
		case <-ctx.Done():
		}
	}()
	run.drive(ctx, t)
	<-ctx.Done()
	select {
	case <-dead:
	default:
		t.Fatalf("write %d never came, but these did:\n%s", index, run.proxy.Writes())
	}
	run.nothingForgotten(t)
	run.proxy.Restore()
	run.arena.start(t, run.proxy.Identity)
	run.createKustomization(t)
	run.arena.waitForReady(t, "app", run.revision)
	run.arena.converged(t, run.kinds, run.wanted())
	s.cases.Add(1)
}

// sweptRun is one run of a scenario.
type sweptRun struct {
	*sweep
	arena    *arena
	proxy    *testkit.Proxy
	agent    chan *testkit.Process
	revision string // that is to be reached
	created  bool   // the Kustomization is there
}

// prepare brings a run to where the scenario begins. The agent runs already where it has something
// to update; for a first install it is started by drive.
func (s *sweep) prepare(t *testing.T) *sweptRun {
	t.Helper()
	a := newArena(t)
	run := &sweptRun{
		sweep: s, arena: a, proxy: testkit.FaultProxy(t, a.Env, a.agent, nil),
		agent: make(chan *testkit.Process, 1),
	}
	run.revision = a.push(t, "app", "latest", installed())
	a.createSource(t, "app", "latest", nil)
	if !s.update {
		return run
	}
	run.drive(t.Context(), t)
	a.waitForReady(t, "app", run.revision)
	run.revision = a.push(t, "app", "latest", updated())
	return run
}

// drive has the agent do what the scenario is about, as far as it comes: the context ends when the
// agent is killed. Each resource is made when the agent has nothing else to do, so that every run
// has the same writes.
func (r *sweptRun) drive(ctx context.Context, t *testing.T) {
	t.Helper()
	if r.created {
		r.arena.reconcile(t, repositoriesResource(), "app")
		return
	}
	r.agent <- r.arena.start(t, r.proxy.Identity)
	sources := r.arena.Dynamic.Resource(repositoriesResource()).Namespace(r.arena.Namespace)
	if err := watchUntil(ctx, sources, "app", hasFetched(r.revision)); err != nil && ctx.Err() == nil {
		t.Fatalf("waiting for the source: %v", err)
	}
	if ctx.Err() == nil {
		r.createKustomization(t)
	}
}

// kill ends the agent at once, as soon as it is known.
func (r *sweptRun) kill() {
	agent := <-r.agent
	agent.Kill()
}

func (r *sweptRun) createKustomization(t *testing.T) {
	t.Helper()
	if r.created {
		return
	}
	r.created = true
	r.arena.createKustomization(t, "app", "app", map[string]any{"wait": r.wait, "targetNamespace": r.arena.Namespace})
}

// nothingForgotten checks that everything that carries the owner's labels is on record.
func (r *sweptRun) nothingForgotten(t *testing.T) {
	t.Helper()
	recorded := r.arena.recorded(t, "app")
	for id := range r.arena.labelled(t, r.kinds, "app") {
		if _, ok := recorded.Entries[id]; !ok {
			t.Errorf("%s exists and is not on record: %v", id, recorded.IDs())
		}
	}
}

// converged checks that what was published is there, whole and alone, and that the record says so.
// The Kustomization is called app.
func (a *arena) converged(t *testing.T, kinds []schema.GroupVersionResource, published map[string]string) {
	t.Helper()
	live := a.labelled(t, kinds, "app")
	var want []string
	for _, text := range published {
		u := decode(t, text)
		u.SetNamespace(a.Namespace)
		id := object.Of(u)
		want = append(want, id.String())
		if have := live[id]; have == nil {
			t.Errorf("%s does not exist", id)
		} else if missing := lacking(u.Object, have.Object, ""); len(missing) > 0 {
			t.Errorf("%s is not as published: %s", id, strings.Join(missing, ", "))
		}
	}
	recorded := a.recorded(t, "app")
	var have, known []string
	for id, u := range live {
		have = append(have, id.String())
		if e := recorded.Entries[id]; e.Pending || e.Retained || e.Unproven || e.UID != string(u.GetUID()) {
			t.Errorf("on record is %+v of %s with the UID %s", e, id, u.GetUID())
		}
	}
	for _, id := range recorded.IDs() {
		known = append(known, id.String())
	}
	for what, got := range map[string][]string{"there": have, "on record": known} {
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what is %s (-want +got):\n%s", what, diff)
		}
	}
}

// labelled finds everything in the cluster that carries an owner's labels.
func (a *arena) labelled(t *testing.T, kinds []schema.GroupVersionResource, name string) map[object.ID]*unstructured.Unstructured {
	t.Helper()
	out := map[object.ID]*unstructured.Unstructured{}
	selector := plan.Kustomization(a.Namespace, name).Selector()
	for _, kind := range kinds {
		list, err := a.Dynamic.Resource(kind).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
		if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
			continue
		}
		if err != nil {
			t.Fatalf("looking over all %s: %v", kind.Resource, err)
		}
		for _, u := range list.Items {
			out[object.Of(&u)] = &u
		}
	}
	return out
}

// listableKinds asks the server what an object could be.
func listableKinds(t *testing.T, e *testkit.Env) []schema.GroupVersionResource {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := client.ServerPreferredResources()
	if err != nil {
		t.Fatalf("finding out what there is: %v", err)
	}
	var out []schema.GroupVersionResource
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			// A Service's labels are copied to what the server makes of it.
			derived := r.Kind == "Endpoints" || r.Kind == "EndpointSlice"
			if slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "delete") && !derived {
				out = append(out, gv.WithResource(r.Name))
			}
		}
	}
	return out
}

// wanted are the objects that the scenario ends with.
func (s *sweep) wanted() map[string]string {
	if s.update {
		return updated()
	}
	return installed()
}

// lacking lists what of the wanted fields a live object has not. Lists are compared by their length
// only: the server fills in their members' defaults.
func lacking(want, have any, at string) []string {
	switch w := want.(type) {
	case map[string]any:
		h, _ := have.(map[string]any)
		var out []string
		for key, value := range w {
			out = append(out, lacking(value, h[key], at+"."+key)...)
		}
		return out
	case []any:
		if h, _ := have.([]any); len(h) == len(w) {
			return nil
		}
	default:
		if fmt.Sprint(want) == fmt.Sprint(have) {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s is %v, not %v", at, have, want)}
}

// installed is a small set with something of several stages.
func installed() map[string]string {
	return map[string]string{
		"settings.yaml":   configMapText("settings", "one"),
		"plain.yaml":      configMapText("plain", "same"),
		"leaving.yaml":    configMapText("leaving", "one"),
		"account.yaml":    "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: leaving\n",
		"service.yaml":    "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  selector:\n    app: web\n  ports:\n    - port: 80\n",
		"deployment.yaml": deploymentText("web", "one"),
	}
}

// updated is the same with one object more, two changed and two gone.
func updated() map[string]string {
	out := installed()
	out["settings.yaml"] = configMapText("settings", "two")
	out["deployment.yaml"] = deploymentText("web", "two")
	out["added.yaml"] = configMapText("added", "two")
	delete(out, "leaving.yaml")
	delete(out, "account.yaml")
	return out
}

func configMapText(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  value: %s\n", name, value)
}

// deploymentText is of one that runs nothing, so that what it costs is the API server's part.
func deploymentText(name, version string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  annotations:
    version: %[2]s
spec:
  replicas: 0
  selector:
    matchLabels:
      app: %[1]s
  template:
    metadata:
      labels:
        app: %[1]s
        version: %[2]s
    spec:
      containers:
        - name: web
          image: registry.example/web:1
`, name, version)
}
