// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// agreeCases is how many cases are generated. KUSTOMIZER_SEED repeats those of another run.
const (
	agreeCases  = 320
	agreeAtOnce = 6
	agreeSeed   = "KUSTOMIZER_SEED"
)

// agreeWorld is a control plane in which the cases run beside each other.
type agreeWorld struct {
	*world
	mu     sync.Mutex
	counts map[string]int // what the cases had, so that they can't become poor unnoticed
}

// What a diff shows is what an apply writes, whatever the set, the cluster and the others in it: in
// each case the plan is taken, then the set is applied, and what the API server's audit log says was
// written is compared with that plan.
func TestDiffAndApplyAgree(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	if given := os.Getenv(agreeSeed); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d repeats these cases", agreeSeed, seed)
	a := newAgreeWorld(t)
	mark := a.Mark(t)
	var group errgroup.Group
	group.SetLimit(agreeAtOnce)
	for i := range agreeCases {
		group.Go(func() error {
			c := generateCase(rand.New(rand.NewPCG(seed, uint64(i))), i)
			t.Run(c.tag, func(t *testing.T) { a.agrees(t, c) })
			return nil
		})
	}
	_ = group.Wait() // the cases report for themselves
	if stray := a.Requests(t, testkit.ByUser(a.agent.UserName), testkit.After(mark)).Writes().Of(func(r testkit.Request) bool {
		return !strings.Contains(r.Namespace+"/"+r.Name, "x") && r.Resource != "customresourcedefinitions"
	}); len(stray) > 0 {
		t.Errorf("writes that belong to no case:\n%s", stray)
	}
	for _, what := range []plan.Action{
		plan.Create, plan.Configure, plan.Unchanged, plan.Replace, plan.Delete, plan.Hold, plan.Skip, plan.Later, plan.Keep,
		plan.Forget, plan.Refuse, plan.Conflict,
	} {
		if a.counts[string(what)] == 0 {
			t.Errorf("no case has %q: the cases prove nothing of it", what)
		}
	}
	t.Logf("%d cases: %v", agreeCases, a.counts)
}

