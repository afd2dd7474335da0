// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// world is a namespace of the shared sandbox with an engine and one owner in it.
type world struct {
	*testkit.Env
	t      *testing.T
	engine *deploy.Engine
	owner  plan.Owner
	agent  testkit.Identity // the engine's user, by which its requests are told from the test's
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return worldIn(t, testkit.Cluster(t))
}

func worldIn(t *testing.T, env *testkit.Env) *world {
	t.Helper()
	w := &world{Env: env, t: t, owner: plan.Kustomization(env.Namespace, "app")}
	w.agent = env.User(t, "agent-of-"+env.Namespace, "system:masters")
	w.engine = w.engineOf(w.agent.Config)
	return w
}

func (w *world) engineOf(config *rest.Config) *deploy.Engine {
	w.t.Helper()
	c, err := cluster.Connect(config)
	if err != nil {
		w.t.Fatal(err)
	}
	return &deploy.Engine{Cluster: c, AgentNamespace: w.Namespace}
}

// objects reads manifests. NS stands for the test's namespace.
func (w *world) objects(manifests ...string) []*unstructured.Unstructured {
	w.t.Helper()
	text := strings.ReplaceAll(strings.Join(manifests, "\n---\n"), "NS", w.Namespace)
	located, err := object.Decode([]byte(text), "test.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, l := range located {
		out = append(out, l.Object)
	}
	return out
}

// request asks for manifests, as a Kustomization with prune does.
func (w *world) request(manifests ...string) deploy.Request {
	w.t.Helper()
	return deploy.Request{
		Owner: w.owner, RecordNamespace: w.Namespace, Objects: w.objects(manifests...),
		Digest: "sha256:one", Revision: "main@sha1:one", Generation: 1,
		Policy: plan.Policy{Prune: true},
	}
}

func (w *world) run(req deploy.Request) deploy.Outcome { return w.engine.Run(w.t.Context(), req) }

// mustRun runs a request, which has to come to the given state with the given changes, each as
// "verb Kind/name".
func (w *world) mustRun(req deploy.Request, state deploy.State, changes ...string) deploy.Outcome {
	w.t.Helper()
	out := w.run(req)
	if out.State != state {
		w.t.Fatalf("state %s, want %s: %v\nnotes: %s", out.State, state, out.Err, out.Notes)
	}
	if diff := cmp.Diff(changes, w.changes(out)); diff != "" {
		w.t.Fatalf("changes (-want +got):\n%s", diff)
	}
	return out
}

func (w *world) changes(out deploy.Outcome) []string {
	var got []string
	for _, c := range out.Changes {
		got = append(got, c.Verb()+" "+strings.Replace(c.ID.String(), "/"+w.Namespace+"/", "/", 1))
	}
	return got
}

// counted runs a request and returns what the engine sent meanwhile.
func (w *world) counted(run func()) testkit.Requests {
	w.t.Helper()
	mark := w.Mark(w.t)
	run()
	return w.Requests(w.t, testkit.ByUser(w.agent.UserName), testkit.After(mark))
}

func dryRuns(rs testkit.Requests) testkit.Requests {
	return rs.Of(func(r testkit.Request) bool { return r.DryRun })
}

func (w *world) resource(gvr schema.GroupVersionResource) dynamic.ResourceInterface {
	return w.Dynamic.Resource(gvr).Namespace(w.Namespace)
}

var (
	configMaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	claims      = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

func (w *world) get(gvr schema.GroupVersionResource, name string) *unstructured.Unstructured {
	w.t.Helper()
	u, err := w.resource(gvr).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *world) exists(gvr schema.GroupVersionResource, name string) bool {
	w.t.Helper()
	u, err := w.resource(gvr).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		w.t.Fatal(err)
	}
	return err == nil && u.GetDeletionTimestamp() == nil
}

// edit changes an object as a manager other than the engine does, by an update.
func (w *world) edit(gvr schema.GroupVersionResource, name, manager string, change func(u *unstructured.Unstructured)) {
	w.t.Helper()
	testkit.Eventually(w.t, "editing "+name, 5*time.Second, func() error {
		u := w.get(gvr, name)
		change(u)
		_, err := w.resource(gvr).Update(w.t.Context(), u, metav1.UpdateOptions{FieldManager: manager})
		return err
	})
}

