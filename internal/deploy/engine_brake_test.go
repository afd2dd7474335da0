// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
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

const namespaceManifest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n"

const service = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n"

// within has an object live in another namespace than the test's.
func within(namespace, manifest string) string {
	return strings.ReplaceAll(manifest, "namespace: NS", "namespace: "+namespace)
}

// heldFor runs a request, which the brake has to hold for a reason.
func (w *world) heldFor(req deploy.Request, reason string) {
	w.t.Helper()
	out := w.mustRunState(req, deploy.Held)
	if !strings.Contains(out.Plan.Brake.Reason, reason) {
		w.t.Errorf("held because %s, not because %s", out.Plan.Brake.Reason, reason)
	}
	if n := len(w.deletions(out)); n > 0 {
		w.t.Errorf("%d deletions while held", n)
	}
}

func (w *world) deletions(out deploy.Outcome) []string {
	return slices.DeleteFunc(w.changes(out), func(line string) bool { return !strings.HasPrefix(line, "deleted ") })
}

func TestNamespaceIsHeldOnlyWithForeignContent(t *testing.T) {
	w := newWorld(t)
	name := w.Namespace + "-shop"
	w.DeleteNamespaceAtEnd(t, name)
	whole := []string{cm("a"), cm("b"), fmt.Sprintf(namespaceManifest, name), within(name, cm("own")), within(name, service)}
	w.mustRunState(w.request(whole...), deploy.Done)
	smaller := w.request(cm("a"), cm("b"), within(name, cm("own")), within(name, service))
	w.heldFor(smaller, "Namespace/"+name+" (it holds ConfigMap/"+name+"/own, Service/"+name+"/web)")

	there := w.Dynamic.Resource(configMaps).Namespace(name)
	foreign := w.objects(within(name, cm("foreign")))[0]
	if _, err := there.Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Enough stays for the thresholds.
	many := append(configMapsOf(20), cm("a"), cm("b"))
	w.mustRunState(w.request(append(slices.Clone(many), whole[2:]...)...), deploy.Done)
	w.heldFor(w.request(many...), "Namespace/"+name+" (it holds ConfigMap/"+name+"/foreign)")

	// What Kubernetes puts there by itself, and what another object owns, is not content.
	live, err := there.Get(t.Context(), "foreign", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owner, err := there.Get(t.Context(), "own", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	live.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "own", UID: owner.GetUID()}})
	if _, err := there.Update(t.Context(), live, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.kubernetesOwn(name)
	out := w.mustRunState(w.request(many...), deploy.Waiting)
	if got := w.deletions(out); !slices.Contains(got, "deleted Namespace/"+name) {
		t.Errorf("deleted were %s", got)
	}
}