func newAgreeWorld(t *testing.T) *agreeWorld {
	t.Helper()
	a := &agreeWorld{
		world:  worldIn(t, testkit.OwnControlPlane(t, testkit.ControlPlane{NoControllerManager: true})),
		counts: map[string]int{},
	}
	for _, text := range []string{colourDefinition, mutatingPolicy, mutatingBinding} {
		u := a.objects(text)[0]
		gvr, _ := resourceOf(u.GroupVersionKind())
		if _, err := a.Dynamic.Resource(gvr).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	a.Kubectl(t, "wait", "--for=condition=Established", "crd/colours.agree.example")
	a.Kubectl(t, "label", "namespace", a.Namespace, "agree.example/mutated=true")
	testkit.Eventually(t, "the policy at work", time.Minute, func() error {
		probe, opts := a.objects(setting)[0], metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
		u, err := a.resource(configMaps).Create(t.Context(), probe, opts)
		if err == nil && u.GetLabels()["agree.example/stamp"] == "" {
			err = errors.New("it has changed nothing")
		}
		return err
	})
	return a
}

// agrees runs one case.
func (a *agreeWorld) agrees(t *testing.T, c agreeCase) {
	namespace := c.tag + "-case"
	a.prepare(t, c, namespace)
	req := a.inventoryOf(t, c, namespace, "app", c.set(after))
	if len(req.Collected.Objects) == 0 {
		req.Policy.Prune = true
	}
	p, err := a.engine.PlanInventory(t.Context(), req)
	if err != nil {
		t.Fatalf("planning: %v\n%+v", err, c)
	}
	differences := deploy.Differences(p, req.Policy.Overrides)
	mark := a.Mark(t)
	out := a.engine.ApplyInventory(t.Context(), req, deploy.InventoryProgress{Waiting: func(r observe.Report) { a.release(t, r) }})
	sent := a.Requests(t, testkit.ByUser(a.agent.UserName), testkit.After(mark), c.mine).Writes()
	if diff := gocmp.Diff(expectedWrites(p), writesOf(withoutQuestion(sent, p), namespace)); diff != "" {
		t.Errorf("-planned +written:\n%s\nthe outcome is %s: %v\nthe case is %+v\nsent:\n%s", diff, out.State, out.Err, c, sent)
	}
	a.asShown(t, c, p, differences)
	a.settledAfter(t, c, req, out)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range slices.Concat(p.Steps, p.Stale) {
		a.counts[string(s.Action)]++
	}
}

// release takes the finalizers off what is waited for until it is gone, as the controllers would that do
// not run here.
func (a *agreeWorld) release(t *testing.T, r observe.Report) {
	for _, n := range r.Pending {
		if n.Status.Cause.Code != cause.FinalizerPending {
			continue
		}
		gvr, namespaced := resourceOf(schema.GroupVersionKind{Group: n.ID.Group, Version: "v1", Kind: n.ID.Kind})
		var client dynamic.ResourceInterface = a.Dynamic.Resource(gvr)
		if namespaced {
			client = a.Dynamic.Resource(gvr).Namespace(n.ID.Namespace)
		}
		_, err := client.Patch(t.Context(), n.ID.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("releasing %s: %v", n.ID, err)
		}
	}
}

// mine says whether a request is about an object of the case.
func (c agreeCase) mine(r testkit.Request) bool {
	return strings.Contains(r.Namespace+"/"+r.Name, c.tag)
}

// prepare brings a case to where the plan is made: another inventory has its objects, the first set
// is applied, and somebody has interfered.
func (a *agreeWorld) prepare(t *testing.T, c agreeCase, namespace string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if c.mutated {
		ns.Labels = map[string]string{"agree.example/mutated": "true"}
	}
	if _, err := a.Kube.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string][]string{"other": c.set(shared), "app": c.set(before)} {
		if len(set) == 0 {
			continue
		}
		req := a.inventoryOf(t, c, namespace, name, set)
		if out := a.engine.ApplyInventory(t.Context(), req, deploy.InventoryProgress{}); out.Err != nil {
			t.Fatalf("the first apply of %s: %v\n%+v", name, out.Err, c)
		}
	}
	for _, s := range c.slots {
		if s.disturb == "" || s.kind == "Namespace" || s.kind == "Definition" {
			continue
		}
		u := a.decoded(t, c, namespace, []string{s.manifest(c.tag, 0)})[0]
		s.name = u.GetName()
		gvr, namespaced := resourceOf(u.GroupVersionKind())
		var err error
		if client := a.Dynamic.Resource(gvr); namespaced {
			err = a.disturb(t.Context(), s, client.Namespace(namespace), u.GroupVersionKind())
		} else {
			err = a.disturb(t.Context(), s, client, u.GroupVersionKind())
		}
		if err != nil && !apierrors.IsInvalid(err) {
			t.Fatalf("%s of %s: %v", s.disturb, s.name, err)
		}
	}
}

func (a *agreeWorld) inventoryOf(t *testing.T, c agreeCase, namespace, name string, set []string) deploy.InventoryRequest {
	t.Helper()
	return deploy.InventoryRequest{
		Owner: plan.Inventory(namespace, name), Policy: c.policy,
		Collected: deploy.Collected{Objects: a.decoded(t, c, namespace, set), Digest: "sha256:" + strconv.Itoa(len(set))},
	}
}

func (a *agreeWorld) decoded(t *testing.T, c agreeCase, namespace string, set []string) []*unstructured.Unstructured {
	t.Helper()
	text := strings.ReplaceAll(strings.Join(set, "\n---\n"), "namespace: NS", "namespace: "+namespace)
	located, err := object.Decode([]byte(text), c.tag+".yaml")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var out []*unstructured.Unstructured
	for _, l := range located {
		out = append(out, l.Object)
	}
	return out
}