func (w *world) delete(gvr schema.GroupVersionResource, name string) {
	w.t.Helper()
	if err := w.resource(gvr).Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func set(t *testing.T, u *unstructured.Unstructured, value any, path ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(u.Object, value, path...); err != nil {
		t.Fatal(err)
	}
}

func (w *world) load() *record.Record {
	w.t.Helper()
	r, err := record.Load(w.t.Context(), w.engine.Cluster, w.owner, w.Namespace)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) recorded() []string {
	w.t.Helper()
	var got []string
	for _, id := range w.load().IDs() {
		got = append(got, id.Kind+"/"+id.Name)
	}
	return got
}

// editRecord changes the first part of the record by hand.
func (w *world) editRecord(change func(data map[string]any)) {
	w.t.Helper()
	list, err := w.resource(configMaps).List(w.t.Context(), metav1.ListOptions{LabelSelector: "kustomizer.dev/record"})
	if err != nil || len(list.Items) != 1 {
		w.t.Fatalf("%d parts of a record, %v", len(list.Items), err)
	}
	w.edit(configMaps, list.Items[0].GetName(), "kubectl-edit", func(u *unstructured.Unstructured) {
		data, _ := u.Object["data"].(map[string]any)
		change(data)
	})
}

func cm(name string, data ...string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: NS}\ndata:\n  name: %s\n", name, name)
	for i := 0; i < len(data); i += 2 {
		fmt.Fprintf(&b, "  %s: %q\n", data[i], data[i+1])
	}
	return b.String()
}

func configMapsOf(n int) []string {
	var out []string
	for i := range n {
		out = append(out, cm(fmt.Sprintf("cm-%02d", i)))
	}
	return out
}

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
      creationTimestamp: null
    spec:
      containers:
      - name: web
        image: example.test/web:1
        env:
        - {name: MODE, value: plain}
        ports:
        - {containerPort: 8080, name: http}
        resources:
          requests: {cpu: "0.1", memory: "0.5Gi"}
          limits: {cpu: "2000m", memory: "1024Mi"}
`

const webAccess = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NS}
spec:
  selector: {app: web}
  ports:
  - {port: 80, targetPort: http}
---
apiVersion: v1
kind: Secret
metadata: {name: web, namespace: NS}
stringData: {password: correct-horse}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: NS}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: NS}
spec:
  rules:
  - host: web.test
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: NS}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: web}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: web, namespace: NS}
spec:
  schedule: "0 1 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: job, image: "example.test/job:1", resources: {requests: {cpu: 1}}}]
`

const webScaler = `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: NS}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 9
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}
`

func TestUnchangedSetCostsListsOnly(t *testing.T) {
	w := newWorld(t)
	req := w.request(append(configMapsOf(5), web, webAccess)...)
	planned := w.counted(func() {
		p, err := w.engine.Plan(t.Context(), req)
		if err != nil || len(p.Steps) != 12 || !p.Writes() {
			t.Errorf("plan: %v, %+v", err, p)
		}
	})
	if len(planned.Writes()) > 0 {
		t.Errorf("to plan writes:\n%s", planned.Writes())
	}
	first := w.counted(func() { w.firstRun(req) })
	if n := len(first.Writes()); n != 12+2 || len(dryRuns(first)) != 12 || len(first) > 2*12+6 {
		t.Errorf("a first run of 12 objects: %d writes, %d dry-runs, %d requests:\n%s", n, len(dryRuns(first)), len(first), first)
	}

	sent := w.counted(func() { w.mustRun(req, deploy.Done) })
	if n := len(sent.Writes()); n != 0 {
		t.Errorf("%d writes in an unchanged run:\n%s", n, sent.Writes())
	}
	if n := len(dryRuns(sent)); n != 0 {
		t.Errorf("%d dry-runs in an unchanged run:\n%s", n, dryRuns(sent))
	}
	// One list a kind, and the record.
	if n := len(sent); n != 9 || len(sent.Of(testkit.Verbs("list"))) != 9 {
		t.Errorf("%d requests in an unchanged run, want 9 lists:\n%s", n, sent)
	}

	// One object changes: its rehearsal, its apply, the record.
	one := w.request(append(configMapsOf(4), cm("cm-04", "more", "x"), web, webAccess)...)
	sent = w.counted(func() { w.mustRun(one, deploy.Done, "configured ConfigMap/cm-04") })
	if n := len(sent.Writes()); n != 2 || len(dryRuns(sent)) != 1 || len(sent) != 9+3 {
		t.Errorf("one changed object: %d writes, %d dry-runs, %d requests:\n%s", n, len(dryRuns(sent)), len(sent), sent)
	}
}

