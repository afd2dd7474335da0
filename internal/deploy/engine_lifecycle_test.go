// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
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

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// definition defines a kind, at versions of which the last is stored.
func definition(kind, scope string, versions ...string) string {
	plural := strings.ToLower(kind) + "s"
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: %s.test.kustomizer.dev}\n", plural)
	fmt.Fprintf(&b, "spec:\n  group: test.kustomizer.dev\n  scope: %s\n  names: {kind: %s, plural: %s}\n  versions:\n", scope, kind, plural)
	for i, v := range versions {
		fmt.Fprintf(&b, "  - name: %s\n    served: true\n    storage: %t\n", v, i == len(versions)-1)
		b.WriteString("    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n")
	}
	return b.String()
}

func custom(kind, version, namespace string) string {
	if namespace != "" {
		namespace = ", namespace: " + namespace
	}
	return fmt.Sprintf("apiVersion: test.kustomizer.dev/%s\nkind: %s\nmetadata: {name: one%s}\nspec: {size: 3}\n", version, kind, namespace)
}

// All that needs definitions shares one control plane, one step after the other.
func TestDefinitionsAndNamespacesInOneSet(t *testing.T) {
	t.Parallel()
	w := worldIn(t, testkit.OwnControlPlane(t, testkit.ControlPlane{}))
	things := schema.GroupVersionResource{Group: "test.kustomizer.dev", Version: "v1", Resource: "things"}
	in := func(manifest string) string { return strings.ReplaceAll(manifest, "namespace: NS", "namespace: shop") }
	whole := []string{
		custom("Thing", "v1", "shop"),
		custom("Planet", "v1", "shop"), // as kustomize renders it: it does not know the scope
		in(web), in(webScaler), in(cm("settings")),
		definition("Thing", "Namespaced", "v1"), definition("Planet", "Cluster", "v1"),
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
		"apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: shop}\nvalue: 1\n",
	}
	t.Run("are installed at the first try", func(t *testing.T) {
		w.t = t
		sent := w.counted(func() {
			w.mustRun(w.request(whole...), deploy.Done,
				"created CustomResourceDefinition/planets.test.kustomizer.dev", "created CustomResourceDefinition/things.test.kustomizer.dev",
				"created Namespace/shop", "created PriorityClass/shop", "created ConfigMap/shop/settings", "created Deployment/shop/web",
				"created HorizontalPodAutoscaler/shop/web", "created Planet/one", "created Thing/shop/one")
		})
		if first := sent.Writes()[0]; first.Resource != "configmaps" || first.Namespace != w.Namespace {
			t.Errorf("the first write is not the record's: %s", first)
		}
		quiet(w, w.request(whole...))
	})
	t.Run("are upgraded to a new version at the first try", func(t *testing.T) {
		w.t = t
		whole[0], whole[5] = custom("Thing", "v2", "shop"), definition("Thing", "Namespaced", "v1", "v2")
		// What is stored is the same object at both versions.
		w.mustRun(w.request(whole...), deploy.Done, "configured CustomResourceDefinition/things.test.kustomizer.dev")
		quiet(w, w.request(whole...))
	})
	t.Run("are watched over at the version that is wanted", func(t *testing.T) {
		w.t = t
		theirs := w.Dynamic.Resource(things).Namespace("shop")
		u, err := theirs.Get(t.Context(), "one", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		set(t, u, int64(4), "spec", "size")
		if _, err := theirs.Update(t.Context(), u, metav1.UpdateOptions{FieldManager: "some-controller"}); err != nil {
			t.Fatal(err)
		}
		w.mustRun(w.request(whole...), deploy.Done, "corrected Thing/shop/one")
		quiet(w, w.request(whole...))
	})
	t.Run("a group whose server does not answer is not gone", func(t *testing.T) {
		w.t = t
		broken := `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.broken.test}
spec: {group: broken.test, version: v1, groupPriorityMinimum: 100, versionPriority: 100, service: {name: none, namespace: default}}
`
		if _, err := w.Dynamic.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}).
			Create(t.Context(), w.objects(broken)[0], metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.engine.Cluster.Forget()
		req := w.request(cm("only"))
		req.Owner = plan.Kustomization(w.Namespace, "other")
		for _, group := range []string{"broken.test", "nowhere.test"} {
			req.Imported = append(req.Imported, plan.Entry{ID: object.ID{Group: group, Kind: "Thing", Namespace: "shop", Name: "x"}, Version: "v1", Pending: true})
		}
		var out deploy.Outcome
		testkit.Eventually(t, "the server says that the group is broken", 20*time.Second, func() error {
			_, failed, err := w.engine.Cluster.Kinds(t.Context())
			if err == nil && !slices.Contains(failed, "broken.test") {
				err = fmt.Errorf("failed: %s", failed)
			}
			return err
		})
		out = w.mustRun(req, deploy.Done, "created ConfigMap/only")
		for id := range out.Entries {
			if id.Group == "nowhere.test" {
				t.Errorf("still on record: %s", id)
			}
		}
		if len(out.Entries) != 2 || len(out.Notes) != 1 || !strings.Contains(out.Notes[0], "DiscoveryFailed") {
			t.Errorf("on record %v, notes %q", out.Entries, out.Notes)
		}
	})
	t.Run("a deleted definition is noticed", func(t *testing.T) {
		w.t = t
		crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
		if err := w.Dynamic.Resource(crds).Delete(t.Context(), "planets.test.kustomizer.dev", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the definition is gone", 20*time.Second, func() error {
			_, err := w.Dynamic.Resource(crds).Get(t.Context(), "planets.test.kustomizer.dev", metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("still there (%v)", err)
		})
		testkit.Eventually(t, "put back", 20*time.Second, func() error {
			out := w.run(w.request(whole...))
			if out.State != deploy.Done || len(out.Changes) != 2 {
				return fmt.Errorf("%s %v %s", out.State, out.Err, w.changes(out))
			}
			return nil
		})
		quiet(w, w.request(whole...))
	})
	t.Run("while a group can't be discovered, nobody knows what a namespace holds", func(t *testing.T) {
		w.t = t
		req := deploy.TeardownRequest{Owner: w.owner, RecordNamespace: w.Namespace}
		out := w.engine.Teardown(t.Context(), req)
		if out.State != deploy.Failed || !strings.Contains(out.Err.Error(), "Namespace/shop: ") || !strings.Contains(out.Err.Error(), "broken.test") {
			t.Fatalf("%s: %v", out.State, out.Err)
		}
		if _, err := w.Dynamic.Resource(things).Namespace("shop").Get(t.Context(), "one", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("Thing/shop/one: %v", err)
		}
		if got := w.recorded(); !slices.Contains(got, "Namespace/shop") {
			t.Errorf("on record %s", got)
		}
		apiServices := schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
		if err := w.Dynamic.Resource(apiServices).Delete(t.Context(), "v1.broken.test", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "all is known and gone", 20*time.Second, func() error {
			if out = w.engine.Teardown(t.Context(), req); out.State != deploy.Done {
				return fmt.Errorf("%s: %w", out.State, out.Err)
			}
			return nil
		})
		if len(out.Left) > 0 {
			t.Errorf("left %+v", out.Left)
		}
	})
}

