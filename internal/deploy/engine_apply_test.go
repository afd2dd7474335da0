// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

const volume = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: NS}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: one
  resources: {requests: {storage: 1Gi}}
`

func TestImmutableField(t *testing.T) {
	t.Parallel()
	other := strings.ReplaceAll(web, "{app: web}", "{app: other}")
	t.Run("without force nothing is written", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(web, cm("first")))
		sent := w.counted(func() {
			out := w.mustRun(w.request(other, cm("first", "changed", "x"), cm("second")), deploy.Failed)
			if !strings.Contains(out.Err.Error(), "ImmutableField") || !strings.Contains(out.Err.Error(), "Deployment/") {
				t.Errorf("error: %v", out.Err)
			}
		})
		if len(sent.Writes()) > 0 {
			t.Errorf("writes:\n%s", sent.Writes())
		}
	})
	t.Run("with force it is replaced", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(web, cm("first")))
		before := w.get(deployments, "web").GetUID()
		req := w.request(other, cm("first"))
		req.Policy.Force = true
		w.mustRun(req, deploy.Done, "replaced Deployment/web")
		if w.get(deployments, "web").GetUID() == before {
			t.Error("it is still the same object")
		}
		quiet(w, req)
	})
	t.Run("with force but an invalid replacement nothing is deleted", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(web))
		before := w.get(deployments, "web").GetUID()
		req := w.request(strings.Replace(other, "labels: {app: other}", "labels: {app: third}", 1))
		req.Policy.Force = true
		w.mustRun(req, deploy.Failed)
		if w.get(deployments, "web").GetUID() != before {
			t.Error("it was replaced")
		}
	})
	t.Run("with force an ordinary mistake replaces nothing", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(web))
		before := w.get(deployments, "web").GetUID()
		req := w.request(strings.Replace(web, "replicas: 2", "replicas: -2", 1))
		req.Policy.Force = true
		w.mustRun(req, deploy.Failed)
		if w.get(deployments, "web").GetUID() != before {
			t.Error("it was replaced")
		}
	})
	t.Run("a claim never is replaced", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(volume))
		before := w.get(claims, "data").GetUID()
		req := w.request(strings.Replace(volume, "storageClassName: one", "storageClassName: two", 1))
		req.Policy.Force = true
		out := w.mustRun(req, deploy.Failed)
		if !strings.Contains(out.Err.Error(), "never replaced") || w.get(claims, "data").GetUID() != before {
			t.Errorf("error: %v", out.Err)
		}
	})
}

func TestInvalidObjectKeepsTheWholeSetOut(t *testing.T) {
	t.Parallel()
	const secret = `