// kubernetesOwn puts into a namespace what Kubernetes puts there by itself.
func (w *world) kubernetesOwn(namespace string) {
	w.t.Helper()
	for resource, manifest := range map[schema.GroupVersionResource]string{
		{Version: "v1", Resource: "events"}:                                    `{apiVersion: v1, kind: Event, metadata: {name: e, namespace: NS}, involvedObject: {namespace: NS}, reason: x}`,
		{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}:      `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: l, namespace: NS}}`,
		{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}: `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, namespace: NS}, addressType: IPv4, endpoints: []}`,
	} {
		manifest = strings.ReplaceAll(manifest, "NS", namespace)
		if _, err := w.Dynamic.Resource(resource).Namespace(namespace).Create(w.t.Context(), w.objects(manifest)[0], metav1.CreateOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, wanted := range []schema.GroupVersionResource{{Version: "v1", Resource: "serviceaccounts"}, configMaps, {Version: "v1", Resource: "endpoints"}} {
		names := map[string]string{"serviceaccounts": "default", "configmaps": "kube-root-ca.crt", "endpoints": "web"}
		testkit.Eventually(w.t, names[wanted.Resource]+" is there", 30*time.Second, func() error {
			_, err := w.Dynamic.Resource(wanted).Namespace(namespace).Get(w.t.Context(), names[wanted.Resource], metav1.GetOptions{})
			return err
		})
	}
}

// A kind whose definition somebody deletes while a namespace is looked through holds nothing up.
func TestKindThatGoesHoldsNoNamespace(t *testing.T) {
	w := newWorld(t)
	group := w.Namespace + ".test"
	shop := w.Namespace + "-shop"
	w.DeleteNamespaceAtEnd(t, shop)
	many := configMapsOf(5)
	w.mustRunState(w.request(append(slices.Clone(many), fmt.Sprintf(namespaceManifest, shop))...), deploy.Done)
	definitions := w.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	made := w.objects(strings.ReplaceAll(definition("Thing", "Namespaced", "v1"), "test.kustomizer.dev", group))[0]
	if _, err := definitions.Create(t.Context(), made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := definitions.Delete(context.WithoutCancel(t.Context()), made.GetName(), metav1.DeleteOptions{})
		if err == nil {
			t.Error("the kind was never listed")
		}
	})
	testkit.Eventually(t, "the kind is served", 20*time.Second, func() error {
		_, err := w.engine.Cluster.Resolve(t.Context(), schema.GroupKind{Group: group, Kind: "Thing"}, "v1")
		return err
	})

	things := w.Dynamic.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "things"}).Namespace(shop)
	var once sync.Once
	remove := func() {
		if err := definitions.Delete(t.Context(), made.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		testkit.Eventually(t, "the kind is gone", 20*time.Second, func() error {
			if _, err := things.List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("listing it ends with %v", err)
			}
			return nil
		})
	}
	proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
		if r.Resource != "things" || r.Namespace != shop {
			return testkit.Fault{}
		}
		return testkit.Fault{Before: func() { once.Do(remove) }}
	})
	w.engine = w.engineOf(proxy.Config)
	out := w.mustRunState(w.request(many...), deploy.Waiting)
	if got := w.deletions(out); !slices.Contains(got, "deleted Namespace/"+shop) {
		t.Errorf("deleted were %s", got)
	}
}

// Endpoints that no Service keeps are somebody's.
func TestEndpointsOfNoServiceAreContent(t *testing.T) {
	w := newWorld(t)
	name := w.Namespace + "-shop"
	w.DeleteNamespaceAtEnd(t, name)
	many := configMapsOf(5)
	w.mustRunState(w.request(append(slices.Clone(many), fmt.Sprintf(namespaceManifest, name))...), deploy.Done)
	endpoints := w.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "endpoints"}).Namespace(name)
	made := w.objects(within(name, "apiVersion: v1\nkind: Endpoints\nmetadata: {name: manual, namespace: NS}\n"))[0]
	if _, err := endpoints.Create(t.Context(), made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.heldFor(w.request(many...), "Namespace/"+name+" (it holds Endpoints/"+name+"/manual)")
}

// restricted makes the engine one of a user who may only do what is named.
func (w *world) restricted(rules ...rbacv1.PolicyRule) {
	w.t.Helper()
	user := w.User(w.t, "restricted-of-"+w.Namespace)
	name := "restricted-" + w.Namespace
	meta := metav1.ObjectMeta{Name: name}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}
	if _, err := w.Kube.RbacV1().ClusterRoles().Create(w.t.Context(), role, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user.UserName}},
	}
	if _, err := w.Kube.RbacV1().ClusterRoleBindings().Create(w.t.Context(), binding, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = w.Kube.RbacV1().ClusterRoles().Delete(w.t.Context(), name, metav1.DeleteOptions{})
		_ = w.Kube.RbacV1().ClusterRoleBindings().Delete(w.t.Context(), name, metav1.DeleteOptions{})
	})
	w.engine = w.engineOf(user.Config)
}