func (w *world) firstRun(req deploy.Request) {
	w.t.Helper()
	w.mustRun(req, deploy.Done,
		"created ServiceAccount/web", "created ConfigMap/cm-00", "created ConfigMap/cm-01", "created ConfigMap/cm-02",
		"created ConfigMap/cm-03", "created ConfigMap/cm-04", "created Secret/web", "created Service/web",
		"created Deployment/web", "created CronJob/web", "created PodDisruptionBudget/web", "created Ingress/web")
}

func TestNewRevisionWithSameContentOnlyTouchesTheRecord(t *testing.T) {
	w := newWorld(t)
	req := w.request(configMapsOf(3)...)
	w.run(req)
	req.Digest = "sha256:two"
	sent := w.counted(func() { w.mustRun(req, deploy.Done) })
	if writes := sent.Writes(); len(writes) != 1 || writes[0].FieldManager != record.Manager {
		t.Errorf("writes:\n%s", writes)
	}
	if got := w.load().Head.Digest; got != "sha256:two" {
		t.Errorf("digest on record %s", got)
	}
}

func TestHandEditsAreCorrected(t *testing.T) {
	value := func(key string) func(*world) any {
		return func(w *world) any {
			v, _, _ := unstructured.NestedString(w.get(configMaps, "cm-00").Object, "data", key)
			return v
		}
	}
	cases := map[string]struct {
		manager string
		edit    func(t *testing.T, u *unstructured.Unstructured)
		writes  int
		see     func(*world) any
		want    any
	}{
		"a value edited with kubectl": {
			"kubectl-edit", func(t *testing.T, u *unstructured.Unstructured) { set(t, u, "else", "data", "name") }, 1, value("name"), "cm-00",
		},
		"a value edited by a controller": {
			"some-controller", func(t *testing.T, u *unstructured.Unstructured) { set(t, u, "else", "data", "name") }, 1, value("name"), "cm-00",
		},
		"a value taken away": {
			"some-controller", func(_ *testing.T, u *unstructured.Unstructured) {
				unstructured.RemoveNestedField(u.Object, "data", "name")
			}, 1, value("name"), "cm-00",
		},
		"a value added with kubectl": {
			"kubectl-edit", func(t *testing.T, u *unstructured.Unstructured) { set(t, u, "x", "data", "added") }, 2, value("added"), "",
		},
		"a value added and another edited with kubectl": {
			"kubectl-patch", func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, "x", "data", "added")
				set(t, u, "else", "data", "name")
			}, 2, value("added"), "",
		},
		"an owner label stripped": {
			"some-controller", func(_ *testing.T, u *unstructured.Unstructured) { u.SetLabels(nil) }, 1,
			func(w *world) any { return w.get(configMaps, "cm-00").GetLabels()["kustomize.toolkit.fluxcd.io/name"] }, "app",
		},
		"an owner label changed": {
			"some-controller", func(_ *testing.T, u *unstructured.Unstructured) {
				u.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "other", "kustomize.toolkit.fluxcd.io/namespace": "other"})
			}, 1,
			func(w *world) any { return w.get(configMaps, "cm-00").GetLabels()["kustomize.toolkit.fluxcd.io/name"] }, "app",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			req := w.request(configMapsOf(3)...)
			w.run(req)
			w.edit(configMaps, "cm-00", c.manager, func(u *unstructured.Unstructured) { c.edit(t, u) })
			sent := w.counted(func() { w.mustRun(req, deploy.Done, "corrected ConfigMap/cm-00") })
			writes := sent.Writes()
			if len(writes) != c.writes || len(writes.Of(func(r testkit.Request) bool { return r.Name != "cm-00" })) > 0 {
				t.Errorf("want %d writes of cm-00, got:\n%s", c.writes, writes)
			}
			if diff := cmp.Diff(c.want, c.see(w)); diff != "" {
				t.Errorf("after the correction (-want +got):\n%s", diff)
			}
			quiet(w, req)
		})
	}
}

