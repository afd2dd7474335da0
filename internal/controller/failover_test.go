// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// Flux's Leases.
const (
	sourceLease        = "source-controller-leader-election"
	kustomizationLease = "kustomize-controller-leader-election"
)

func leasesResource() schema.GroupVersionResource {
	return coordinationv1.SchemeGroupVersion.WithResource("leases")
}

// shortLeases are flags with which a failover takes seconds.
func shortLeases() []string {
	return []string{
		"--leader-election-lease-duration=3s", "--leader-election-renew-deadline=2s", "--leader-election-retry-period=500ms",
	}
}

func TestAnotherAgentTakesOverMidway(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(p *testkit.Process) error{
		"the leader is killed": func(p *testkit.Process) error { p.Kill(); return nil },
		"the leader is paused": (*testkit.Process).Suspend,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			takesOver(t, end)
		})
	}
}

// takesOver has an agent end in the middle of its applies, and another one go on.
func takesOver(t *testing.T, end func(*testkit.Process) error) {
	a := newArena(t)
	second := a.User(t, "second-"+a.Namespace, "system:masters")
	ended := make(chan error, 1)
	var first *testkit.Process
	started := make(chan struct{})
	proxy := testkit.FaultProxy(t, a.Env, a.agent, onApply(1, func() {
		<-started
		ended <- end(first)
	}))
	revision := a.push(t, "app", "latest", installed())
	a.createSource(t, "app", "latest", nil)
	a.createKustomization(t, "app", "app", map[string]any{"wait": true, "targetNamespace": a.Namespace})

	first = a.startElecting(t, proxy.Identity, a.storage, shortLeases()...)
	close(started)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	a.startElecting(t, second, t.TempDir(), shortLeases()...)
	a.waitForReady(t, "app", revision)
	kinds := listableKinds(t, a.Env)
	a.converged(t, kinds, installed())

	mark := a.Mark(t)
	_ = first.Resume() // where it was killed there is nothing to resume
	if code := first.Wait(t, converges); code == 0 {
		t.Error("it lost its leadership and ended as if nothing was wrong")
	}
	// Of a request that had begun when it was paused, the API server can have the head, and says that it is incomplete.
	done := func(r testkit.Request) bool { return r.Code < http.StatusMultipleChoices }
	if late := a.requests(t, testkit.After(mark), done).Writes().Without("leases", "events"); len(late) > 0 {
		t.Errorf("it wrote after another one had taken over:\n%s", late)
	}
	a.converged(t, kinds, installed())
	a.madeOnce(t, second)
}

// onApply is a hook that calls a function once, before an apply to a managed object is forwarded:
// the one that comes after as many others.
func onApply(others int, do func()) testkit.Hook {
	var mu sync.Mutex
	seen := 0
	return func(r testkit.Request) testkit.Fault {
		mu.Lock()
		defer mu.Unlock()
		if !applied(r) {
			return testkit.Fault{}
		}
		seen++
		if seen != others+1 {
			return testkit.Fault{}
		}
		return testkit.Fault{Before: do}
	}
}

// madeOnce checks that each object was created once, by whomever, and none was deleted. Of the
// request that was cut when its agent was killed, the log need not tell that it created anything.
func (a *arena) madeOnce(t *testing.T, second testkit.Identity) {
	t.Helper()
	made, cut := map[string]int{}, map[string]bool{}
	for _, r := range append(a.requests(t), a.Requests(t, testkit.ByUser(second.UserName))...) {
		switch {
		case r.Verb == "delete", r.Verb == "deletecollection":
			t.Errorf("deleted was %s", r)
		case applied(r) && r.Code == 201:
			made[r.Resource+"/"+r.Name]++
		case applied(r) && r.Code != 200:
			cut[r.Resource+"/"+r.Name] = true
		}
	}
	for name := range made {
		delete(cut, name)
	}
	if len(made) > len(installed()) || len(made)+len(cut) < len(installed()) {
		t.Errorf("created were %v, cut were %v", made, cut)
	}
	for name, times := range made {
		if times != 1 {
			t.Errorf("%s was created %d times", name, times)
		}
	}
}

