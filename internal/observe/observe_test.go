// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/health"
	"github.com/kustomizer/kustomizer/internal/object"
)

const owned = "owner=me"

func configMapID(name string) object.ID {
	return object.ID{Kind: "ConfigMap", Namespace: "ns", Name: name}
}

func deploymentID(name string) object.ID {
	return object.ID{Group: "apps", Kind: "Deployment", Namespace: "ns", Name: name}
}

func jobID(name string) object.ID {
	return object.ID{Group: "batch", Kind: "Job", Namespace: "ns", Name: name}
}

func meta(name string) string {
	return fmt.Sprintf(`"metadata":{"name":%q,"namespace":"ns","uid":"uid-%s","generation":1,"labels":{"owner":"me"}}`, name, name)
}

func configMap(name string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap",` + meta(name) + `}`
}

func deployment(name string, ready int) string {
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment",%s,"spec":{"replicas":1,"selector":{"matchLabels":{"app":%q}}},
		"status":{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"readyReplicas":%d,"availableReplicas":%d,"conditions":[{"type":"Available","status":"True"}]}}`,
		meta(name), name, ready, ready)
}

func failedDeployment(name string) string {
	return `{"apiVersion":"apps/v1","kind":"Deployment",` + meta(name) + `,"spec":{"replicas":1,"selector":{"matchLabels":{"app":"` + name + `"}}},
		"status":{"observedGeneration":1,"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded"}]}}`
}

const (
	configMaps  = "/api/v1/configmaps"
	pods        = "/api/v1/pods"
	services    = "/api/v1/services"
	deployments = "/apis/apps/v1/deployments"
	jobs        = "/apis/batch/v1/jobs"
)

func want(ids ...object.ID) Want {
	w := Want{Selector: owned}
	for _, id := range ids {
		w.Objects = append(w.Objects, Target{ID: id, Version: "v1"})
	}
	return w
}

func absent(ids ...object.ID) Want {
	w := want(ids...)
	for i := range w.Objects {
		w.Objects[i].Absent = true
	}
	return w
}

// quick is the pace of tests: as the real one, in a twentieth of the time.
func quick() pace {
	return pace{
		read: 100 * time.Millisecond, retry: 10 * time.Millisecond, retryMax: 500 * time.Millisecond, idle: 10 * time.Second,
		failGrace: 100 * time.Millisecond, look: 50 * time.Millisecond, lookMax: 500 * time.Millisecond, request: 5 * time.Second,
	}
}

// await runs Until at the pace of tests, within a deadline that no passing test comes near to.
func await(t *testing.T, c *cluster.Cluster, w Want, onChange func(Report)) Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := until(ctx, newWaiter(c, w, quick()), onChange)
	if err != nil {
		t.Fatalf("%v\n%+v", err, r)
	}
	return r
}

func TestUntilTakesOneListAndOneWatchPerKind(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	w := Want{Selector: owned}
	for i := range 50 {
		name := fmt.Sprintf("n%02d", i)
		switch i % 3 {
		case 0:
			f.put(configMaps, configMap(name))
			w.Objects = append(w.Objects, Target{ID: configMapID(name)})
		case 1:
			f.put(deployments, deployment(name, 0))
			w.Objects = append(w.Objects, Target{ID: deploymentID(name)})
		default:
			f.put(services, `{"apiVersion":"v1","kind":"Service",`+meta(name)+`}`)
			w.Objects = append(w.Objects, Target{ID: object.ID{Kind: "Service", Namespace: "ns", Name: name}})
		}
	}
	for range 200 { // what others have must not matter
		f.put(configMaps, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other","namespace":"ns"}}`)
	}
	reports := 0
	r := await(t, c, w, func(r Report) {
		if reports++; reports > 1 {
			return
		}
		if len(r.Pending) != 17 {
			t.Errorf("pending at first: %+v", r.Pending)
		}
		for i := 1; i < 50; i += 3 {
			f.put(deployments, deployment(fmt.Sprintf("n%02d", i), 1))
		}
	})
	if len(r.Ready) != 50 || !r.Done() {
		t.Errorf("got %+v", r)
	}
	for _, resource := range []string{"configmaps", "deployments", "services"} {
		for _, verb := range []string{"list ", "watch "} {
			if n := f.count(verb + resource); n != 1 {
				t.Errorf("%s%s: %d requests, want 1", verb, resource, n)
			}
		}
		if n := f.count("get " + resource); n != 0 {
			t.Errorf("get %s: %d requests, want none", resource, n)
		}
	}
}