// quiet fails the test where a further run of the request is not free.
func quiet(w *world, req deploy.Request) {
	w.t.Helper()
	sent := w.counted(func() { w.mustRun(req, deploy.Done) })
	if busy := slices.Concat(sent.Writes(), dryRuns(sent)); len(busy) > 0 {
		w.t.Errorf("the next run is not quiet:\n%s", busy)
	}
}

func TestFieldsOfOtherControllersAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	req := w.request(configMapsOf(1)...)
	w.run(req)
	w.edit(configMaps, "cm-00", "some-controller", func(u *unstructured.Unstructured) {
		set(t, u, "x", "data", "theirs")
		u.SetAnnotations(map[string]string{"theirs": "x"})
	})
	quiet(w, req)
	if got, _, _ := unstructured.NestedString(w.get(configMaps, "cm-00").Object, "data", "theirs"); got != "x" {
		t.Errorf("their field is %q", got)
	}
}

func TestEnvironmentSetWithKubectlIsTakenBack(t *testing.T) {
	w := newWorld(t)
	req := w.request(web)
	w.run(req)
	w.Kubectl(t, "-n", w.Namespace, "set", "env", "deployment/web", "DEBUG=1", "MODE=fancy")
	w.mustRun(req, deploy.Done, "corrected Deployment/web")
	if diff := cmp.Diff([]any{map[string]any{"name": "MODE", "value": "plain"}}, env(w.get(deployments, "web"))); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	quiet(w, req)
}

func env(u *unstructured.Unstructured) []any {
	containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	out, _, _ := unstructured.NestedSlice(containers[0].(map[string]any), "env")
	return out
}

func TestRolloutRestartIsNoDrift(t *testing.T) {
	w := newWorld(t)
	req := w.request(web)
	w.run(req)
	w.Kubectl(t, "-n", w.Namespace, "rollout", "restart", "deployment/web")
	restarted := func() string {
		at, _, _ := unstructured.NestedString(w.get(deployments, "web").Object,
			"spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")
		return at
	}
	before := restarted()
	if before == "" {
		t.Fatal("kubectl rollout restart left no annotation")
	}
	quiet(w, req)

	// It also survives the correction of something else, and a new revision.
	w.Kubectl(t, "-n", w.Namespace, "set", "env", "deployment/web", "DEBUG=1")
	w.mustRun(req, deploy.Done, "corrected Deployment/web")
	w.mustRun(w.request(strings.Replace(web, "web:1", "web:2", 1)), deploy.Done, "configured Deployment/web")
	if got := restarted(); got != before {
		t.Errorf("restartedAt is %q, was %q", got, before)
	}
}

func TestDeletedObjectIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	req := w.request(configMapsOf(3)...)
	w.run(req)
	w.delete(configMaps, "cm-01")
	sent := w.counted(func() { w.mustRun(req, deploy.Done, "corrected ConfigMap/cm-01") })
	// Its intention, the object, its UID.
	if n := len(sent.Writes()); n != 3 {
		t.Errorf("writes:\n%s", sent.Writes())
	}
	quiet(w, req)
}

func TestPrune(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(20)...))
	w.mustRun(w.request(configMapsOf(19)...), deploy.Done, "deleted ConfigMap/cm-19")
	if w.exists(configMaps, "cm-19") {
		t.Error("cm-19 is still there")
	}
	if got := len(w.recorded()); got != 19 {
		t.Errorf("%d entries on record", got)
	}
	deletions := w.Requests(t, testkit.ByUser(w.agent.UserName), testkit.Verbs("delete"))
	if len(deletions) != 1 || deletions[0].UID == "" || deletions[0].ResourceVersion == "" {
		t.Errorf("deletions:\n%s", deletions)
	}
}

func TestPruneOffRetains(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(4)...))
	req := w.request(configMapsOf(3)...)
	req.Policy.Prune = false
	out := w.mustRun(req, deploy.Done)
	if id := (object.ID{Kind: "ConfigMap", Namespace: w.Namespace, Name: "cm-03"}); !out.Entries[id].Retained {
		t.Errorf("not retained: %+v", out.Entries)
	}
	// Wanted again it is ours as before; pruned when that is asked for.
	w.mustRun(w.request(configMapsOf(4)...), deploy.Done)
	w.mustRun(req, deploy.Done)
	w.mustRun(w.request(configMapsOf(3)...), deploy.Done, "deleted ConfigMap/cm-03")
}