func TestLeadsOnlyWithBothLeases(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ foreign, free string }{
		{sourceLease, kustomizationLease},
		{kustomizationLease, sourceLease},
	} {
		t.Run(test.foreign+" is another's", func(t *testing.T) {
			t.Parallel()
			a := newArena(t)
			revision := a.push(t, "app", "latest", map[string]string{"settings.yaml": configMapText("settings", "one")})
			a.createSource(t, "app", "latest", nil)
			a.createKustomization(t, "app", "app", map[string]any{"targetNamespace": a.Namespace})
			a.holdLease(t, test.foreign)
			mark := a.Mark(t)
			agent := a.startElecting(t, a.agent, a.storage, shortLeases()...)
			agent.WaitForOutput(t, "Attempting to acquire leader lease", converges)
			if test.free == sourceLease { // which is the first that it takes
				a.waitForHolder(t, test.free, func(holder string) bool { return holder != "" })
				a.waitForHolder(t, test.free, func(holder string) bool { return holder == "" })
			} else {
				a.refusedLease(t, mark)
			}
			if writes := a.requests(t, testkit.After(mark)).Writes().Without("leases"); len(writes) > 0 {
				t.Errorf("without both Leases it wrote:\n%s", writes)
			}
			if lease := a.lease(t, test.foreign); lease != "flux" {
				t.Errorf("the foreign Lease is %q's", lease)
			}
			a.freeLease(t, test.foreign)
			a.waitForReady(t, "app", revision)
			for _, name := range []string{sourceLease, kustomizationLease} {
				if holder := a.lease(t, name); holder == "" || holder == "flux" {
					t.Errorf("it leads while %s is %q's", name, holder)
				}
			}
		})
	}
}