func TestWhatMayNotBeListedIsHeld(t *testing.T) {
	w := newWorld(t)
	name := w.Namespace + "-shop"
	w.DeleteNamespaceAtEnd(t, name)
	many := configMapsOf(5)
	w.mustRunState(w.request(append(slices.Clone(many), fmt.Sprintf(namespaceManifest, name), cm("extra"))...), deploy.Done)
	all := []string{"*"}
	core := []string{"configmaps", "namespaces", "persistentvolumeclaims", "services", "serviceaccounts"}
	w.restricted(
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: core, Verbs: all},
		rbacv1.PolicyRule{APIGroups: []string{"apps", "batch", plan.KustomizationLabelGroup}, Resources: all, Verbs: all},
	)
	w.heldFor(w.request(append(slices.Clone(many), cm("extra"))...), "Namespace/"+name+" (it is not known what would go with it: what it holds: listing ")
	// Nothing else is held by that.
	w.mustRun(w.request(append(slices.Clone(many), fmt.Sprintf(namespaceManifest, name))...), deploy.Done, "deleted ConfigMap/extra")
}

func TestOwnersOfVolumeClaimsAreHeld(t *testing.T) {
	w := newWorld(t)
	many := configMapsOf(5)
	w.mustRunState(w.request(append(slices.Clone(many), cm("owner"), cm("other"))...), deploy.Done)
	owner := w.get(configMaps, "owner")
	w.create(claims, volume)
	w.edit(claims, "data", "some-controller", func(u *unstructured.Unstructured) {
		u.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.GetUID()}})
	})
	sent := w.counted(func() {
		w.heldFor(w.request(append(slices.Clone(many), cm("other"))...),
			"ConfigMap/"+w.Namespace+"/owner (it owns PersistentVolumeClaim/"+w.Namespace+"/data)")
	})
	if lists := sent.Of(testkit.Verbs("list"), testkit.Resources("persistentvolumeclaims")); len(lists) != 1 {
		t.Errorf("claims were listed by:\n%s", lists)
	}
	w.mustRun(w.request(append(slices.Clone(many), cm("owner"))...), deploy.Done, "deleted ConfigMap/other")
	// Where nothing goes, nothing is looked for.
	quiet := w.counted(func() { w.mustRunState(w.request(append(slices.Clone(many), cm("owner"))...), deploy.Done) })
	if lists := quiet.Of(testkit.Resources("persistentvolumeclaims")); len(lists) != 0 {
		t.Errorf("claims were listed by:\n%s", lists)
	}
}

func TestClaimsThatMayNotBeListedHoldAll(t *testing.T) {
	w := newWorld(t)
	w.mustRunState(w.request(append(configMapsOf(5), cm("extra"))...), deploy.Done)
	w.restricted(
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}},
	)
	req := w.request(configMapsOf(5)...)
	w.heldFor(req, "ConfigMap/"+w.Namespace+"/extra (it is not known what would go with it: which volumes it owns: ")
	req.Policy.GuardOff = true
	w.mustRun(req, deploy.Done, "deleted ConfigMap/extra")
}

// What a person approved goes to its end, however many runs it takes; in between the approval can't be
// proven any more by what is left.
func TestApprovedDeletionsGoOnAfterAWait(t *testing.T) {
	w := newWorld(t)
	name := w.Namespace + "-shop"
	w.DeleteNamespaceAtEnd(t, name)
	whole := []string{cm("a"), fmt.Sprintf(namespaceManifest, name), within(name, cm("own")), cm("b"), cm("c")}
	w.mustRunState(w.request(whole...), deploy.Done)
	release := w.hold(configMaps, "b")
	req := w.request(cm("a"))
	out := w.mustRunState(req, deploy.Held)
	req.Policy.Approved = out.Plan.Brake.Hash

	out = w.mustRunState(req, deploy.Waiting)
	if got := w.deletions(out); len(got) != 3 || slices.Contains(got, "deleted Namespace/"+name) || !out.More {
		t.Fatalf("before the wait: %s, more: %t", got, out.More)
	}
	if len(out.Leaving.Pending) != 1 || !strings.Contains(out.Leaving.Pending[0].Status.Cause.String(), "test.kustomizer.dev/hold") {
		t.Errorf("held by %+v", out.Leaving)
	}
	// As long as it is there, the namespace waits, whoever asks.
	if out = w.mustRunState(req, deploy.Waiting); len(out.Changes) != 0 {
		t.Errorf("changes while waiting: %s", w.changes(out))
	}
	// Another artifact is another plan: the approval is void.
	other := req
	other.Digest = "sha256:two"
	if out := w.run(other); out.Plan.Brake == nil && len(out.Changes) > 0 {
		t.Errorf("another artifact went on with the approval: %s", w.changes(out))
	}
	release()
	out = w.run(req)
	if got := w.deletions(out); !slices.Contains(got, "deleted Namespace/"+name) || out.Err != nil {
		t.Errorf("after the wait: %s, %v", got, out.Err)
	}
}

