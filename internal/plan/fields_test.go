// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/plan"
)

const (
	update = metav1.ManagedFieldsOperationUpdate
	apply  = metav1.ManagedFieldsOperationApply
)

// pod is a workload's template with all the shapes that managed fields can have: keyed lists,
// sets, atomic lists and maps, quantities.
const pod = `
apiVersion: v1
kind: Pod
metadata:
  name: web
  finalizers: [example.test/a, example.test/b]
  annotations: {note: x}
spec:
  containers:
  - name: web
    image: example.test/web:1
    args: [serve, --fast]
    env: [{name: MODE, value: plain}]
    ports: [{containerPort: 80, protocol: TCP}]
    resources: {limits: {cpu: 100m}}
  - name: sidecar
    image: example.test/sidecar:1
  nodeSelector: {disk: ssd}
`

const podFields = `{
 "f:metadata": {"f:finalizers": {"v:\"example.test/a\"": {}}, "f:annotations": {"f:note": {}}},
 "f:spec": {
  "f:containers": {"k:{\"name\":\"web\"}": {
    ".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:resources": {"f:limits": {"f:cpu": {}}},
    "f:env": {"k:{\"name\":\"MODE\"}": {".": {}, "f:name": {}, "f:value": {}}},
    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}
  }},
  "f:nodeSelector": {}, "f:hostNetwork": {}
 }
}`

func podOf(t testing.TB) *unstructured.Unstructured {
	t.Helper()
	u := parse(t, pod)
	u.SetManagedFields([]metav1.ManagedFieldsEntry{owned(self.Manager, apply, podFields)})
	return u
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	container := func(u *unstructured.Unstructured, i int) map[string]any {
		return u.Object["spec"].(map[string]any)["containers"].([]any)[i].(map[string]any)
	}
	cases := map[string]struct {
		change func(u *unstructured.Unstructured)
		same   bool
	}{
		"a value of ours": {func(u *unstructured.Unstructured) { container(u, 0)["image"] = "example.test/web:2" }, false},
		"a value in a keyed list": {func(u *unstructured.Unstructured) {
			container(u, 0)["env"].([]any)[0].(map[string]any)["value"] = "fancy"
		}, false},
		"a quantity": {func(u *unstructured.Unstructured) {
			container(u, 0)["resources"] = map[string]any{"limits": map[string]any{"cpu": "1"}}
		}, false},
		"an item of an atomic list": {func(u *unstructured.Unstructured) { container(u, 0)["args"] = []any{"serve"} }, false},
		"a key of an atomic map": {func(u *unstructured.Unstructured) {
			u.Object["spec"].(map[string]any)["nodeSelector"] = map[string]any{"disk": "ssd", "x": "y"}
		}, false},
		"an item that is gone":          {func(u *unstructured.Unstructured) { container(u, 0)["env"] = []any{} }, false},
		"an item of a set that is gone": {func(u *unstructured.Unstructured) { u.SetFinalizers([]string{"example.test/b"}) }, false},
		"a key of a keyed list": {func(u *unstructured.Unstructured) {
			container(u, 0)["ports"].([]any)[0].(map[string]any)["containerPort"] = int64(81)
		}, false},
		"an empty value that is set": {func(u *unstructured.Unstructured) { u.Object["spec"].(map[string]any)["hostNetwork"] = true }, false},
		"a field taken over by another": {func(u *unstructured.Unstructured) {
			u.SetManagedFields([]metav1.ManagedFieldsEntry{owned(self.Manager, apply, `{"f:spec":{"f:nodeSelector":{}}}`)})
		}, false},
		"all of it taken over":    {func(u *unstructured.Unstructured) { u.SetManagedFields(nil) }, false},
		"another's value":         {func(u *unstructured.Unstructured) { container(u, 1)["image"] = "example.test/sidecar:2" }, true},
		"another's item of a set": {func(u *unstructured.Unstructured) { u.SetFinalizers([]string{"example.test/c", "example.test/a"}) }, true},
		"the order of a keyed list": {func(u *unstructured.Unstructured) {
			l := u.Object["spec"].(map[string]any)["containers"].([]any)
			l[0], l[1] = l[1], l[0]
		}, true},
		"the status":           {func(u *unstructured.Unstructured) { u.Object["status"] = map[string]any{"phase": "Running"} }, true},
		"the resource version": {func(u *unstructured.Unstructured) { u.SetResourceVersion("9") }, true},
		"a field that another manager owns": {func(u *unstructured.Unstructured) {
			add(u, owned("operator", update, `{"f:spec":{"f:nodeSelector":{}}}`))
		}, true},
		"the time of our last apply": {func(u *unstructured.Unstructured) {
			entries := u.GetManagedFields()
			now := metav1.Now()
			entries[0].Time = &now
			u.SetManagedFields(entries)
		}, true},
	}
	before := plan.Fingerprint(podOf(t), self.Manager)
	if before == "" {
		t.Fatal("no fingerprint")
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := podOf(t)
			c.change(u)
			if same := plan.Fingerprint(u, self.Manager) == before; same != c.same {
				t.Errorf("same fingerprint: %t", same)
			}
		})
	}
	t.Run("an object that we never applied has none", func(t *testing.T) {
		t.Parallel()
		u := podOf(t)
		u.SetManagedFields([]metav1.ManagedFieldsEntry{owned(self.Manager, update, podFields), owned("other", apply, podFields)})
		if got := plan.Fingerprint(u, self.Manager); got != "" {
			t.Errorf("fingerprint %q", got)
		}
	})
}