// refusedLease waits until the agent has looked at its first Lease again and again, and checks that
// it took none.
func (a *arena) refusedLease(t *testing.T, mark testkit.Mark) {
	t.Helper()
	testkit.Eventually(t, "looking at the Lease", converges, func() error {
		if n := len(a.requests(t, testkit.After(mark)).Of(testkit.Resources("leases"))); n < 4 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	if writes := a.requests(t, testkit.After(mark)).Writes(); len(writes) > 0 {
		t.Errorf("it wrote:\n%s", writes)
	}
}

// holdLease makes a Lease that is another's for longer than the test lasts.
func (a *arena) holdLease(t *testing.T, name string) {
	t.Helper()
	holder, seconds, now := "flux", int32(3600), metav1.NowMicro()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now,
		},
	}
	if _, err := a.Kube.CoordinationV1().Leases(a.Namespace).Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// freeLease gives it back, as a controller does that ends.
func (a *arena) freeLease(t *testing.T, name string) {
	t.Helper()
	_, err := a.Kube.CoordinationV1().Leases(a.Namespace).Patch(t.Context(), name, types.MergePatchType,
		[]byte(`{"spec":{"holderIdentity":"","leaseDurationSeconds":1}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// lease returns who holds a Lease.
func (a *arena) lease(t *testing.T, name string) string {
	t.Helper()
	lease, err := a.Kube.CoordinationV1().Leases(a.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

func (a *arena) waitForHolder(t *testing.T, name string, is func(holder string) bool) {
	t.Helper()
	waitUntil(t, a.Dynamic.Resource(leasesResource()).Namespace(a.Namespace), name, "changes hands", func(u *unstructured.Unstructured) error {
		holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
		if !is(holder) {
			return fmt.Errorf("it is %q's", holder)
		}
		return nil
	})
}

func TestStopsGracefully(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	underWay := make(chan struct{})
	var slow sync.Once
	proxy := testkit.FaultProxy(t, a.Env, a.agent, func(r testkit.Request) testkit.Fault {
		var fault testkit.Fault
		if applied(r) && r.Resource == "services" {
			slow.Do(func() {
				close(underWay)
				fault.Delay = time.Second
			})
		}
		return fault
	})
	a.push(t, "app", "latest", installed())
	a.createSource(t, "app", "latest", nil)
	a.createKustomization(t, "app", "app", map[string]any{"targetNamespace": a.Namespace})
	agent := a.startElecting(t, proxy.Identity, a.storage, shortLeases()...)
	<-underWay
	if code := agent.Stop(t, 15*time.Second); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	service, err := a.Kube.CoreV1().Services(a.Namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatalf("the write under way was not finished: %v", err)
	}
	for id, e := range a.recorded(t, "app").Entries {
		if id.Kind == "Service" && (e.Pending || e.UID != string(service.UID)) {
			t.Errorf("what was finished is on record as %+v", e)
		}
	}
	if begun := a.requests(t).Of(applied, testkit.Resources("deployments")); len(begun) > 0 {
		t.Errorf("after it was asked to stop it began:\n%s", begun)
	}
	for _, e := range a.events(t, "Kustomization", "app") {
		if e.Type == corev1.EventTypeWarning {
			t.Errorf("that it was asked to stop was told as %s: %s", e.Reason, e.Message)
		}
	}
	for _, name := range []string{sourceLease, kustomizationLease} {
		if holder := a.lease(t, name); holder != "" {
			t.Errorf("%s is still %q's", name, holder)
		}
	}
}

func TestRefusesToStartBesideFluxWithoutElection(t *testing.T) {
	t.Parallel()
	a := arenaIn(t, testkit.OwnControlPlane(t, testkit.ControlPlane{NoControllerManager: true}))
	flux := map[string]string{"app.kubernetes.io/part-of": "flux", "app.kubernetes.io/component": "kustomize-controller"}
	pod := map[string]string{"app": "kustomize-controller"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "kustomize-controller", Labels: flux},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: pod},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: pod},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "manager", Image: "ghcr.io/fluxcd/kustomize-controller:v1.9.5", Args: []string{"--watch-all-namespaces"},
				}}},
			},
		},
	}
	deployments := a.Kube.AppsV1().Deployments(a.Namespace)
	if _, err := deployments.Create(t.Context(), deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	agent := a.startElecting(t, a.agent, a.storage, shortLeases()...)
	if code := agent.Wait(t, converges); code != 6 {
		t.Errorf("it ended with %d, not with that of a refusal", code)
	}
	if out := agent.Output(); !strings.Contains(out, "kustomize-controller runs without leader election") || !strings.Contains(out, "--replicas=0") {
		t.Errorf("it said:\n%s", out)
	}
	if writes := a.requests(t).Writes(); len(writes) > 0 {
		t.Errorf("it wrote:\n%s", writes)
	}
	elected := `[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--enable-leader-election"}]`
	if _, err := deployments.Patch(t.Context(), deployment.Name, types.JSONPatchType, []byte(elected), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	a.startElecting(t, a.agent, a.storage, shortLeases()...).WaitForOutput(t, "The agent is at work", converges)
}

func TestAFailingKustomizationDisturbsNoOther(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.push(t, "broken", "latest", map[string]string{
		"settings.yaml": configMapText("of-broken", "one"),
		"invalid.yaml":  "apiVersion: v1\nkind: Service\nmetadata:\n  name: invalid\nspec:\n  ports:\n    - port: 123456\n",
	})
	revision := a.push(t, "sound", "latest", map[string]string{"settings.yaml": configMapText("of-sound", "one")})
	for _, name := range []string{"broken", "sound"} {
		a.createSource(t, name, "latest", nil)
		a.createKustomization(t, name, name, map[string]any{
			"targetNamespace": a.Namespace, "interval": interval.String(), "retryInterval": interval.String(),
		})
	}
	a.start(t, a.agent, "--concurrent=1") // one worker for both
	a.waitForReason(t, "broken", "ReconciliationFailed")
	a.waitForReady(t, "sound", revision)

	mark := a.Mark(t)
	revision = a.push(t, "sound", "latest", map[string]string{"settings.yaml": configMapText("of-sound", "two")})
	a.reconcile(t, repositoriesResource(), "sound")
	a.waitForReady(t, "sound", revision)
	testkit.Eventually(t, "trying again", converges, func() error {
		again := a.requests(t, testkit.After(mark)).Of(func(r testkit.Request) bool { return r.DryRun && r.Name == "invalid" })
		if len(again) < 2 {
			return fmt.Errorf("it was tried %d times", len(again))
		}
		return nil
	})
	a.waitForReason(t, "broken", "ReconciliationFailed")
	if ready := a.requests(t, testkit.After(mark)).Writes().Of(applied); len(ready) != 1 || ready[0].Name != "of-sound" {
		t.Errorf("applied was:\n%s", ready)
	}
	if recorded := a.recorded(t, "broken"); recorded.Exists {
		t.Errorf("a set that was refused is on record: %v", recorded.IDs())
	}
	if live := a.labelled(t, listableKinds(t, a.Env), "broken"); len(live) > 0 {
		t.Errorf("of a set that was refused was applied: %v", live)
	}
}