func TestOptedOutObjectsStay(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(9)...))
	for name, annotation := range map[string]string{"cm-07": "prune: disabled", "cm-08": "reconcile: disabled"} {
		key, value, _ := strings.Cut(annotation, ": ")
		w.edit(configMaps, name, "kubectl-annotate", func(u *unstructured.Unstructured) {
			u.SetAnnotations(map[string]string{"kustomize.toolkit.fluxcd.io/" + key: value})
		})
	}
	out := w.mustRun(w.request(configMapsOf(7)...), deploy.Done)
	if len(out.Notes) != 2 || !w.exists(configMaps, "cm-07") || !w.exists(configMaps, "cm-08") {
		t.Errorf("notes: %q", out.Notes)
	}
}

func TestBrakeHoldsUntilApproved(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(6)...))
	req := w.request(configMapsOf(2)...)
	req.Digest = "sha256:two"
	out := w.mustRun(req, deploy.Held)
	hash := out.Plan.Brake.Hash
	if !strings.Contains(out.Err.Error(), "4 of 6 objects") || !strings.Contains(out.Err.Error(), hash) {
		t.Errorf("error: %v", out.Err)
	}
	for name, change := range map[string]func(*deploy.Request){
		"another hash":       func(r *deploy.Request) { r.Policy.Approved = strings.Repeat("0", 64) },
		"another artifact":   func(r *deploy.Request) { r.Policy.Approved, r.Digest = hash, "sha256:three" },
		"another generation": func(r *deploy.Request) { r.Policy.Approved, r.Generation = hash, 2 },
	} {
		other := req
		change(&other)
		if out := w.run(other); out.State != deploy.Held {
			t.Errorf("released by %s: %s", name, out.State)
		}
	}
	if deletions := w.Requests(t, testkit.ByUser(w.agent.UserName), testkit.Verbs("delete")); len(deletions) > 0 {
		t.Fatalf("deletions while held:\n%s", deletions)
	}
	req.Policy.Approved = hash
	w.mustRun(req, deploy.Done, "deleted ConfigMap/cm-02", "deleted ConfigMap/cm-03", "deleted ConfigMap/cm-04", "deleted ConfigMap/cm-05")
}

func TestEmptyRenderDeletesNothing(t *testing.T) {
	for _, n := range []int{1, 10, 50} {
		t.Run(fmt.Sprintf("of %d", n), func(t *testing.T) {
			w := newWorld(t)
			w.run(w.request(configMapsOf(n)...))
			req := w.request()
			req.Objects, req.Empty = nil, "the tree holds no manifests"
			out := w.mustRun(req, deploy.Held)
			if !strings.Contains(out.Err.Error(), "the tree holds no manifests") {
				t.Errorf("error: %v", out.Err)
			}
			if got := len(w.recorded()); got != n {
				t.Errorf("%d entries on record", got)
			}
		})
	}
}

func TestFirstRunOfAnEmptySetWritesNothing(t *testing.T) {
	w := newWorld(t)
	req := w.request()
	req.Objects = nil
	sent := w.counted(func() { w.mustRun(req, deploy.Done) })
	if len(sent.Writes()) > 0 {
		t.Errorf("writes:\n%s", sent.Writes())
	}
}

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
		w.run(req)
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

func TestFirstOwnerKeepsAContestedObject(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(2)...))
	second := w.request(cm("cm-00", "whose", "theirs"), cm("cm-01"), cm("own"))
	second.Owner = plan.Kustomization(w.Namespace, "second")
	sent := w.counted(func() {
		out := w.mustRun(second, deploy.Failed, "created ConfigMap/own")
		if want := "belongs to Kustomization/" + w.Namespace + "/app"; !strings.Contains(out.Err.Error(), want) {
			t.Errorf("error: %v", out.Err)
		}
	})
	if touched := sent.Writes().Of(func(r testkit.Request) bool { return strings.HasPrefix(r.Name, "cm-") }); len(touched) > 0 {
		t.Errorf("writes to the first one's objects:\n%s", touched)
	}
	// Neither flaps, and when the first drops its objects the second has them.
	quiet(w, w.request(configMapsOf(2)...))
	if n := len(w.counted(func() { w.run(second) }).Writes()); n > 0 {
		t.Errorf("%d writes in the second one's next run", n)
	}
	gone := w.request()
	gone.Objects, gone.Policy.Prune = nil, false
	w.mustRun(gone, deploy.Done)
	w.mustRun(second, deploy.Done, "configured ConfigMap/cm-00", "configured ConfigMap/cm-01")
	gone.Policy.Prune, gone.Policy.GuardOff = true, true
	w.mustRun(gone, deploy.Done)
	if !w.exists(configMaps, "cm-00") || len(w.recorded()) != 0 {
		t.Errorf("handed over, but deleted or still on the first record: %s", w.recorded())
	}
}