func TestUntilReturnsAtOnceWhenAllIsReady(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	f.put(deployments, deployment("a", 1))
	r := await(t, c, want(deploymentID("a")), nil)
	if diff := cmp.Diff(Report{Ready: []object.ID{deploymentID("a")}}, r); diff != "" {
		t.Error(diff)
	}
}

func TestUntilStopsAtAFailureWithTheCauseFromThePods(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	f.put(configMaps, configMap("c"))
	f.put(deployments, failedDeployment("a"))
	f.put(deployments, deployment("b", 0))
	f.put(pods, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a-1","namespace":"ns","labels":{"app":"a"}},"status":{"phase":"Pending",
		"containerStatuses":[{"name":"app","image":"example.com/a:1","state":{"waiting":{"reason":"ErrImagePull","message":"not found"}}}]}}`)
	r := await(t, c, want(configMapID("c"), deploymentID("a"), deploymentID("b")), nil)
	wanted := Report{
		Ready:   []object.ID{configMapID("c")},
		Pending: []NotReady{{deploymentID("b"), notYet(health.InProgress, "Available: 0/1")}},
		Failed: []NotReady{{deploymentID("a"), health.Status{State: health.Failed, Message: "Progress deadline exceeded",
			Cause: cause.Cause{Code: cause.ImagePull, Detail: `image "example.com/a:1" of container "app": not found`}}}},
	}
	if diff := cmp.Diff(wanted, r); diff != "" {
		t.Error(diff)
	}
}

func TestUntilForgivesAFailureThatIsTakenBack(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	f.put(deployments, failedDeployment("a"))
	r := await(t, c, want(deploymentID("a")), func(r Report) {
		if len(r.Failed) > 0 {
			f.put(deployments, deployment("a", 1))
		}
	})
	if !r.Done() {
		t.Errorf("got %+v", r)
	}
}

func TestUntilTellsTheCauseWhileWaiting(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	f.put(deployments, deployment("a", 0))
	seen := map[cause.Code]bool{}
	await(t, c, want(deploymentID("a")), func(r Report) {
		if len(r.Pending) == 0 {
			return
		}
		switch code := r.Pending[0].Status.Cause.Code; code {
		case cause.NotReadyYet: // the pod's trouble does not show in the Deployment
			f.put(pods, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a-1","namespace":"ns","labels":{"app":"a"}},"status":{"phase":"Running",
				"containerStatuses":[{"name":"app","state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":9}}}]}}`)
			seen[code] = true
		case cause.CrashLoop:
			f.put(deployments, deployment("a", 1))
			seen[code] = true
		}
	})
	if !seen[cause.NotReadyYet] || !seen[cause.CrashLoop] {
		t.Errorf("seen: %v", seen)
	}
}

func TestUntilEndsWithTheContext(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	f.put(deployments, deployment("a", 0))
	superseded := errors.New("a newer revision is there")
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := Until(ctx, c, want(deploymentID("a")), func(Report) { cancel(superseded) })
	if !errors.Is(err, superseded) || len(r.Pending) != 1 {
		t.Errorf("got %v, %+v", err, r)
	}
}