// child makes a Kustomization with a record of its own.
func (w *world) child(name string, n int, policy string) string {
	w.t.Helper()
	var objects []string
	for i := range n {
		objects = append(objects, cm(fmt.Sprintf("%s-%02d", name, i)))
	}
	req := w.request(objects...)
	req.Owner = plan.Kustomization(w.Namespace, name)
	w.mustRunState(req, deploy.Done)
	return fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: %s, namespace: NS}\n"+
		"spec: {interval: 1h, prune: true, suspend: false, deletionPolicy: %s, sourceRef: {kind: OCIRepository, name: none}}\n", name, policy)
}

func TestNestedKustomizationsCountByTheirRecords(t *testing.T) {
	w := newWorld(t)
	w.installKustomizations()
	big, orphan, small := w.child("big", 20, "MirrorPrune"), w.child("orphan", 20, "Orphan"), w.child("small", 1, "MirrorPrune")
	many := configMapsOf(5)
	all := append(slices.Clone(many), big, orphan, small)
	w.mustRunState(w.request(all...), deploy.Done)
	w.heldFor(w.request(append(slices.Clone(many), orphan, small)...), "21 of 28 objects would be deleted, 20 of them with nested Kustomizations")
	w.mustRun(w.request(append(slices.Clone(many), big, small)...), deploy.Done, "deleted Kustomization/orphan")
	w.mustRun(w.request(append(slices.Clone(many), big)...), deploy.Done, "deleted Kustomization/small")
}

func TestOneRevisionDeletesNoMoreThanTheFleetsLimit(t *testing.T) {
	w := newWorld(t)
	fleet := func() { w.engine.Fleet = &deploy.Fleet{} }
	fleet()
	req := func(name, digest string, n int) deploy.Request {
		var objects []string
		for i := range n {
			objects = append(objects, cm(fmt.Sprintf("%s-%02d", name, i)))
		}
		out := w.request(objects...)
		out.Owner, out.Digest, out.Policy.FleetLimit = plan.Kustomization(w.Namespace, name), digest, 5
		return out
	}
	for _, name := range []string{"a", "b", "c"} {
		w.mustRunState(req(name, "sha256:one", 12), deploy.Done)
	}
	w.mustRunState(req("a", "sha256:two", 8), deploy.Done) // 4
	w.heldFor(req("b", "sha256:two", 10), "this revision would delete 6 objects in all, more than 5")
	// It is the revision that is held, and it stays so for another agent, which reads what was done.
	w.heldFor(req("c", "sha256:two", 11), "this revision would delete 7 objects in all, more than 5")
	fleet()
	w.heldFor(req("b", "sha256:two", 10), "this revision would delete 6 objects in all, more than 5")
	// Another revision begins anew, and so does one whose deletions a person approved.
	w.mustRunState(req("c", "sha256:three", 11), deploy.Done)
	approved := req("b", "sha256:two", 10)
	approved.Policy.Approved = w.mustRunState(approved, deploy.Held).Plan.Brake.Hash
	w.mustRun(approved, deploy.Done, "deleted ConfigMap/b-10", "deleted ConfigMap/b-11")
	w.mustRunState(req("c", "sha256:two", 10), deploy.Done) // 4 and 1
}

// installKustomizations creates the definition that the tests of the agent share.
func (w *world) installKustomizations() {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "kustomize.toolkit.fluxcd.io_kustomizations.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	definitions := w.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	_, err = definitions.Create(w.t.Context(), w.objects(string(data))[0], metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		w.t.Fatal(err)
	}
	testkit.Eventually(w.t, "Kustomizations are served", 30*time.Second, func() error {
		_, err := w.engine.Cluster.Resolve(w.t.Context(), schema.GroupKind{Group: plan.KustomizationLabelGroup, Kind: "Kustomization"}, "v1")
		return err
	})
}