func TestZeroValuesAreWatchedOver(t *testing.T) {
	w := newWorld(t)
	req := w.request(strings.Replace(web, "    spec:\n      containers:", "    spec:\n      hostNetwork: false\n      tolerations: []\n      containers:", 1))
	w.mustRunState(req, deploy.Done)
	quiet(w, req)
	w.edit(deployments, "web", "some-controller", func(u *unstructured.Unstructured) {
		set(t, u, true, "spec", "template", "spec", "hostNetwork")
	})
	w.mustRun(req, deploy.Done, "corrected Deployment/web")
	w.edit(deployments, "web", "some-controller", func(u *unstructured.Unstructured) {
		set(t, u, []any{map[string]any{"operator": "Exists"}}, "spec", "template", "spec", "tolerations")
	})
	w.mustRun(req, deploy.Done, "corrected Deployment/web")
	quiet(w, req)
}

func TestSecretValuesAreWatchedOver(t *testing.T) {
	w := newWorld(t)
	secrets := schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	req := w.request(webAccess)
	w.mustRunState(req, deploy.Done)
	w.edit(secrets, "web", "some-controller", func(u *unstructured.Unstructured) { set(t, u, "ZWxzZQ==", "data", "password") })
	w.mustRun(req, deploy.Done, "corrected Secret/web")
	if got, _, _ := unstructured.NestedString(w.get(secrets, "web").Object, "data", "password"); got != "Y29ycmVjdC1ob3JzZQ==" {
		t.Errorf("the password is %q", got)
	}
	// A key that the manifest no longer has goes.
	w.mustRun(w.request(strings.Replace(webAccess, "{password: correct-horse}", "{other: x}", 1)), deploy.Done, "configured Secret/web")
	if _, there, _ := unstructured.NestedString(w.get(secrets, "web").Object, "data", "password"); there {
		t.Error("the password is still there")
	}
}

