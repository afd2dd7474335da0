// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// live is one test's way to the sandbox's cluster.
type live struct {
	*testkit.Env
	t *testing.T
	c *cluster.Cluster
}

func connect(t *testing.T) live {
	t.Helper()
	env := testkit.Cluster(t)
	c, err := cluster.Connect(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	return live{env, t, c}
}

// apply applies an object, with the owner's label and the test's namespace, and returns what to
// wait for.
func (l live) apply(text string) Target {
	l.t.Helper()
	body, err := yaml.YAMLToJSON([]byte(text))
	u := &unstructured.Unstructured{}
	if err == nil {
		err = u.UnmarshalJSON(body)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	u.SetNamespace(l.Namespace)
	u.SetLabels(map[string]string{"owner": "me"})
	applied, err := l.c.Apply(l.t.Context(), u, cluster.ApplyOptions{Manager: "test"})
	if err != nil {
		l.t.Fatal(err)
	}
	return Target{
		ID: object.Of(u), Version: u.GroupVersionKind().Version,
		UID: applied.Object.GetUID(), MinResourceVersion: applied.Object.GetResourceVersion(),
	}
}

// until waits with a deadline that no passing test comes near to.
func (l live) until(onChange func(Report), targets ...Target) (Report, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 60*time.Second)
	defer cancel()
	return Until(ctx, l.c, Want{Objects: targets, Selector: owned}, onChange)
}

func app(name, annotations string, deadline int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: 2
  progressDeadlineSeconds: %[3]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}, annotations: {%[2]s}}
    spec: {containers: [{name: app, image: "example.com/app:1"}]}
`, name, annotations, deadline)
}

func TestUntilFollowsARolloutOnARealServer(t *testing.T) {
	t.Parallel()
	l := connect(t)
	mark := l.Mark(t)
	var targets []Target
	for i := range 4 {
		targets = append(targets,
			l.apply(app(fmt.Sprintf("app-%d", i), "", 600)),
			l.apply(fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: c-%d}}", i)))
	}
	r, err := l.until(nil, targets...)
	if err != nil || !r.Done() || len(r.Ready) != 8 {
		t.Fatalf("%v: %+v", err, r)
	}
	requests := l.Requests(t, testkit.ByUser(l.UserName), testkit.After(mark))
	for _, resource := range []string{"deployments", "configmaps"} {
		of := requests.Of(testkit.Resources(resource))
		lists, watches, reads := len(of.Of(testkit.Verbs("list"))), len(of.Of(testkit.Verbs("watch"))), len(of.Of(testkit.Verbs("get")))
		// On a slow machine all is ready when the list is read, and there is nothing to watch for.
		if lists != 1 || watches > 1 || reads != 0 {
			t.Errorf("%s: %d lists, %d watches, %d reads; want 1, at most 1, 0", resource, lists, watches, reads)
		}
	}
	if again, err := Snapshot(t.Context(), l.c, Want{Objects: targets, Selector: owned}); err != nil || !again.Done() {
		t.Errorf("%v: %+v", err, again)
	}
}

func TestUntilNamesTheCauseOnARealServer(t *testing.T) {
	t.Parallel()
	cases := map[string]cause.Code{"ImagePullBackOff": cause.ImagePull, "CrashLoopBackOff": cause.CrashLoop}
	for fail, code := range cases {
		t.Run(fail, func(t *testing.T) {
			t.Parallel()
			l := connect(t)
			target := l.apply(app("app", "sandbox.kustomizer.dev/fail: "+fail, 3))
			early := false
			r, err := l.until(func(r Report) {
				early = early || len(r.Pending) == 1 && r.Pending[0].Status.Cause.Code == code
			}, target)
			if err != nil || len(r.Failed) != 1 || r.Failed[0].Status.Cause.Code != code {
				t.Errorf("%v: %+v", err, r)
			}
			if !early {
				t.Error("the cause was not told before the deadline")
			}
		})
	}
}

func TestUntilNamesTheQuotaOnARealServer(t *testing.T) {
	t.Parallel()
	l := connect(t)
	l.Kubectl(t, "-n", l.Namespace, "create", "quota", "full", "--hard=pods=0")
	testkit.Eventually(t, "the quota's status", 10*time.Second, func() error {
		if out := l.Kubectl(t, "-n", l.Namespace, "get", "quota", "full", "-o", "jsonpath={.status.hard.pods}"); out != "0" {
			return fmt.Errorf("hard pods: %q", out)
		}
		return nil
	})
	target := l.apply(app("app", "", 600))
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := Until(ctx, l.c, Want{Objects: []Target{target}, Selector: owned}, func(r Report) {
		if len(r.Pending) == 1 && r.Pending[0].Status.Cause.Code == cause.QuotaExceeded {
			cancel()
		}
	})
	if len(r.Pending) != 1 || r.Pending[0].Status.Cause.Code != cause.QuotaExceeded {
		t.Errorf("got %+v", r)
	}
}

func TestUntilProvesADeletionOnARealServer(t *testing.T) {
	t.Parallel()
	l := connect(t)
	target := l.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [example.com/one, example.com/two]}}")
	l.Kubectl(t, "-n", l.Namespace, "delete", "configmap", "held", "--wait=false")
	target.Absent, target.MinResourceVersion = true, ""
	patches := []string{ // a lost label looks like a deletion to a watch
		`-p=[{"op":"remove","path":"/metadata/labels"},{"op":"remove","path":"/metadata/finalizers/0"}]`,
		`-p=[{"op":"remove","path":"/metadata/finalizers"}]`,
	}
	r, err := l.until(func(r Report) {
		if len(r.Pending) == 1 && r.Pending[0].Status.Cause.Code == cause.FinalizerPending && len(patches) > 0 {
			l.Kubectl(t, "-n", l.Namespace, "patch", "configmap", "held", "--type=json", patches[0])
			patches = patches[1:]
		}
	}, target)
	if err != nil || !r.Done() || len(patches) > 0 {
		t.Errorf("%v with %v left: %+v", err, patches, r)
	}
}