// expectedWrites says, by object, what a plan would write. A take-over of fields is a write of its
// own, which a diff does not show.
func expectedWrites(p *plan.Plan) map[string]string {
	out := map[string]string{}
	if len(p.Refused())+len(p.Conflicts()) > 0 {
		return out
	}
	for _, s := range slices.Concat(p.Steps, p.Stale) {
		switch s.Action {
		case plan.Create, plan.Configure, plan.Later:
			out[s.ID.String()] = "apply"
		case plan.Replace:
			out[s.ID.String()] = "delete, apply"
		case plan.Delete:
			out[s.ID.String()] = "delete"
		}
	}
	return out
}

// withoutQuestion leaves out the apply of a single change that the server refuses, and that the plan says
// it refuses: where a rehearsal was spared, that apply is the question, and it has written nothing.
func withoutQuestion(sent testkit.Requests, p *plan.Plan) testkit.Requests {
	refused := map[string]bool{}
	for _, s := range p.Steps {
		refused[s.ID.Namespace+"/"+s.ID.Name+"/"+s.ID.Kind] = s.Action == plan.Refuse || s.Action == plan.Replace
	}
	i := slices.IndexFunc(sent, func(r testkit.Request) bool {
		return r.Verb == "patch" && r.Code >= 400 && refused[r.Namespace+"/"+r.Name+"/"+kindOf(r)]
	})
	if i < 0 {
		return sent
	}
	return slices.Delete(slices.Clone(sent), i, i+1)
}

// writesOf says, by object, what was written, in order and without the record and the inventory.
func writesOf(sent testkit.Requests, namespace string) map[string]string {
	verbs := map[string][]string{}
	for _, r := range sent {
		if r.Resource == "configmaps" && r.Namespace == namespace && strings.HasPrefix(r.Name, "inv-") {
			continue
		}
		id := object.ID{Group: r.Group, Kind: kindOf(r), Namespace: r.Namespace, Name: r.Name}
		if r.Resource == "namespaces" {
			id.Namespace = ""
		}
		verb := map[string]string{"patch": "apply"}[r.Verb]
		verbs[id.String()] = append(verbs[id.String()], cmp.Or(verb, r.Verb))
		if r.Code >= 300 {
			verbs[id.String()] = append(verbs[id.String()], fmt.Sprintf("failed with %d", r.Code))
		}
	}
	out := map[string]string{}
	for id, all := range verbs {
		out[id] = strings.Join(slices.Compact(all), ", ")
	}
	return out
}

// asShown sees that what the diff showed of each object is what it has become.
func (a *agreeWorld) asShown(t *testing.T, c agreeCase, p *plan.Plan, differences []deploy.Difference) {
	t.Helper()
	if len(p.Refused())+len(p.Conflicts()) > 0 {
		return
	}
	later := map[object.ID]bool{}
	for _, s := range p.Steps {
		later[s.ID] = s.Action == plan.Later
	}
	for _, d := range differences {
		if later[d.ID] || d.ID.Kind == "Secret" || d.Action == plan.Hold || d.Action == plan.Conflict {
			continue
		}
		live := a.live(t, d)
		if d.Action == plan.Delete {
			if live != nil && live.GetDeletionTimestamp() == nil {
				t.Errorf("%s is still there\n%+v", d.ID, c)
			}
			continue
		}
		if live == nil {
			t.Errorf("%s is not there, but was to be: %s\n%+v", d.ID, d.Action, c)
			continue
		}
		if diff := gocmp.Diff(contentOf(d.After), contentOf(plan.Manifest(live))); diff != "" && d.Action != plan.Replace {
			t.Errorf("%s: -shown +live:\n%s\nthe case is %+v", d.ID, diff, c)
		}
	}
}