func TestRecordOfAnotherClusterPrunesNothing(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(4)...))
	w.editRecord(func(data map[string]any) {
		id := w.load().Head.Cluster
		data["head"] = strings.Replace(data["head"].(string), id, "another-cluster", 1)
	})
	req := w.request(configMapsOf(3)...)
	out := w.mustRun(req, deploy.Done)
	if len(out.Notes) == 0 || !strings.Contains(out.Notes[0], "another cluster") {
		t.Errorf("notes: %q", out.Notes)
	}
}

func TestDamagedRecordPrunesNothing(t *testing.T) {
	t.Parallel()
	damage := map[string]func(data map[string]any){
		"an entry that can't be read": func(data map[string]any) {
			data["entries"] = strings.Replace(data["entries"].(string), `"id"`, `"di"`, 1)
		},
		"a head that can't be read": func(data map[string]any) { data["head"] = "?" },
		"a part that is missing": func(data map[string]any) {
			data["head"] = strings.Replace(data["head"].(string), `"count":1`, `"count":2`, 1)
		},
		"another owner": func(data map[string]any) {
			data["head"] = strings.Replace(data["head"].(string), "/app", "/other", 1)
		},
		"nothing left": func(data map[string]any) { clear(data) },
	}
	for name, change := range damage {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run(w.request(configMapsOf(4)...))
			w.editRecord(change)
			req := w.request(append(configMapsOf(2), cm("new"))...)
			// However often it runs: what was lost does not come back by itself.
			w.mustRun(req, deploy.Done, "created ConfigMap/new")
			out := w.mustRun(req, deploy.Done)
			if len(out.Notes) == 0 || !strings.Contains(out.Notes[0], "damaged") {
				t.Errorf("notes: %q", out.Notes)
			}
			if !w.exists(configMaps, "cm-02") || !w.exists(configMaps, "cm-03") {
				t.Error("objects were deleted")
			}
		})
	}
	t.Run("a format of a newer build", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(configMapsOf(4)...))
		w.editRecord(func(data map[string]any) { data["format"] = "2" })
		sent := w.counted(func() { w.mustRun(w.request(configMapsOf(2)...), deploy.Failed) })
		if len(sent.Writes()) > 0 {
			t.Errorf("writes:\n%s", sent.Writes())
		}
	})
}

func TestImportedEntries(t *testing.T) {
	w := newWorld(t)
	labels := "labels: {kustomize.toolkit.fluxcd.io/name: app, kustomize.toolkit.fluxcd.io/namespace: NS}"
	ours := func(name string) string {
		return strings.Replace(cm(name), "namespace: NS", "namespace: NS, "+labels, 1)
	}
	// As Flux leaves them: applied under the name that is ours as well, without a record.
	for _, u := range w.objects(ours("kept"), ours("also-kept"), ours("stale"), cm("unmarked")) {
		_, err := w.resource(configMaps).Apply(t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: plan.KustomizationManager})
		if err != nil {
			t.Fatal(err)
		}
	}
	// One that only carries the labels, as operators copy them.
	if _, err := w.resource(configMaps).Create(t.Context(), w.objects(ours("copied"))[0], metav1.CreateOptions{FieldManager: "operator"}); err != nil {
		t.Fatal(err)
	}
	req := w.request(cm("kept"), cm("also-kept"))
	for _, name := range []string{"kept", "also-kept", "stale", "unmarked", "copied", "gone"} {
		id := object.ID{Kind: "ConfigMap", Namespace: w.Namespace, Name: name}
		req.Imported = append(req.Imported, plan.Entry{ID: id, Version: "v1", Pending: true})
	}
	w.mustRun(req, deploy.Done, "deleted ConfigMap/stale")
	if !w.exists(configMaps, "unmarked") || !w.exists(configMaps, "copied") {
		t.Error("deleted what nothing proves to be ours")
	}
	if diff := cmp.Diff([]string{"ConfigMap/also-kept", "ConfigMap/copied", "ConfigMap/kept"}, w.recorded()); diff != "" {
		t.Errorf("on record (-want +got):\n%s", diff)
	}
	quiet(w, req)
}