// hold puts a finalizer on an object, and returns what takes it off.
func (w *world) hold(gvr schema.GroupVersionResource, name string) (release func()) {
	w.t.Helper()
	w.edit(gvr, name, "some-controller", func(u *unstructured.Unstructured) { u.SetFinalizers([]string{"test.kustomizer.dev/hold"}) })
	off := func() {
		u, err := w.resource(gvr).Get(w.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return
		}
		u.SetFinalizers(nil)
		if _, err := w.resource(gvr).Update(w.t.Context(), u, metav1.UpdateOptions{FieldManager: "some-controller"}); err != nil && !apierrors.IsNotFound(err) {
			w.t.Error(err)
		}
	}
	return off
}

func TestObjectsHeldByFinalizers(t *testing.T) {
	w := newWorld(t)
	w.mustRunState(w.request(cm("a"), cm("b"), cm("c")), deploy.Done)
	release := w.hold(configMaps, "c")
	req := w.request(cm("a"), cm("b"))
	out := w.mustRun(req, deploy.Waiting, "deleted ConfigMap/c")
	if len(out.Wait.Objects) != 1 || !out.Wait.Objects[0].Absent {
		t.Errorf("waits for %+v", out.Wait.Objects)
	}
	// It holds nothing else up, and stays on record until it is gone.
	out = w.mustRun(w.request(cm("a"), cm("b", "more", "x")), deploy.Done, "configured ConfigMap/b")
	if got := w.recorded(); len(got) != 3 || len(out.Notes) != 1 || !strings.Contains(out.Notes[0], "test.kustomizer.dev/hold") {
		t.Errorf("on record %s, notes %q", got, out.Notes)
	}
	// Wanted again, it can't be had before it is gone.
	if out := w.run(w.request(cm("a"), cm("b"), cm("c"))); out.State != deploy.Failed || !strings.Contains(out.Err.Error(), "BeingDeleted") {
		t.Errorf("%s: %v", out.State, out.Err)
	}
	release()
	w.mustRunState(req, deploy.Done)
	if got := w.recorded(); len(got) != 2 {
		t.Errorf("on record %s", got)
	}
}