func TestUntilSurvivesTheEndOfAWatch(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	f.put(deployments, deployment("a", 0))
	first := true
	r := await(t, c, want(deploymentID("a")), func(Report) {
		if first {
			first = false
			f.cutWatches()
			f.put(deployments, deployment("a", 1))
		}
	})
	if !r.Done() {
		t.Errorf("got %+v", r)
	}
}

func TestUntilReadsOneByOneWhatItMayNotList(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"list", "watch"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			f, c := serve(t)
			f.forbid(verb + " deployments")
			f.put(deployments, deployment("a", 0))
			r := await(t, c, want(deploymentID("a")), func(r Report) {
				if len(r.Pending) > 0 && r.Pending[0].Status.State == health.InProgress {
					f.put(deployments, deployment("a", 1))
				}
			})
			if !r.Done() || f.count("get deployments") == 0 {
				t.Errorf("got %+v after %d reads", r, f.count("get deployments"))
			}
		})
	}
}

func TestUntilSaysThatItMayNotLook(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	f.forbid("list configmaps", "get configmaps")
	f.put(configMaps, configMap("a"))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := until(ctx, newWaiter(c, want(configMapID("a")), quick()), func(Report) { cancel() })
	if !errors.Is(err, context.Canceled) || len(r.Pending) != 1 || r.Pending[0].Status.State != health.Unknown || r.Pending[0].Status.Cause.Code != cause.PermissionDenied {
		t.Errorf("got %v, %+v", err, r)
	}
}

func TestUntilWaitsForAnObjectThatAppears(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	r := await(t, c, want(configMapID("a")), func(r Report) {
		if len(r.Pending) > 0 {
			if got := r.Pending[0].Status; got.State != health.NotFound || got.Cause.Code != cause.NotReadyYet {
				t.Errorf("got %+v", got)
			}
			f.put(configMaps, configMap("a"))
		}
	})
	if !r.Done() {
		t.Errorf("got %+v", r)
	}
}

func TestUntilSaysThatAKindIsMissing(t *testing.T) {
	t.Parallel()
	_, c := serve(t)
	widget := object.ID{Group: "example.com", Kind: "Widget", Namespace: "ns", Name: "a"}
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := until(ctx, newWaiter(c, want(widget), quick()), func(Report) { cancel() })
	if len(r.Pending) != 1 || r.Pending[0].Status.Cause.Code != cause.KindMissing {
		t.Errorf("got %+v", r)
	}
	if gone := await(t, c, absent(widget), nil); !gone.Done() {
		t.Errorf("nothing of a kind that is not served is there: %+v", gone)
	}
}