// contentOf leaves out what the server chooses anew for each request.
func contentOf(u *unstructured.Unstructured) map[string]any {
	out := u.DeepCopy()
	for _, field := range []string{"clusterIP", "clusterIPs"} {
		if u.GetKind() == "Service" {
			unstructured.RemoveNestedField(out.Object, "spec", field)
		}
	}
	return out.Object
}

func (a *agreeWorld) live(t *testing.T, d deploy.Difference) *unstructured.Unstructured {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	gvk := schema.GroupVersionKind{Group: d.ID.Group, Version: "v1", Kind: d.ID.Kind}
	if d.After != nil {
		gvk = d.After.GroupVersionKind()
	} else if d.Before != nil {
		gvk = d.Before.GroupVersionKind()
	}
	gvr, namespaced := resourceOf(gvk)
	var u *unstructured.Unstructured
	var err error
	if namespaced {
		u, err = a.Dynamic.Resource(gvr).Namespace(d.ID.Namespace).Get(ctx, d.ID.Name, metav1.GetOptions{})
	} else {
		u, err = a.Dynamic.Resource(gvr).Get(ctx, d.ID.Name, metav1.GetOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return u
}

// settledAfter sees that where the apply says that all is done, another plan has nothing to do.
func (a *agreeWorld) settledAfter(t *testing.T, c agreeCase, req deploy.InventoryRequest, out deploy.Outcome) {
	t.Helper()
	if out.State != deploy.Done {
		return
	}
	p, err := a.engine.PlanInventory(t.Context(), req)
	if err != nil {
		t.Fatalf("planning after the apply: %v\n%+v", err, c)
	}
	if left := expectedWrites(p); len(left) > 0 {
		t.Errorf("after the apply there is still to do: %v\n%+v", left, c)
	}
}

// resourcesOfKinds are the resources of the kinds that cases have.
func resourcesOfKinds() map[string]string {
	return map[string]string{
		"ConfigMap": "configmaps", "Secret": "secrets", "Service": "services", "ServiceAccount": "serviceaccounts",
		"Deployment": "deployments", "HorizontalPodAutoscaler": "horizontalpodautoscalers", "Role": "roles",
		"PersistentVolumeClaim": "persistentvolumeclaims", "Colour": "colours", "Namespace": "namespaces", "Thing": "things",
		"CustomResourceDefinition": "customresourcedefinitions", "ClusterRole": "clusterroles",
		"MutatingAdmissionPolicy": "mutatingadmissionpolicies", "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
	}
}

func resourceOf(gvk schema.GroupVersionKind) (gvr schema.GroupVersionResource, namespaced bool) {
	cluster := []string{"Namespace", "CustomResourceDefinition", "ClusterRole", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}
	return gvk.GroupVersion().WithResource(resourcesOfKinds()[gvk.Kind]), !slices.Contains(cluster, gvk.Kind)
}

func kindOf(r testkit.Request) string {
	for kind, resource := range maps.All(resourcesOfKinds()) {
		if resource == r.Resource {
			return kind
		}
	}
	return r.Resource
}

// colourDefinition is served at two versions.
const colourDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: colours.agree.example}
spec:
  group: agree.example
  scope: Namespaced
  names: {kind: Colour, plural: colours, singular: colour, listKind: ColourList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// mutatingPolicy changes a field that sets have, and adds one that they have not.
const mutatingPolicy = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: agree.example}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps, serviceaccounts]}
  matchConditions:
  - {name: no-records, expression: "!object.metadata.name.startsWith('inv-')"}
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >
        Object{metadata: Object.metadata{labels: {"part": "as-the-policy-says", "agree.example/stamp": "yes"}}}
`

const mutatingBinding = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: agree.example}
spec:
  policyName: agree.example
  matchResources:
    namespaceSelector: {matchLabels: {agree.example/mutated: "true"}}
`
