// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// replay is a namespace of a real API server, two inventories in it, and objects.
type replay struct {
	t       *testing.T
	env     *testkit.Env
	proxy   *testkit.Proxy
	client  dynamic.ResourceInterface
	engine  *Engine // that reads records for the test
	owners  [2]plan.Owner
	objects int

	mu  sync.Mutex
	end *replayEnd // of the run that is under way; nil: nothing ends it
}

// The model and the engine on an API server agree: after each run, killed and failed ones too, and after
// what people do, each object and both records are as the model says. Every class of situations, and every
// way in which a run of every kind can end, occurs.
func TestModelIsReplayedOnTheAPIServer(t *testing.T) {
	t.Parallel()
	const traces, objects, runs = 8, 6, 25
	envs := make([]*testkit.Env, traces)
	for i := range envs {
		envs[i] = testkit.Cluster(t)
	}
	table := fullAlphabet().table(t)
	p := newReplayPlan(table)
	total, kinds := 0, map[replayKind]bool{}
	for i := range traces {
		steps := p.trace(objects, runs)
		for _, step := range steps {
			if step.run != nil {
				total++
				kinds[replayKind{step.run.modelHow, step.run.phase}] = true
			}
		}
		t.Run(fmt.Sprintf("trace %d", i+1), func(t *testing.T) {
			t.Parallel()
			if differs := newReplay(t, envs[i], objects).replay(steps, table); differs != "" {
				t.Error(differs)
			}
		})
	}
	t.Logf("%d runs, %d endings of runs of a kind, %d of %d situations", total, len(kinds), len(p.met), len(table.situations))
	// A run that adopts is never refused, and one without prune deletes nothing.
	if want := 2 * (len(replayModes())*len(replayPhases()) - 3); !p.deep || len(kinds) != want {
		t.Errorf("all classes of situations are shown: %t; %d of %d endings are", p.deep, len(kinds), want)
	}
}

// A model that is wrong is found out.
func TestReplayNoticesAWrongModel(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	m := newModel(1, func(string, ...any) {})
	m.rules.recordLate = true
	table := smallAlphabet().explore(m, never)
	steps := newReplayPlan(table).trace(2, 20)
	differs := newReplay(t, env, 2).replay(steps, table)
	if differs == "" {
		t.Error("the engine does as a model says in which the record is written late")
	}
	t.Log(differs)
}

func newReplay(t *testing.T, env *testkit.Env, objects int) *replay {
	r := &replay{t: t, env: env, objects: objects, owners: [2]plan.Owner{plan.Inventory(env.Namespace, "a"), plan.Inventory(env.Namespace, "b")}}
	r.client = env.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(env.Namespace)
	user := env.User(t, "agent-of-"+env.Namespace, "system:masters")
	r.proxy = testkit.FaultProxy(t, env, user, r.fault)
	r.engine = r.connect(user)
	return r
}

func (r *replay) connect(user testkit.Identity) *Engine {
	c, err := cluster.Connect(user.Config)
	if err != nil {
		r.t.Fatal(err)
	}
	return &Engine{Cluster: c, AgentNamespace: r.env.Namespace}
}

// replay does all steps and compares what there is after each. It ends at the first difference, and
// returns it.
func (r *replay) replay(steps []replayStep, table *modelTable) string {
	for n, step := range steps {
		before := r.locals()
		wrong := ""
		if step.run != nil {
			wrong = r.run(step.run)
		}
		for _, i := range slices.Sorted(maps.Keys(step.acts)) {
			r.act(step.acts[i], i)
		}
		for i, got := range r.locals() {
			if want := table.situations[step.want[i]].local; got != want {
				wrong += fmt.Sprintf("\nobject %d\n  before:       %s\n  the model:    %s\n  the cluster:  %s", i, before[i], want, got)
			}
		}
		if wrong != "" {
			return fmt.Sprintf("step %d: %s: %s", n, step, wrong)
		}
	}
	return ""
}