func TestUntilWaitsForADeletion(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	f.put(configMaps, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"ns","uid":"uid-a","labels":{"owner":"me"},
		"deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["example.com/hold"]}}`)
	r := await(t, c, absent(configMapID("a"), configMapID("never-was")), func(r Report) {
		if len(r.Pending) == 1 && r.Pending[0].Status.Cause.Code == cause.FinalizerPending {
			f.remove(configMaps, "ns", "a", true)
		}
	})
	if len(r.Ready) != 2 || !r.Done() {
		t.Errorf("got %+v", r)
	}
}

func TestUntilDoesNotTakeALostLabelForADeletion(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	f.put(configMaps, configMap("a"))
	var once sync.Once
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := until(ctx, newWaiter(c, absent(configMapID("a")), quick()), func(r Report) {
		if r.Done() {
			return
		}
		once.Do(func() { // as the list shows it
			f.remove(configMaps, "ns", "a", false)
			go func() { // two reads show that it is still there
				defer f.remove(configMaps, "ns", "a", true)
				for f.count("get configmaps") < 2 && ctx.Err() == nil {
					_ = pause(ctx, time.Millisecond)
				}
			}()
		})
	})
	if reads := f.count("get configmaps"); err != nil || !r.Done() || reads < 2 {
		t.Errorf("after %d reads: %v, %+v", reads, err, r)
	}
}

func TestUntilKeepsTheOutcomeOfAJobThatIsDeletedAfterItsEnd(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	job := func(conditions string) string {
		return `{"apiVersion":"batch/v1","kind":"Job",` + meta("j") + `,"status":{"startTime":"2026-01-01T00:00:00Z","conditions":[` + conditions + `]}}`
	}
	f.put(jobs, job(""))
	f.put(deployments, deployment("a", 0))
	step := 0
	r := await(t, c, want(jobID("j"), deploymentID("a")), func(r Report) {
		switch step++; step {
		case 1:
			f.put(jobs, job(`{"type":"Complete","status":"True"}`))
		case 2:
			f.remove(jobs, "ns", "j", true)
			f.put(deployments, deployment("a", 1))
		}
	})
	if !r.Done() {
		t.Errorf("got %+v", r)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	there := record{presence: present, uid: "one", resourceVersion: "99", status: health.Status{State: health.Current}}
	cases := map[string]struct {
		target Target
		record record
		ready  bool
		state  health.State
	}{
		"there":                           {Target{}, there, true, health.Current},
		"the object that was applied":     {Target{UID: "one", MinResourceVersion: "99"}, there, true, health.Current},
		"a namesake":                      {Target{UID: "two"}, there, false, health.InProgress},
		"a state older than the apply's":  {Target{MinResourceVersion: "100"}, there, false, health.InProgress},
		"a version that is not a number":  {Target{MinResourceVersion: "x"}, there, true, health.Current},
		"not there":                       {Target{}, record{presence: gone}, false, health.NotFound},
		"a Job that may vanish, gone":     {Target{MayVanish: true}, record{presence: gone}, true, health.NotFound},
		"a Job that may vanish, unproven": {Target{MayVanish: true}, record{presence: doubtful}, false, health.NotFound},
		"to go, unseen":                   {Target{Absent: true}, record{}, false, health.Unknown},
		"to go, still there":              {Target{Absent: true}, there, false, health.InProgress},
		"to go, out of sight":             {Target{Absent: true}, record{presence: doubtful}, false, health.Terminating},
		"to go, gone":                     {Target{Absent: true}, record{presence: gone}, true, health.NotFound},
		"to go, a namesake is there":      {Target{Absent: true, UID: "two"}, there, true, health.NotFound},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ready, status := judge(tc.target, tc.record)
			if ready != tc.ready || status.State != tc.state {
				t.Errorf("got %v, %+v", ready, status)
			}
		})
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	f, c := serve(t)
	f.put(configMaps, configMap("a"))
	f.put(deployments, deployment("b", 0))
	w := want(deploymentID("b"), configMapID("a"))
	w.Objects = append(w.Objects, Target{ID: configMapID("gone"), Absent: true})
	r, err := Snapshot(t.Context(), c, w)
	if err != nil {
		t.Fatal(err)
	}
	wanted := Report{
		Ready:   []object.ID{configMapID("a"), configMapID("gone")},
		Pending: []NotReady{{deploymentID("b"), notYet(health.InProgress, "Available: 0/1")}},
	}
	if diff := cmp.Diff(wanted, r); diff != "" {
		t.Error(diff)
	}
	if lists, watches := f.count("list configmaps")+f.count("list deployments"), f.count("watch configmaps"); lists != 2 || watches != 0 {
		t.Errorf("%d lists and %d watches, want 2 and none", lists, watches)
	}
}

func TestAssessNeedsNoRequest(t *testing.T) {
	t.Parallel()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(deployment("a", 1))); err != nil {
		t.Fatal(err)
	}
	w := want(deploymentID("a"), deploymentID("b"))
	w.Objects = append(w.Objects, Target{ID: configMapID("c"), Absent: true})
	r := Assess(map[object.ID]*unstructured.Unstructured{deploymentID("a"): u}, w)
	if len(r.Ready) != 1 || len(r.Pending) != 2 {
		t.Errorf("got %+v", r)
	}
}