// Definitions, and an API server of the set.
func TestDefinitionIsHeldOnlyWithForeignObjects(t *testing.T) {
	t.Parallel()
	w := worldIn(t, testkit.OwnControlPlane(t, testkit.ControlPlane{}))
	things := w.Dynamic.Resource(schema.GroupVersionResource{Group: "test.kustomizer.dev", Version: "v1", Resource: "things"}).Namespace(w.Namespace)
	many := configMapsOf(8)
	apiService := "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: v1.metrics.test}\n" +
		"spec: {group: metrics.test, version: v1, groupPriorityMinimum: 100, versionPriority: 100, service: {name: none, namespace: default}}\n"
	shop := fmt.Sprintf(namespaceManifest, "shop")
	own := []string{definition("Thing", "Namespaced", "v1"), custom("Thing", "v1", "NS")}
	all := append(append(slices.Clone(many), own...), apiService, shop)
	w.mustRunState(w.request(all...), deploy.Done)
	testkit.Eventually(t, "the server says that the group is broken", 20*time.Second, func() error {
		_, failed, err := w.engine.Cluster.Kinds(t.Context())
		if err == nil && !slices.Contains(failed, "metrics.test") {
			err = fmt.Errorf("failed: %s", failed)
		}
		return err
	})

	foreign := w.objects(strings.Replace(custom("Thing", "v1", "NS"), "name: one", "name: foreign", 1))[0]
	if _, err := things.Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	rest := append(slices.Clone(many), apiService, shop)
	w.heldFor(w.request(rest...), "CustomResourceDefinition/things.test.kustomizer.dev (it defines the kind of Thing/"+w.Namespace+"/foreign)")
	if err := things.Delete(t.Context(), "foreign", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	// What is ours goes first, and is waited for: the definition can't go while a finalizer holds it.
	one, err := things.Get(t.Context(), "one", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	one.SetFinalizers([]string{"test.kustomizer.dev/hold"})
	if _, err := things.Update(t.Context(), one, metav1.UpdateOptions{FieldManager: "some-controller"}); err != nil {
		t.Fatal(err)
	}
	out := w.mustRun(w.request(rest...), deploy.Waiting, "deleted Thing/one")
	if !out.More {
		t.Error("nothing more is said to come")
	}
	w.mustRun(w.request(rest...), deploy.Waiting)
	w.mustRunState(w.request(append(slices.Clone(rest), cm("added"))...), deploy.Waiting) // it goes on with all else
	if !w.exists(configMaps, "added") {
		t.Error("the wait for a deletion keeps a new object from being applied")
	}
	if one, err = things.Get(t.Context(), "one", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	one.SetFinalizers(nil)
	if _, err := things.Update(t.Context(), one, metav1.UpdateOptions{FieldManager: "some-controller"}); err != nil {
		t.Fatal(err)
	}
	out = w.run(w.request(append(slices.Clone(rest), cm("added"))...))
	if got := w.deletions(out); len(got) != 1 || got[0] != "deleted CustomResourceDefinition/things.test.kustomizer.dev" || out.Err != nil {
		t.Fatalf("%s, %v", got, out.Err)
	}
	if len(out.Wait.Objects) > 0 {
		if _, err := observe.Until(t.Context(), w.engine.Cluster, out.Wait, nil); err != nil {
			t.Fatal(err)
		}
	}

	// A group that the set's own API server serves says nothing about what a namespace holds.
	out = w.run(w.request(append(slices.Clone(many), cm("added"), apiService)...))
	if got := w.deletions(out); !slices.Contains(got, "deleted Namespace/shop") {
		t.Errorf("%s: %s, %v", out.State, got, out.Err)
	}
	if id := (object.ID{Group: "apiregistration.k8s.io", Kind: "APIService", Name: "v1.metrics.test"}); out.Entries[id].UID == "" {
		t.Errorf("on record %v", out.Entries)
	}
}
