// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

type world struct {
	*testkit.Env
	t     *testing.T
	agent testkit.Identity
	owner plan.Owner
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	env := testkit.Cluster(t)
	return &world{
		Env: env, t: t, agent: env.User(t, "writer-of-"+env.Namespace, "system:masters"), owner: plan.Kustomization(env.Namespace, "app"),
	}
}

func (w *world) writer(config *rest.Config) *apply.Writer {
	w.t.Helper()
	c, err := cluster.Connect(config)
	if err != nil {
		w.t.Fatal(err)
	}
	return &apply.Writer{Cluster: c, Owner: w.owner, Gone: 2 * time.Second}
}

// faulty returns a writer whose requests a hook decides about.
func (w *world) faulty(hook testkit.Hook) *apply.Writer {
	w.t.Helper()
	return w.writer(testkit.FaultProxy(w.t, w.Env, w.agent, hook).Config)
}

// step returns the creation of an object.
func (w *world) step(apiVersion, kind, name string) plan.Step {
	w.t.Helper()
	text := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s}\n", apiVersion, kind, name, w.Namespace)
	switch kind {
	case "Deployment":
		text += "spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}}\n"
	case "RoleBinding":
		text += "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}\n"
	case "PriorityClass":
		text = "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: " + w.Namespace + "}\nvalue: 1\n"
	}
	u := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = u.UnmarshalJSON(data)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	u.SetLabels(w.owner.Labels())
	want, err := plan.NewWant(u)
	if err != nil {
		w.t.Fatal(err)
	}
	return plan.Step{ID: want.ID, Action: plan.Create, Want: &want}
}

func noDecider(context.Context, []object.ID) ([]plan.Step, error) {
	return nil, errors.New("asked to decide")
}

func nothingToAwait(context.Context, []apply.Change) error { return nil }

func (w *world) stages(writer *apply.Writer, steps ...plan.Step) (apply.Result, error) {
	return apply.Stages(w.t.Context(), writer, &plan.Plan{Owner: w.owner, Steps: steps}, noDecider, nothingToAwait)
}

// sent lists the kinds that were written or deleted, in the order of the audit log.
func (w *world) sent(verb string) []string {
	w.t.Helper()
	var got []string
	for _, r := range w.Requests(w.t, testkit.ByUser(w.agent.UserName), testkit.Verbs(verb)).Writes() {
		got = append(got, r.Resource)
	}
	return got
}