func TestTeardown(t *testing.T) {
	t.Parallel()
	everything := []string{cm("a"), cm("b"), web, webAccess, volume}
	begin := func(t *testing.T) (*world, deploy.TeardownRequest) {
		w := newWorld(t)
		w.mustRunState(w.request(everything...), deploy.Done)
		return w, deploy.TeardownRequest{Owner: w.owner, RecordNamespace: w.Namespace}
	}
	mustTeardown := func(w *world, req deploy.TeardownRequest, state deploy.State) deploy.TeardownOutcome {
		w.t.Helper()
		out := w.engine.Teardown(w.t.Context(), req)
		if out.State != state {
			w.t.Fatalf("%s, want %s: %v", out.State, state, out.Err)
		}
		return out
	}
	left := func(w *world, out deploy.TeardownOutcome) []string {
		w.t.Helper()
		var ids []string
		for _, s := range out.Left {
			ids = append(ids, s.ID.Kind+"/"+s.ID.Name)
		}
		if len(ids) == 0 {
			return nil
		}
		text, _, _ := unstructured.NestedString(w.get(configMaps, out.LeftRecord).Object, "data", "objects")
		if strings.Count(text, "\n") != len(ids) {
			w.t.Errorf("the list of leftovers does not hold them all:\n%s", text)
		}
		return ids
	}
	t.Run("takes all but data", func(t *testing.T) {
		w, req := begin(t)
		out := mustTeardown(w, req, deploy.Done)
		if diff := cmp.Diff([]string{"PersistentVolumeClaim/data"}, left(w, out)); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
		if got := w.owned(); len(got) != 0 || w.load().Exists {
			t.Errorf("in the cluster %s, record %t", got, w.load().Exists)
		}
		mustTeardown(w, req, deploy.Done)
	})
	t.Run("takes data as well where that was named", func(t *testing.T) {
		w, req := begin(t)
		req.TakeProtected = true
		if got := left(w, mustTeardown(w, req, deploy.Done)); len(got) != 0 || w.exists(claims, "data") {
			t.Errorf("left %s", got)
		}
	})
	t.Run("takes nothing where all is to be kept", func(t *testing.T) {
		w, req := begin(t)
		req.Keep = "the deletion policy is Orphan"
		out := mustTeardown(w, req, deploy.Done)
		if got := left(w, out); len(got) != 10 || len(out.Changes) != 0 {
			t.Errorf("left %s", got)
		}
	})
	t.Run("waits for finalizers where that was asked for", func(t *testing.T) {
		w, req := begin(t)
		release := w.hold(configMaps, "a")
		req.AwaitGone, req.TakeProtected = true, true
		out := mustTeardown(w, req, deploy.Waiting)
		mustTeardown(w, req, deploy.Waiting)
		if got := w.recorded(); !slices.Contains(got, "ConfigMap/a") {
			t.Errorf("on record %s", got)
		}
		release()
		// The claim is held by its own protection for a moment.
		if _, err := observe.Until(t.Context(), w.engine.Cluster, out.Wait, nil); err != nil {
			t.Fatal(err)
		}
		mustTeardown(w, req, deploy.Done)
	})
	t.Run("gives up on finalizers when the time is over", func(t *testing.T) {
		w, req := begin(t)
		defer w.hold(configMaps, "a")()
		req.AwaitGone, req.TakeProtected, req.GiveUp = true, true, true
		mustTeardown(w, req, deploy.Done)
	})
	t.Run("does not take what it can't see for gone", func(t *testing.T) {
		w, req := begin(t)
		proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
			if testkit.Resources("services")(r) {
				return testkit.Fault{Status: 503}
			}
			return testkit.Fault{}
		})
		w.engine = w.engineOf(proxy.Config)
		req.TakeProtected = true
		mustTeardown(w, req, deploy.Failed)
		if got := w.recorded(); !slices.Contains(got, "Service/web") {
			t.Errorf("on record %s", got)
		}
		req.GiveUp = true
		if got := left(w, mustTeardown(w, req, deploy.Done)); !slices.Contains(got, "Service/web") {
			t.Errorf("left %s", got)
		}
	})
	t.Run("takes nothing by the record of another cluster", func(t *testing.T) {
		w, req := begin(t)
		w.editRecord(func(data map[string]any) {
			data["head"] = strings.Replace(data["head"].(string), w.load().Head.Cluster, "another-cluster", 1)
		})
		if got := left(w, mustTeardown(w, req, deploy.Done)); len(got) != 10 || !w.exists(deployments, "web") {
			t.Errorf("left %s", got)
		}
	})
	t.Run("takes nothing that a status update hides", func(t *testing.T) {
		w, req := begin(t)
		busy := 0
		proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
			if r.Verb != "delete" || r.Name != "a" || busy == 2 {
				return testkit.Fault{}
			}
			busy++
			return testkit.Fault{Before: func() {
				w.edit(configMaps, "a", "some-controller", func(u *unstructured.Unstructured) {
					u.SetAnnotations(map[string]string{"busy": fmt.Sprint(busy)})
				})
			}}
		})
		w.engine = w.engineOf(proxy.Config)
		mustTeardown(w, req, deploy.Done)
		if w.exists(configMaps, "a") || busy != 2 {
			t.Errorf("a is still there, after %d edits", busy)
		}
	})
	t.Run("spares what another owner has taken over meanwhile", func(t *testing.T) {
		w, req := begin(t)
		proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
			if r.Verb != "delete" || r.Name != "a" {
				return testkit.Fault{}
			}
			return testkit.Fault{Before: func() {
				w.edit(configMaps, "a", "some-controller", func(u *unstructured.Unstructured) {
					u.SetLabels(plan.Kustomization("other", "other").Labels())
				})
			}}
		})
		w.engine = w.engineOf(proxy.Config)
		mustTeardown(w, req, deploy.Done)
		if !w.exists(configMaps, "a") {
			t.Error("a was deleted")
		}
	})
}

func TestWaitComesBeforePrune(t *testing.T) {
	w := newWorld(t)
	w.mustRunState(w.request(web, cm("a"), cm("b")), deploy.Done)
	req := w.request(strings.Replace(web, "image: example.test/web:1", "image: example.test/web:2", 1), cm("a"))
	req.Wait = true
	out := w.mustRun(req, deploy.Waiting, "configured Deployment/web")
	if !w.exists(configMaps, "b") {
		t.Fatal("b was pruned while the rollout was under way")
	}
	if _, err := observe.Until(t.Context(), w.engine.Cluster, out.Wait, nil); err != nil {
		t.Fatal(err)
	}
	w.mustRun(req, deploy.Done, "deleted ConfigMap/b")
	quiet(w, req)
}