func TestTwoRunsAtOnceDoNotMix(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(2)...))
	// The other run writes the record after ours has read it and before ours writes it.
	other := w.engineOf(w.Config)
	interrupted := false
	proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
		if testkit.Verbs("update")(r) && r.FieldManager == record.Manager && !interrupted {
			interrupted = true
			if out := other.Run(context.WithoutCancel(t.Context()), w.request(append(configMapsOf(2), cm("other"))...)); out.Err != nil {
				t.Error(out.Err)
			}
		}
		return testkit.Fault{}
	})
	w.engine = w.engineOf(proxy.Config)
	out := w.mustRun(w.request(append(configMapsOf(2), cm("ours"))...), deploy.Failed)
	var conflict *record.ConflictError
	if !errors.As(out.Err, &conflict) {
		t.Errorf("error: %v", out.Err)
	}
	if w.exists(configMaps, "ours") || !w.exists(configMaps, "other") {
		t.Error("the run that lost wrote its objects")
	}
}

func TestUnreachableKindIsNotGone(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(append(configMapsOf(2), webAccess)...))
	// Services can neither be listed nor read.
	proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
		if testkit.Resources("services")(r) {
			return testkit.Fault{Status: 503}
		}
		return testkit.Fault{}
	})
	w.engine = w.engineOf(proxy.Config)
	req := w.request(configMapsOf(2)...)
	req.Policy.GuardOff = true
	out := w.run(req)
	if out.State != deploy.Done {
		t.Fatalf("%s: %v", out.State, out.Err)
	}
	if got := w.recorded(); !slices.Contains(got, "Service/web") || slices.Contains(got, "Ingress/web") {
		t.Errorf("on record: %s", got)
	}
}

func TestNamesakeIsNeitherChangedNorReplaced(t *testing.T) {
	w := newWorld(t)
	w.mustRunState(w.request(cm("a"), cm("b")), deploy.Done)
	changed := false
	proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
		if !r.DryRun || r.Name != "a" || changed {
			return testkit.Fault{}
		}
		changed = true
		return testkit.Fault{Before: func() { // after the list, before the rehearsal
			w.delete(configMaps, "a")
			u := w.objects(cm("a", "whose", "theirs"))[0]
			if _, err := w.resource(configMaps).Create(w.t.Context(), u, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		}}
	})
	w.engine = w.engineOf(proxy.Config)
	req := w.request(cm("a", "more", "x"), cm("b"))
	req.Policy.Force = true
	out := w.mustRun(req, deploy.Failed)
	if got, _, _ := unstructured.NestedString(w.get(configMaps, "a").Object, "data", "whose"); got != "theirs" || !strings.Contains(out.Err.Error(), "Conflict") {
		t.Errorf("it is %q's: %v", got, out.Err)
	}
	if sent := proxy.Writes(); len(sent) > 0 {
		t.Errorf("writes:\n%s", sent)
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

func TestWhatIsRecordedIsToldBeforeItIsApplied(t *testing.T) {
	w := newWorld(t)
	var told []int
	req := w.request(configMapsOf(3)...)
	req.Recorded = func(_ context.Context, entries map[object.ID]plan.Entry) error {
		told = append(told, len(entries))
		if w.exists(configMaps, "cm-00") != (len(told) > 2) {
			t.Errorf("applied before it was told that %d are on record", len(entries))
		}
		if len(told) == 1 {
			return errors.New("not understood")
		}
		return nil
	}
	if out := w.run(req); out.State != deploy.Failed || len(w.owned()) != 0 {
		t.Errorf("%s %v: %s", out.State, out.Err, w.owned())
	}
	w.mustRunState(req, deploy.Done)
	quiet(w, req)
	if diff := cmp.Diff([]int{3, 3, 3}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
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

func (w *world) mustRunState(req deploy.Request, state deploy.State) deploy.Outcome {
	w.t.Helper()
	out := w.run(req)
	if out.State != state {
		w.t.Fatalf("state %s, want %s: %v", out.State, state, out.Err)
	}
	return out
}