func TestOrderOfWrites(t *testing.T) {
	w := newWorld(t)
	writer := w.writer(w.agent.Config)
	steps := []plan.Step{
		w.step("apps/v1", "Deployment", "a"), w.step("v1", "ConfigMap", "a"), w.step("rbac.authorization.k8s.io/v1", "RoleBinding", "a"),
		w.step("v1", "ServiceAccount", "a"), w.step("scheduling.k8s.io/v1", "PriorityClass", "a"),
	}
	result, err := w.stages(writer, steps...)
	if err != nil || result.Err() != nil {
		t.Fatal(err, result.Err())
	}
	want := []string{"priorityclasses", "serviceaccounts", "rolebindings", "configmaps", "deployments"}
	if diff := cmp.Diff(want, w.sent("patch")); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	p := &plan.Plan{Owner: w.owner}
	for _, c := range result.Changes {
		if c.Entry.UID == "" || c.Entry.Live == "" || c.Entry.Desired == "" || c.Entry.Pending {
			t.Errorf("%s is remembered as %+v", c.ID, c.Entry)
		}
		p.Stale = append(p.Stale, plan.Step{ID: c.ID, Action: plan.Delete, Live: c.Object, Entry: c.Entry})
	}
	// The Deployment's controller writes to it at once; read what is judged.
	for i, s := range p.Stale {
		live, err := writer.Cluster.Get(t.Context(), s.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		p.Stale[i].Live = live
	}
	for phase := object.PhaseCustom; phase <= object.PhaseDefinitions; phase++ {
		if failed := apply.Prune(t.Context(), writer, p, phase); failed.Err() != nil && !apierrors.IsConflict(failed.Failures[0].Err) {
			t.Fatal(failed.Err())
		}
	}
	slices.Reverse(want)
	if diff := cmp.Diff(want, w.sent("delete")); diff != "" {
		t.Errorf("deletions (-want +got):\n%s", diff)
	}
}

func TestFailedWriteStopsWhatComesAfter(t *testing.T) {
	w := newWorld(t)
	writer := w.faulty(func(r testkit.Request) testkit.Fault {
		if testkit.Resources("configmaps")(r) && r.Name == "bad" {
			return testkit.Fault{Status: 403}
		}
		return testkit.Fault{}
	})
	result, err := w.stages(writer, w.step("v1", "ServiceAccount", "a"), w.step("v1", "ConfigMap", "bad"), w.step("apps/v1", "Deployment", "a"))
	if err != nil || len(result.Failures) != 1 || result.Failures[0].ID.Name != "bad" {
		t.Fatalf("%v, failures %v", err, result.Failures)
	}
	if diff := cmp.Diff([]string{"serviceaccounts"}, w.sent("patch")); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if len(result.Changes) != 1 || result.Changes[0].ID.Kind != "ServiceAccount" {
		t.Errorf("changes %+v", result.Changes)
	}
}

func TestLateDecisions(t *testing.T) {
	t.Parallel()
	later := func(w *world) []plan.Step {
		late := w.step("v1", "ConfigMap", "late")
		late.Action = plan.Later
		return []plan.Step{w.step("scheduling.k8s.io/v1", "PriorityClass", "a"), w.step("v1", "ConfigMap", "now"), late}
	}
	t.Run("are made when their stage begins", func(t *testing.T) {
		w := newWorld(t)
		steps := later(w)
		decide := func(_ context.Context, ids []object.ID) ([]plan.Step, error) {
			if diff := cmp.Diff([]string{"priorityclasses"}, w.sent("patch")); diff != "" {
				t.Errorf("written before the decision (-want +got):\n%s", diff)
			}
			decided := steps[2]
			decided.Action = plan.Create
			return []plan.Step{decided}, nil
		}
		result, err := apply.Stages(t.Context(), w.writer(w.agent.Config), &plan.Plan{Owner: w.owner, Steps: steps}, decide, nothingToAwait)
		if err != nil || result.Err() != nil || len(result.Changes) != 3 || result.Steps[2].Action != plan.Create {
			t.Errorf("%v %v, %d changes", err, result.Err(), len(result.Changes))
		}
	})
	t.Run("that refuse keep the whole stage out", func(t *testing.T) {
		w := newWorld(t)
		steps := later(w)
		decide := func(context.Context, []object.ID) ([]plan.Step, error) {
			refused := steps[2]
			refused.Action, refused.Reason = plan.Refuse, "as the server said"
			return []plan.Step{refused}, nil
		}
		result, err := apply.Stages(t.Context(), w.writer(w.agent.Config), &plan.Plan{Owner: w.owner, Steps: steps}, decide, nothingToAwait)
		if err != nil || len(result.Failures) != 1 {
			t.Errorf("%v, failures %v", err, result.Failures)
		}
		if diff := cmp.Diff([]string{"priorityclasses"}, w.sent("patch")); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})
	t.Run("that can't be made keep it out as well", func(t *testing.T) {
		w := newWorld(t)
		result, err := w.stages(w.writer(w.agent.Config), later(w)...)
		if err == nil || len(result.Changes) != 1 {
			t.Errorf("%v, %d changes", err, len(result.Changes))
		}
	})
}

// The server looks for unknown fields by decoding an object a second time: once is enough.
func TestWhatWasRehearsedIsNotLookedThroughAgain(t *testing.T) {
	w := newWorld(t)
	rehearsed, bold := w.step("v1", "ConfigMap", "rehearsed"), w.step("v1", "ConfigMap", "bold")
	rehearsed.Result = rehearsed.Want.Object
	if result, err := w.stages(w.writer(w.agent.Config), rehearsed, bold); err != nil || result.Err() != nil {
		t.Fatal(err, result.Err())
	}
	got := map[string]bool{}
	for _, r := range w.Requests(t, testkit.ByUser(w.agent.UserName), testkit.Verbs("patch")).Writes() {
		got[r.Name] = strings.Contains(r.URI, "fieldValidation=Ignore")
	}
	if diff := cmp.Diff(map[string]bool{"rehearsed": true, "bold": false}, got); diff != "" {
		t.Errorf("not looked through (-want +got):\n%s", diff)
	}
}

func TestWhatIsNotToBeWrittenIsNotWritten(t *testing.T) {
	w := newWorld(t)
	var steps []plan.Step
	for _, action := range []plan.Action{plan.Unchanged, plan.Skip} {
		s := w.step("v1", "ConfigMap", string(action))
		s.Action = action
		steps = append(steps, s)
	}
	result, err := w.stages(w.writer(w.agent.Config), steps...)
	if err != nil || result.Err() != nil || len(result.Changes) != 0 || len(w.sent("patch")) != 0 {
		t.Errorf("%v %v, sent %s", err, result.Err(), w.sent("patch"))
	}
	// What another owner keeps holds up its stage, as a refusal does.
	contested, wanted := w.step("v1", "ConfigMap", "contested"), w.step("v1", "ConfigMap", "wanted")
	contested.Action, wanted.Action = plan.Conflict, plan.Create
	result, err = w.stages(w.writer(w.agent.Config), contested, wanted)
	if err != nil || result.Err() == nil || len(result.Changes) != 0 || len(w.sent("patch")) != 0 {
		t.Errorf("%v %v, sent %s", err, result.Err(), w.sent("patch"))
	}
	p := &plan.Plan{Owner: w.owner}
	for _, action := range []plan.Action{plan.Hold, plan.Keep, plan.Forget} {
		p.Stale = append(p.Stale, plan.Step{ID: steps[0].ID, Action: action})
	}
	if result := apply.Prune(t.Context(), w.writer(w.agent.Config), p, object.PhaseRest); len(result.Changes) != 0 || len(w.sent("delete")) != 0 {
		t.Errorf("deleted: %s", w.sent("delete"))
	}
}

func TestReplacementWaitsUntilTheOldOneIsGone(t *testing.T) {
	w := newWorld(t)
	writer := w.writer(w.agent.Config)
	result, err := w.stages(writer, w.step("v1", "ConfigMap", "a"))
	if err != nil || result.Err() != nil {
		t.Fatal(err, result.Err())
	}
	held := result.Changes[0].Object.DeepCopy()
	held.SetManagedFields(nil)
	held.SetFinalizers([]string{"test.kustomizer.dev/hold"})
	held, err = writer.Cluster.Update(t.Context(), held, "some-controller")
	if err != nil {
		t.Fatal(err)
	}
	replace := w.step("v1", "ConfigMap", "a")
	replace.Action, replace.Live = plan.Replace, held
	writer.Gone = 300 * time.Millisecond
	result, err = w.stages(writer, replace)
	if err != nil || len(result.Failures) != 1 || !strings.Contains(result.Failures[0].Error(), "still being deleted") {
		t.Fatalf("%v, failures %v", err, result.Failures)
	}
	live, err := w.Kube.CoreV1().ConfigMaps(w.Namespace).Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || live.UID != held.GetUID() {
		t.Errorf("it is another object already (%v)", err)
	}
	live.Finalizers = nil
	if _, err := w.Kube.CoreV1().ConfigMaps(w.Namespace).Update(t.Context(), live, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
}

func TestFailuresKeepSecrets(t *testing.T) {
	w := newWorld(t)
	s := w.step("v1", "Secret", "a")
	s.Want.Object.Object["stringData"] = map[string]any{"pin": int64(73519246)}
	result, err := w.stages(w.writer(w.agent.Config), s)
	if err != nil || len(result.Failures) != 1 {
		t.Fatalf("%v, failures %v", err, result.Failures)
	}
	if got := result.Err().Error(); strings.Contains(got, "73519246") {
		t.Errorf("the error quotes a Secret's value: %s", got)
	}
}

// D17: what could not be rehearsed is written when all else of its stage is, one at a time.
func TestTheUnrehearsedIsWrittenLastAndAlone(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	busy := 0
	var alone []string
	proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
		mu.Lock()
		defer mu.Unlock()
		if r.Verb != "patch" {
			return testkit.Fault{}
		}
		if busy++; busy == 1 {
			alone = append(alone, r.Resource)
		}
		return testkit.Fault{Delay: 20 * time.Millisecond, After: func() {
			mu.Lock()
			defer mu.Unlock()
			busy--
		}}
	})
	first, second := w.step("v1", "ServiceAccount", "a"), w.step("v1", "Secret", "a")
	first.Unrehearsed, second.Unrehearsed = "a.example", "a.example"
	steps := []plan.Step{first, second, w.step("apps/v1", "Deployment", "a")}
	for _, name := range []string{"a", "b", "c"} {
		steps = append(steps, w.step("v1", "ConfigMap", name))
	}
	result, err := w.stages(w.writer(proxy.Config), steps...)
	if err != nil || result.Err() != nil || len(result.Changes) != len(steps) {
		t.Fatal(err, result.Err())
	}
	want := []string{"configmaps", "configmaps", "configmaps", "deployments", "serviceaccounts", "secrets"}
	if diff := cmp.Diff(want, w.sent("patch")); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(alone[max(0, len(alone)-2):], want[4:]) {
		t.Errorf("they were not alone: %s were", alone)
	}
}