apiVersion: v1
kind: Secret
metadata: {name: bad, namespace: NS}
stringData: {pin: 73519246}
`
	cases := map[string]struct{ manifest, want string }{
		"a value that is not allowed":   {strings.Replace(web, "replicas: 2", "replicas: -2", 1), "InvalidObject"},
		"a field that does not exist":   {strings.Replace(web, "replicas: 2", "replica: 2", 1), "InvalidObject"},
		"a value of the wrong type":     {strings.Replace(web, "replicas: 2", "replicas: two", 1), "InvalidObject"},
		"a kind that is not served":     {"apiVersion: nowhere.test/v1\nkind: Thing\nmetadata: {name: x, namespace: NS}", "KindMissing"},
		"a version that is not served":  {strings.Replace(web, "apps/v1", "apps/v1beta1", 1), "KindMissing"},
		"a namespace that is not there": {strings.Replace(web, "namespace: NS", "namespace: nowhere-at-all", 1), "NamespaceMissing"},
		"no namespace":                  {strings.Replace(web, ", namespace: NS", "", 1), "InvalidObject"},
		"a secret that is not a string": {secret, "InvalidObject"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run(w.request(cm("first")))
			sent := w.counted(func() {
				out := w.mustRun(w.request(cm("first", "changed", "x"), cm("second"), c.manifest), deploy.Failed)
				if !strings.Contains(out.Err.Error(), c.want) {
					t.Errorf("error: %v", out.Err)
				}
				if strings.Contains(out.Err.Error(), "73519246") {
					t.Errorf("the error quotes a Secret's value: %v", out.Err)
				}
			})
			if len(sent.Writes()) > 0 {
				t.Errorf("writes:\n%s", sent.Writes())
			}
		})
	}
}

func TestReplicasBelongToTheAutoscaler(t *testing.T) {
	replicas := func(w *world) int64 {
		n, _, _ := unstructured.NestedInt64(w.get(deployments, "web").Object, "spec", "replicas")
		return n
	}
	scale := func(w *world, n int) {
		patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, n)
		_, err := w.resource(deployments).Patch(w.t.Context(), "web", types.MergePatchType, []byte(patch),
			metav1.PatchOptions{FieldManager: "kube-controller-manager"}, "scale")
		if err != nil {
			w.t.Fatal(err)
		}
	}
	steady := func(w *world, req deploy.Request, want int64) {
		w.t.Helper()
		// The cluster's own controllers write to a workload that has just come: what they change
		// between reading and writing is for the next run.
		testkit.Eventually(w.t, "a run comes to its end", 20*time.Second, func() error { return w.run(req).Err })
		quiet(w, req)
		if got := replicas(w); got != want {
			w.t.Errorf("%d replicas, want %d", got, want)
		}
	}
	without := strings.Replace(web, "  replicas: 2\n", "", 1)
	t.Run("when it has scaled", func(t *testing.T) {
		w := newWorld(t)
		req := w.request(web, webScaler)
		steady(w, req, 2)
		scale(w, 5)
		steady(w, req, 5)
		req = w.request(strings.Replace(web, "web:1", "web:2", 1), webScaler)
		w.mustRun(req, deploy.Done, "configured Deployment/web")
		steady(w, req, 5)
	})
	t.Run("when it comes later", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(web))
		scale(w, 4)
		steady(w, w.request(web, webScaler), 4)
	})
	t.Run("when the manifest hands them over", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(strings.Replace(web, "replicas: 2", "replicas: 3", 1)))
		steady(w, w.request(without, webScaler), 3)
		scale(w, 6)
		steady(w, w.request(without, webScaler), 6)
	})
	t.Run("when it is not in the set", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(web))
		w.create(scalers, webScaler)
		scale(w, 4)
		steady(w, w.request(web), 4)
	})
	t.Run("when it is not in the set and nothing is on record", func(t *testing.T) {
		w := newWorld(t)
		w.create(deployments, web)
		w.create(scalers, webScaler)
		scale(w, 4)
		steady(w, w.request(web), 4)
	})
	t.Run("and a hand edit after it has gone is corrected", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(web, webScaler))
		scale(w, 4)
		w.run(w.request(web, webScaler))
		w.run(w.request(web))
		w.mustRun(w.request(web), deploy.Done, "corrected Deployment/web")
		if got := replicas(w); got != 2 {
			t.Errorf("%d replicas, want those of the manifest", got)
		}
	})
	t.Run("but not when it is gone", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(web))
		scale(w, 4)
		w.mustRun(w.request(web), deploy.Done, "corrected Deployment/web")
		if got := replicas(w); got != 2 {
			t.Errorf("%d replicas, want those of the manifest", got)
		}
	})
	t.Run("when a person had set them", func(t *testing.T) {
		w := newWorld(t)
		req := w.request(web, webScaler)
		w.run(req)
		w.edit(deployments, "web", "kubectl-edit", func(u *unstructured.Unstructured) { set(t, u, int64(7), "spec", "replicas") })
		steady(w, req, 7)
	})
	t.Run("when a person had created it", func(t *testing.T) {
		w := newWorld(t)
		u := w.objects(strings.Replace(web, "replicas: 2", "replicas: 4", 1))[0]
		if _, err := w.resource(deployments).Create(t.Context(), u, metav1.CreateOptions{FieldManager: "kubectl-create"}); err != nil {
			t.Fatal(err)
		}
		steady(w, w.request(without, webScaler), 4)
	})
}

func TestNamesakeIsNeitherChangedNorReplaced(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		b      string // the other object of the set
		dryRun bool   // whether the changed one is rehearsed
	}{
		"after the list, before the rehearsal":                  {cm("b", "more", "x"), true},
		"after the list, before the apply of the single change": {cm("b"), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.mustRunState(w.request(cm("a"), cm("b")), deploy.Done)
			var once sync.Once
			proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
				if r.DryRun != c.dryRun || r.Verb != "patch" || r.Name != "a" {
					return testkit.Fault{}
				}
				return testkit.Fault{Before: func() { once.Do(w.replaceByNamesake) }}
			})
			w.engine = w.engineOf(proxy.Config)
			req := w.request(cm("a", "more", "x"), c.b)
			req.Policy.Force = true
			out := w.mustRun(req, deploy.Failed)
			if got, _, _ := unstructured.NestedString(w.get(configMaps, "a").Object, "data", "whose"); got != "theirs" || !strings.Contains(out.Err.Error(), "Conflict") {
				t.Errorf("it is %q's: %v", got, out.Err)
			}
			if sent := proxy.Writes().Of(func(r testkit.Request) bool { return c.dryRun || r.Verb == "delete" }); len(sent) > 0 {
				t.Errorf("writes:\n%s", sent)
			}
		})
	}
}

// replaceByNamesake has somebody delete a ConfigMap and make another one of its name.
func (w *world) replaceByNamesake() {
	w.delete(configMaps, "a")
	u := w.objects(cm("a", "whose", "theirs"))[0]
	if _, err := w.resource(configMaps).Create(w.t.Context(), u, metav1.CreateOptions{}); err != nil {
		w.t.Error(err)
	}
}

func TestObjectsThatAppearMeanwhileAreJudged(t *testing.T) {
	w := newWorld(t)
	appeared := false
	proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
		if r.DryRun || r.Verb != "patch" || appeared {
			return testkit.Fault{}
		}
		appeared = true
		return testkit.Fault{Before: func() { // after the rehearsal, before the apply
			u := w.objects(cm("a", "whose", "theirs"))[0]
			if _, err := w.resource(configMaps).Create(w.t.Context(), u, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		}}
	})
	w.engine = w.engineOf(proxy.Config)
	w.mustRun(w.request(cm("a")), deploy.Done, "configured ConfigMap/a")
}

func TestCancelledRunIsNotDone(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
		if r.Verb == "patch" && !r.DryRun {
			cancel()
		}
		return testkit.Fault{}
	})
	w.engine = w.engineOf(proxy.Config)
	out := w.engine.Run(ctx, w.request(append(configMapsOf(30), web)...))
	if out.State != deploy.Failed || w.exists(deployments, "web") {
		t.Fatalf("%s: %v", out.State, out.Err)
	}
	if got := len(w.load().Entries); got != 31 {
		t.Errorf("%d entries on record", got)
	}
	w.engine = w.engineOf(w.agent.Config)
	w.mustRunState(w.request(append(configMapsOf(30), web)...), deploy.Done)
	quiet(w, w.request(append(configMapsOf(30), web)...))
}
