// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"bytes"
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
	scalers     = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
)

func (w *world) get(gvr schema.GroupVersionResource, name string) *unstructured.Unstructured {
	w.t.Helper()
	u, err := w.resource(gvr).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// create makes an object as somebody other than the engine would.
func (w *world) create(gvr schema.GroupVersionResource, manifest string) {
	w.t.Helper()
	opts := metav1.CreateOptions{FieldManager: "somebody"}
	if _, err := w.resource(gvr).Create(w.t.Context(), w.objects(manifest)[0], opts); err != nil {
		w.t.Fatal(err)
	}
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
	testkit.Eventually(w.t, "editing "+name, 30*time.Second, func() error {
		u := w.get(gvr, name)
		change(u)
		_, err := w.resource(gvr).Update(w.t.Context(), u, metav1.UpdateOptions{FieldManager: manager})
		return err
	})
}

// onDeployment changes a Deployment by kubectl and waits until its controller has seen that: what it
// writes between a run's reading and writing is for the run after.
func (w *world) onDeployment(name string, args ...string) {
	w.t.Helper()
	w.Kubectl(w.t, append([]string{"-n", w.Namespace}, args...)...)
	testkit.Eventually(w.t, "the controller sees "+name, 30*time.Second, func() error {
		u := w.get(deployments, name)
		if seen, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); seen != u.GetGeneration() {
			return fmt.Errorf("it has seen generation %d of %d", seen, u.GetGeneration())
		}
		return nil
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

func (w *world) firstRun(req deploy.Request) {
	w.t.Helper()
	w.mustRun(req, deploy.Done,
		"created ServiceAccount/web", "created ConfigMap/cm-00", "created ConfigMap/cm-01", "created ConfigMap/cm-02",
		"created ConfigMap/cm-03", "created ConfigMap/cm-04", "created Secret/web", "created Service/web",
		"created Deployment/web", "created CronJob/web", "created PodDisruptionBudget/web", "created Ingress/web")
}

// quiet fails the test where a further run of the request is not free.
func quiet(w *world, req deploy.Request) {
	w.t.Helper()
	sent := w.counted(func() { w.mustRun(req, deploy.Done) })
	if busy := slices.Concat(sent.Writes(), dryRuns(sent)); len(busy) > 0 {
		w.t.Errorf("the next run is not quiet:\n%s", busy)
	}
}

func (w *world) mustRunState(req deploy.Request, state deploy.State) deploy.Outcome {
	w.t.Helper()
	out := w.run(req)
	if out.State != state {
		w.t.Fatalf("state %s, want %s: %v", out.State, state, out.Err)
	}
	return out
}