const restart = `"f:template":{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/restartedAt":{}}}}`

func TestMergeOverrides(t *testing.T) {
	t.Parallel()
	ours := owned(self.Manager, apply, `{"f:spec":{"f:ours":{}}}`)
	scale := owned("kubectl", update, `{"f:spec":{"f:replicas":{}}}`)
	scale.Subresource = "scale"
	type entries = map[string]string // by manager and operation
	cases := map[string]struct {
		others []metav1.ManagedFieldsEntry
		extra  []string
		want   entries // nothing: nothing changes
	}{
		"nobody else":                  {nil, nil, nil},
		"a controller":                 {[]metav1.ManagedFieldsEntry{owned("operator", update, `{"f:spec":{"f:theirs":{}}}`)}, nil, nil},
		"a scaling by kubectl":         {[]metav1.ManagedFieldsEntry{scale}, nil, nil},
		"a restart by kubectl":         {[]metav1.ManagedFieldsEntry{owned("kubectl-rollout", update, `{"f:spec":{`+restart+`}}`)}, nil, nil},
		"the name that Flux exempts":   {[]metav1.ManagedFieldsEntry{owned("flux-client-side-apply", update, `{"f:spec":{"f:x":{}}}`)}, nil, nil},
		"our own name with Apply only": {[]metav1.ManagedFieldsEntry{}, []string{self.Manager}, nil},
		"an edit by kubectl": {
			[]metav1.ManagedFieldsEntry{owned("kubectl-edit", update, `{"f:spec":{"f:env":{"k:{\"name\":\"X\"}":{".":{},"f:name":{}}}}}`)}, nil,
			entries{"kustomize-controller Apply": `{"f:spec":{"f:env":{"k:{\"name\":\"X\"}":{".":{},"f:name":{}}},"f:ours":{}}}`},
		},
		"an apply by kubectl": {
			[]metav1.ManagedFieldsEntry{owned("kubectl", apply, `{"f:spec":{"f:x":{}}}`)}, nil,
			entries{"kustomize-controller Apply": `{"f:spec":{"f:ours":{},"f:x":{}}}`},
		},
		"what was there before, and our own updates": {
			[]metav1.ManagedFieldsEntry{owned("before-first-apply", update, `{"f:spec":{"f:x":{}}}`), owned(self.Manager, update, `{"f:spec":{"f:y":{}}}`)}, nil,
			entries{"kustomize-controller Apply": `{"f:spec":{"f:ours":{},"f:x":{},"f:y":{}}}`},
		},
		"a manager that the fleet overrides, beside one that it does not": {
			[]metav1.ManagedFieldsEntry{owned("operator", update, `{"f:spec":{"f:x":{}}}`), owned("other", update, `{"f:spec":{"f:y":{}}}`)}, []string{"operator"},
			entries{"kustomize-controller Apply": `{"f:spec":{"f:ours":{},"f:x":{}}}`, "other Update": `{"f:spec":{"f:y":{}}}`},
		},
		"a restart together with an edit": {
			[]metav1.ManagedFieldsEntry{owned("kubectl", update, `{"f:spec":{"f:x":{},`+restart+`}}`)}, nil,
			entries{"kustomize-controller Apply": `{"f:spec":{"f:ours":{},"f:x":{}}}`, "kubectl Update": `{"f:spec":{` + restart + `}}`},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := podOf(t)
			u.SetManagedFields(append([]metav1.ManagedFieldsEntry{ours}, c.others...))
			merged, changed := plan.MergeOverrides(u, self, c.extra)
			if changed != (c.want != nil) {
				t.Fatalf("changed: %t", changed)
			}
			var got entries
			for _, e := range merged {
				if got == nil {
					got = entries{}
				}
				got[e.Manager+" "+string(e.Operation)] = canonical(t, e.FieldsV1.GetRawBytes())
			}
			for k, v := range c.want {
				c.want[k] = canonical(t, []byte(v))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("an object that we never applied gets an entry of ours", func(t *testing.T) {
		t.Parallel()
		u := podOf(t)
		u.SetManagedFields([]metav1.ManagedFieldsEntry{owned("kubectl-create", update, `{"f:spec":{"f:x":{}}}`)})
		merged, changed := plan.MergeOverrides(u, self, nil)
		if !changed || len(merged) != 1 || merged[0].Manager != self.Manager || merged[0].Operation != apply || merged[0].APIVersion != "v1" {
			t.Errorf("entries: %+v", merged)
		}
	})
}

func canonical(t *testing.T, raw []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestYieldReplicas(t *testing.T) {
	t.Parallel()
	const none = int64(-1)
	replicas := `{"f:spec":{"f:replicas":{}}}`
	autoscaler := owned("kube-controller-manager", update, replicas)
	autoscaler.Subresource = "scale"
	kubectl := owned("kubectl-edit", update, replicas)
	ours := owned(self.Manager, apply, replicas)
	cases := map[string]struct {
		want, live int64 // in the manifest and in the cluster
		owners     []metav1.ManagedFieldsEntry
		sent       int64
	}{
		"it is not there yet":                                  {2, none, nil, 2},
		"we alone own them":                                    {2, 3, []metav1.ManagedFieldsEntry{ours}, 3},
		"the autoscaler owns them":                             {2, 5, []metav1.ManagedFieldsEntry{autoscaler}, none},
		"the autoscaler owns them with us":                     {2, 2, []metav1.ManagedFieldsEntry{ours, autoscaler}, none},
		"a person owns them":                                   {2, 7, []metav1.ManagedFieldsEntry{kubectl}, 7},
		"a person owns them with the autoscaler":               {2, 7, []metav1.ManagedFieldsEntry{kubectl, autoscaler}, none},
		"nobody owns them":                                     {2, 1, nil, 1},
		"the manifest drops them, and we alone own them":       {none, 3, []metav1.ManagedFieldsEntry{ours}, 3},
		"the manifest drops them, and a person owns them":      {none, 7, []metav1.ManagedFieldsEntry{kubectl}, 7},
		"the manifest drops them, and the autoscaler has them": {none, 5, []metav1.ManagedFieldsEntry{ours, autoscaler}, none},
		"the manifest never had them":                          {none, 1, nil, none},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := func(n int64) *unstructured.Unstructured {
				u := manifest(t, "Deployment", "web")
				if n != none {
					u.Object["spec"] = map[string]any{"replicas": n}
				}
				return u
			}
			want, live := object(c.want), object(c.live)
			live.SetManagedFields(c.owners)
			if name == "it is not there yet" {
				live = nil
			}
			sent, set, err := unstructured.NestedInt64(plan.YieldReplicas(want, live, self.Manager, nil).Object, "spec", "replicas")
			if err != nil {
				t.Fatal(err)
			}
			if !set {
				sent = none
			}
			if sent != c.sent {
				t.Errorf("sends %d, want %d", sent, c.sent)
			}
			if diff := cmp.Diff(object(c.want), want); diff != "" {
				t.Errorf("the manifest changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAutoscaled(t *testing.T) {
	t.Parallel()
	hpa := parse(t, `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 3}
`)
	got := plan.Autoscaled([]*unstructured.Unstructured{hpa, manifest(t, "Deployment", "other")})
	id, err := plan.NewWant(manifest(t, "Deployment", "web"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || !got[id.ID] {
		t.Errorf("autoscaled: %v", got)
	}
}

func TestOwnerOf(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		labels map[string]string
		want   plan.Owner
		marked bool
	}{
		"a Kustomization": {self.Labels(), self, true},
		"an inventory":    {plan.Inventory("ops", "tools").Labels(), plan.Inventory("ops", "tools"), true},
		"nobody":          {map[string]string{"app": "x"}, plan.Owner{}, false},
		"half a label":    {map[string]string{"kustomize.toolkit.fluxcd.io/namespace": "apps"}, plan.Owner{}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := manifest(t, "ConfigMap", "a")
			u.SetLabels(c.labels)
			got, marked := plan.OwnerOf(u)
			if diff := cmp.Diff(c.want, got); diff != "" || marked != c.marked {
				t.Errorf("owner (-want +got):\n%s\nmarked %t", diff, marked)
			}
			if marked && !got.Marks(u) {
				t.Error("the owner does not mark it")
			}
		})
	}
}