// String says what is done.
func (s replayStep) String() string {
	if s.run == nil {
		return fmt.Sprintf("people %v", s.acts)
	}
	return fmt.Sprintf("run of %d, %s, which ends in phase %d after %v, on %v", s.run.owner+1, s.run.mode, s.run.phase, s.run.within, s.run.choices)
}

// manifest is an object as it is wanted, or made by hand.
func (r *replay) manifest(i, content int) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"by": strconv.Itoa(content)},
	}}
	u.SetNamespace(r.env.Namespace)
	u.SetName(replayName(i))
	return u
}

func replayName(i int) string { return "o" + strconv.Itoa(i) }

// run makes a run of the engine's, as a process of its own would, and returns what is wrong with what it says.
func (r *replay) run(run *replayRun) string {
	// No set is empty, so that one without any of the objects can be applied without prune.
	own := r.manifest(0, 0)
	own.SetName("z" + strconv.Itoa(run.owner))
	req := InventoryRequest{
		Owner: r.owners[run.owner], Collected: Collected{Objects: []*unstructured.Unstructured{own}, Digest: "sha256:one"},
		Lock:   LockTimes{Heartbeat: 100 * time.Millisecond, Patience: time.Second},
		Policy: plan.Policy{Prune: run.mode != modelKeeping, GuardOff: true, Adopt: run.mode == modelAdopt},
	}
	for i, c := range run.choices {
		if c != modelOut {
			req.Collected.Objects = append(req.Collected.Objects, r.manifest(i, c.content(run.owner)))
		}
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	r.ends(newReplayEnd(run, cancel))
	out := r.connect(r.proxy.Identity).ApplyInventory(ctx, req, InventoryProgress{})
	r.ends(nil)
	if (out.State == Done) != (run.phase == modelDone) && ctx.Err() == nil {
		return fmt.Sprintf("it says %s: %v", out.State, out.Err)
	}
	return ""
}

func (r *replay) ends(end *replayEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = end
}

// replayPatience is how long the writes of a run are waited for.
const replayPatience = 30 * time.Second

// fault ends the run that is under way where it is to end.
func (r *replay) fault(req testkit.Request) testkit.Fault {
	r.mu.Lock()
	end := r.end
	r.mu.Unlock()
	if end == nil {
		return testkit.Fault{}
	}
	return end.fault(req)
}

// replayEnd ends a run after some of its writes or deletions. Those that are not to be made wait until
// the others are: then they are refused, or the run is killed and nothing of it comes through any more.
type replayEnd struct {
	verb   string
	passes map[string]bool // names
	fails  bool
	kill   func()

	mu    sync.Mutex
	left  int // to be made before the end
	ended chan struct{}
}

// newReplayEnd is nil for a run that nothing ends.
func newReplayEnd(run *replayRun, kill func()) *replayEnd {
	e := &replayEnd{passes: map[string]bool{}, kill: kill, ended: make(chan struct{})}
	switch run.phase {
	case modelRefused, modelDone:
		return nil
	case modelWritten, modelWriteFailed:
		e.verb = "patch"
	default:
		e.verb = "delete"
	}
	e.fails = run.phase == modelWriteFailed || run.phase == modelDeleteFailed
	for i, within := range run.within {
		if within {
			e.passes[replayName(i)] = true
			e.left++
		}
	}
	return e
}

func (e *replayEnd) fault(req testkit.Request) testkit.Fault {
	mine := req.Verb == e.verb && !req.DryRun && req.Resource == "configmaps" && strings.HasPrefix(req.Name, "o")
	switch {
	case !e.fails && e.over():
		return testkit.Fault{Cut: true}
	case !mine:
		return testkit.Fault{}
	case e.passes[req.Name]:
		return testkit.Fault{After: func() { e.count(1) }}
	}
	e.count(0)
	select {
	case <-e.ended:
	case <-time.After(replayPatience): // what was to come before does not: the comparison tells
	}
	if e.fails {
		return testkit.Fault{Status: http.StatusForbidden}
	}
	return testkit.Fault{Cut: true}
}

func (e *replayEnd) over() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

// count counts what was made, and ends the run when there is nothing left to be made.
func (e *replayEnd) count(made int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left -= made; e.left > 0 || e.over() {
		return
	}
	if !e.fails {
		e.kill()
	}
	close(e.ended)
}

// act is what people do, with a plain client.
func (r *replay) act(act modelAct, i int) {
	ctx := r.t.Context()
	if act == modelDelete || act >= modelForeign {
		if err := r.client.Delete(ctx, replayName(i), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			r.t.Fatal(err)
		}
	}
	if act == modelDelete {
		return
	}
	if act >= modelForeign {
		u := r.manifest(i, 0)
		if owner := int(act-modelForeign) - 1; owner >= 0 {
			u.SetLabels(r.owners[owner].Labels())
		}
		if _, err := r.client.Create(ctx, u, metav1.CreateOptions{FieldManager: "somebody"}); err != nil {
			r.t.Fatal(err)
		}
		return
	}
	u, err := r.client.Get(ctx, replayName(i), metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.edit(act, i, u)
	if _, err := r.client.Update(ctx, u, metav1.UpdateOptions{FieldManager: "somebody"}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replay) edit(act modelAct, i int, u *unstructured.Unstructured) {
	switch act {
	case modelEdit:
		u.Object["data"] = r.manifest(i, 0).Object["data"]
	case modelStrip:
		u.SetLabels(nil)
	case modelKeep:
		kept := map[string]string{plan.InventoryLabelGroup + "/prune": "disabled"}
		if len(u.GetAnnotations()) > 0 {
			kept = nil
		}
		u.SetAnnotations(kept)
	}
}

// locals is what the cluster and both records say, in the model's terms.
func (r *replay) locals() []modelLocal {
	r.t.Helper()
	var entries [2]map[object.ID]plan.Entry
	for k, owner := range r.owners {
		rec, err := record.Load(r.t.Context(), r.engine.Cluster, owner, r.env.Namespace)
		if err != nil || rec.Degraded() != "" {
			r.t.Fatalf("the record of %s: %v", owner, cmp.Or(err, errors.New(rec.Degraded())))
		}
		entries[k] = rec.Entries
	}
	out := make([]modelLocal, r.objects)
	for i := range out {
		u, err := r.client.Get(r.t.Context(), replayName(i), metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			r.t.Fatal(err)
		}
		if err != nil {
			u = nil
		}
		out[i] = r.local(i, u, entries)
	}
	return out
}

func (r *replay) local(i int, u *unstructured.Unstructured, entries [2]map[object.ID]plan.Entry) modelLocal {
	var l modelLocal
	if u != nil {
		content, _, _ := unstructured.NestedString(u.Object, "data", "by")
		n, err := strconv.Atoi(content)
		if err != nil {
			r.t.Fatal(err)
		}
		l.there, l.content, l.kept = true, int8(n), len(u.GetAnnotations()) > 0
		l.byRun = plan.Fingerprint(u, plan.InventoryManager) != ""
		for k, owner := range r.owners {
			if owner.Marks(u) {
				l.marks = int8(k + 1)
			}
		}
	}
	id := object.Of(r.manifest(i, 0))
	l.first, l.second = r.entry(i, u, 0, entries[0][id]), r.entry(i, u, 1, entries[1][id])
	return l
}

func (r *replay) entry(i int, u *unstructured.Unstructured, owner int, e plan.Entry) modelEntry {
	out := modelEntry{on: e.ID != (object.ID{}), pending: e.Pending, retained: e.Retained, claimed: e.Claimed}
	switch {
	case e.UID == "":
	case u != nil && e.UID == string(u.GetUID()):
		out.uid = modelSameUID
		out.settled = e.Live != "" && e.Live == plan.Fingerprint(u, plan.InventoryManager)
	default:
		out.uid = modelOtherUID
	}
	for _, content := range []int{owner + 1, 3} {
		want, err := plan.NewWant(marked(r.owners[owner], []*unstructured.Unstructured{r.manifest(i, content)})[0])
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Desired == want.Hash {
			out.desired = int8(content)
		}
	}
	return out
}
