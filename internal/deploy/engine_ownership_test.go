// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

var kustomizations = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}

// kustomization makes a Kustomization, and its definition where that is not there yet: all tests of
// the sandbox share it.
func (w *world) kustomization(name string) plan.Owner {
	w.t.Helper()
	crds := w.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	text, err := os.ReadFile("../../config/crd/kustomize.toolkit.fluxcd.io_kustomizations.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	located, err := object.Decode(text, "definition")
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = crds.Create(w.t.Context(), located[0].Object, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		w.t.Fatal(err)
	}
	ks := w.objects(fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: %s, namespace: NS}
spec: {interval: 1h, prune: true, sourceRef: {kind: OCIRepository, name: source}}`, name))[0]
	testkit.Eventually(w.t, "Kustomizations are served", 30*time.Second, func() error {
		_, err := w.resource(kustomizations).Create(w.t.Context(), ks, metav1.CreateOptions{})
		return err
	})
	return plan.Kustomization(w.Namespace, name)
}

// eachKind runs a test with two owners of each of the kinds that there are.
func eachKind(t *testing.T, test func(t *testing.T, w *world, first, second plan.Owner)) {
	t.Helper()
	t.Parallel()
	t.Run("Kustomizations", func(t *testing.T) {
		w := newWorld(t)
		test(t, w, w.kustomization("first"), w.kustomization("second"))
	})
	t.Run("inventories", func(t *testing.T) {
		w := newWorld(t)
		test(t, w, plan.Inventory(w.Namespace, "first"), plan.Inventory(w.Namespace, "second"))
	})
	t.Run("an inventory and a Kustomization", func(t *testing.T) {
		w := newWorld(t)
		test(t, w, plan.Inventory(w.Namespace, "first"), w.kustomization("second"))
	})
	t.Run("a Kustomization and an inventory", func(t *testing.T) {
		w := newWorld(t)
		test(t, w, w.kustomization("first"), plan.Inventory(w.Namespace, "second"))
	})
}

// of asks for manifests on behalf of an owner whose request stands.
func (w *world) of(owner plan.Owner, manifests ...string) deploy.Request {
	w.t.Helper()
	req := w.request(manifests...)
	req.Owner, req.Standing = owner, true
	req.Policy.GuardOff = true
	return req
}

func (w *world) recordOf(owner plan.Owner) map[string]plan.Entry {
	w.t.Helper()
	r, err := record.Load(w.t.Context(), w.engine.Cluster, owner, w.Namespace)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]plan.Entry{}
	for id, e := range r.Entries {
		out[id.Name] = e
	}
	return out
}

// uids returns the UIDs of ConfigMaps, which have to be there, by their names.
func (w *world) uids(names ...string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	for _, name := range names {
		u := w.get(configMaps, name)
		if u.GetDeletionTimestamp() != nil {
			w.t.Errorf("%s is being deleted", name)
		}
		out[name] = string(u.GetUID())
	}
	return out
}

func (w *world) sameObjects(before map[string]string) {
	w.t.Helper()
	var names []string
	for name := range before {
		names = append(names, name)
	}
	if diff := cmp.Diff(before, w.uids(names...)); diff != "" {
		w.t.Errorf("objects were made anew (-before +after):\n%s", diff)
	}
}

// managed are the writes to objects of sets.
func managed(rs testkit.Requests) testkit.Requests {
	return rs.Writes().Of(func(r testkit.Request) bool { return !strings.Contains(r.Name, "record-") })
}

// What two owners render identically is the first one's, until it lets it go: then it is the other's,
// and it was never deleted.
func TestIdenticalObjectIsSharedAndHandedOver(t *testing.T) {
	eachKind(t, func(t *testing.T, w *world, first, second plan.Owner) {
		w.mustRun(w.of(first, cm("moving"), cm("staying")), deploy.Done, "created ConfigMap/moving", "created ConfigMap/staying")
		before := w.uids("moving", "staying")
		both := w.of(second, cm("moving"))
		sent := w.counted(func() {
			out := w.mustRun(both, deploy.Done)
			if shared := out.Plan.Shared(); len(shared) != 1 || shared[0].Other != first {
				t.Errorf("shared: %+v", shared)
			}
		})
		if writes := managed(sent); len(writes) > 0 {
			t.Errorf("another owner's object was written to:\n%s", writes)
		}
		if e := w.recordOf(second)["moving"]; !e.Claimed {
			t.Errorf("it is on record as %+v", e)
		}
		// Whatever the second one drops meanwhile, it is not its own to delete.
		w.mustRun(w.of(second, cm("other")), deploy.Done, "created ConfigMap/other")
		w.mustRun(w.of(second, cm("moving"), cm("other")), deploy.Done)

		out := w.mustRun(w.of(first, cm("staying")), deploy.Done)
		if diff := cmp.Diff([]plan.Owner{second}, out.Concerned); diff != "" {
			t.Errorf("concerned (-want +got):\n%s", diff)
		}
		w.mustRun(w.of(second, cm("moving"), cm("other")), deploy.Done, "configured ConfigMap/moving")
		w.mustRun(w.of(first, cm("staying")), deploy.Done)
		w.sameObjects(before)
		if e := w.recordOf(second)["moving"]; !e.Ours() || e.UID != before["moving"] {
			t.Errorf("the new owner has it as %+v", e)
		}
		w.mustRun(w.of(second, cm("other")), deploy.Done, "deleted ConfigMap/moving")
	})
}

// A conflict is seen before anything is written; and when the first owner lets go what the other wants
// otherwise, it is changed in place.
func TestContestedObjectIsHandedOver(t *testing.T) {
	eachKind(t, func(t *testing.T, w *world, first, second plan.Owner) {
		w.mustRun(w.of(first, cm("moving"), cm("staying")), deploy.Done, "created ConfigMap/moving", "created ConfigMap/staying")
		before := w.uids("moving", "staying")
		other := w.of(second, cm("moving", "colour", "green"), cm("another"))
		sent := w.counted(func() {
			var conflict *deploy.ConflictError
			if out := w.mustRun(other, deploy.Failed); !errors.As(out.Err, &conflict) || conflict.Steps[0].Other != first {
				t.Errorf("error: %v", out.Err)
			}
		})
		if writes := managed(sent); len(writes) > 0 {
			t.Errorf("written in spite of the conflict:\n%s", writes)
		}
		w.mustRun(w.of(first, cm("staying")), deploy.Done)
		w.mustRun(other, deploy.Done, "created ConfigMap/another", "configured ConfigMap/moving")
		w.sameObjects(before)
	})
}

// A request of the command line that is refused leaves no claim behind.
func TestConflictOfARequestThatDoesNotStandLeavesNothing(t *testing.T) {
	w := newWorld(t)
	first, second := plan.Inventory(w.Namespace, "first"), plan.Inventory(w.Namespace, "second")
	w.mustRun(w.of(first, cm("moving"), cm("staying")), deploy.Done, "created ConfigMap/moving", "created ConfigMap/staying")
	req := w.of(second, cm("moving", "colour", "green"))
	req.Standing = false
	sent := w.counted(func() { w.mustRun(req, deploy.Failed) })
	if len(sent.Writes()) > 0 {
		t.Errorf("writes:\n%s", sent.Writes())
	}
	w.mustRun(w.of(first, cm("staying")), deploy.Done, "deleted ConfigMap/moving")
}

// A set that gets another name: the new owner is there before the old one goes.
func TestRenamedSet(t *testing.T) {
	eachKind(t, func(t *testing.T, w *world, first, second plan.Owner) {
		names := []string{"a", "b", "c"}
		manifests := []string{cm("a"), cm("b"), cm("c")}
		w.mustRun(w.of(first, manifests...), deploy.Done, "created ConfigMap/a", "created ConfigMap/b", "created ConfigMap/c")
		before := w.uids(names...)
		w.mustRun(w.of(second, manifests...), deploy.Done)
		w.endOf(first)
		w.mustRun(w.of(second, manifests...), deploy.Done, "configured ConfigMap/a", "configured ConfigMap/b", "configured ConfigMap/c")
		w.sameObjects(before)
	})
}

// endOf tears an owner down, which may delete nothing, and removes it.
func (w *world) endOf(owner plan.Owner) {
	w.t.Helper()
	out := w.engine.Teardown(w.t.Context(), deploy.TeardownRequest{Owner: owner, RecordNamespace: w.Namespace})
	if out.State != deploy.Done || len(out.Changes) > 0 || len(out.Left) > 0 {
		w.t.Fatalf("%s: %v, changes %v, left %v", out.State, out.Err, w.changes(out.Outcome), out.Left)
	}
	if owner.Kind == plan.OwnerKustomization {
		w.delete(kustomizations, owner.Name)
	}
}

func TestSplitAndMergedSets(t *testing.T) {
	w := newWorld(t)
	whole, left, right := w.kustomization("whole"), w.kustomization("left"), w.kustomization("right")
	w.mustRun(w.of(whole, cm("a"), cm("b"), cm("c")), deploy.Done, "created ConfigMap/a", "created ConfigMap/b", "created ConfigMap/c")
	before := w.uids("a", "b", "c")

	// Each of the new sets changes what it takes over.
	w.mustRunState(w.of(left, cm("b", "set", "left")), deploy.Failed)
	w.mustRunState(w.of(right, cm("c", "set", "right")), deploy.Failed)
	w.mustRun(w.of(whole, cm("a")), deploy.Done)
	w.mustRun(w.of(left, cm("b", "set", "left")), deploy.Done, "configured ConfigMap/b")
	w.mustRun(w.of(right, cm("c", "set", "right")), deploy.Done, "configured ConfigMap/c")
	w.mustRun(w.of(whole, cm("a")), deploy.Done)
	w.sameObjects(before)

	// And back into one.
	merged := w.of(whole, cm("a"), cm("b"), cm("c"))
	w.mustRunState(merged, deploy.Failed)
	w.endOf(left)
	w.endOf(right)
	w.mustRun(merged, deploy.Done, "configured ConfigMap/b", "configured ConfigMap/c")
	w.sameObjects(before)
}

// Two sets that swap objects at the same time: each lets go before it can take.
func TestSwappedObjects(t *testing.T) {
	w := newWorld(t)
	left, right := w.kustomization("left"), w.kustomization("right")
	w.mustRun(w.of(left, cm("a")), deploy.Done, "created ConfigMap/a")
	w.mustRun(w.of(right, cm("b")), deploy.Done, "created ConfigMap/b")
	before := w.uids("a", "b")
	swappedLeft, swappedRight := w.of(left, cm("b", "set", "left")), w.of(right, cm("a", "set", "right"))
	testkit.Eventually(t, "both sets have what they want", 30*time.Second, func() error {
		out := errors.Join(w.run(swappedLeft).Err, w.run(swappedRight).Err)
		return out
	})
	w.sameObjects(before)
	w.mustRunState(swappedLeft, deploy.Done) // it forgets what the other one has taken
	quiet(w, swappedLeft)
	quiet(w, swappedRight)
}

// Who lets go first does not delete before the others from the same source have decided.
func TestNothingIsDeletedBeforePeersHaveDecided(t *testing.T) {
	w := newWorld(t)
	giver, taker := w.kustomization("giver"), w.kustomization("taker")
	until := time.Now().Add(time.Hour)
	peer := func(ks *unstructured.Unstructured) (time.Time, bool) {
		return until, ks.GetNamespace() == w.Namespace && ks.GetName() == taker.Name
	}
	w.mustRun(w.of(giver, cm("moving"), cm("staying"), cm("going")), deploy.Done, "created ConfigMap/going", "created ConfigMap/moving", "created ConfigMap/staying")
	before := w.uids("moving", "staying")
	rest := w.of(giver, cm("staying"))
	rest.Peer, rest.Revision = peer, "main@sha1:two"
	out := w.mustRun(rest, deploy.Waiting)
	if len(out.Awaits) != 1 || !strings.Contains(out.Awaits[0], taker.String()) {
		t.Errorf("awaits %q", out.Awaits)
	}
	taken := w.of(taker, cm("moving", "colour", "green"))
	taken.Revision = "main@sha1:two"
	w.mustRun(taken, deploy.Failed) // the giver has released nothing yet
	w.mustRun(rest, deploy.Done, "deleted ConfigMap/going")
	w.mustRun(taken, deploy.Done, "configured ConfigMap/moving")
	w.sameObjects(before)

	// Nobody is waited for longer than the time it has.
	until = time.Now()
	none := w.of(giver)
	none.Peer, none.Revision = peer, "main@sha1:three"
	w.mustRun(none, deploy.Done, "deleted ConfigMap/staying")
}

// Dropping first, while nobody else claims it, is a deletion, and the plan says so.
func TestDroppedFirstIsDeleted(t *testing.T) {
	w := newWorld(t)
	first, second := plan.Inventory(w.Namespace, "first"), plan.Inventory(w.Namespace, "second")
	w.mustRun(w.of(first, cm("moving"), cm("staying")), deploy.Done, "created ConfigMap/moving", "created ConfigMap/staying")
	p, err := w.engine.Plan(t.Context(), w.of(first, cm("staying")))
	if err != nil || len(p.Deletions()) != 1 {
		t.Fatalf("%+v %v", p, err)
	}
	w.mustRun(w.of(first, cm("staying")), deploy.Done, "deleted ConfigMap/moving")
	w.mustRun(w.of(second, cm("moving")), deploy.Done, "created ConfigMap/moving")
}

// A Kustomization that Flux reconciled and that has no record yet keeps what it has labelled. What one
// had that is gone is free.
func TestOwnerWithoutARecordKeepsItsObjects(t *testing.T) {
	w := newWorld(t)
	flux, second := w.kustomization("flux"), w.kustomization("second")
	made := w.objects(cm("theirs"))[0]
	made.SetLabels(flux.Labels())
	if _, err := w.resource(configMaps).Create(t.Context(), made, metav1.CreateOptions{FieldManager: flux.Manager}); err != nil {
		t.Fatal(err)
	}
	before := w.uids("theirs")
	wanted := w.of(second, cm("theirs", "colour", "green"))
	var conflict *deploy.ConflictError
	if out := w.mustRun(wanted, deploy.Failed); !errors.As(out.Err, &conflict) || conflict.Steps[0].Other != flux {
		t.Fatalf("error: %v", out.Err)
	}
	w.delete(kustomizations, flux.Name)
	w.mustRun(wanted, deploy.Done, "configured ConfigMap/theirs")
	w.sameObjects(before)
}

// What Flux says a Kustomization without a record has is not deleted by another one.
func TestFluxInventoryIsAClaim(t *testing.T) {
	w := newWorld(t)
	first, flux := w.kustomization("first"), w.kustomization("flux")
	w.mustRun(w.of(first, cm("both"), cm("staying")), deploy.Done, "created ConfigMap/both", "created ConfigMap/staying")
	w.statusOf(flux, map[string]any{"inventory": map[string]any{"entries": []any{
		map[string]any{"id": w.Namespace + "_both__ConfigMap", "v": "v1"},
	}}})
	w.mustRun(w.of(first, cm("staying")), deploy.Done)
	w.uids("both")
}

func (w *world) statusOf(owner plan.Owner, status map[string]any) {
	w.t.Helper()
	ks := w.get(kustomizations, owner.Name)
	ks.Object["status"] = status
	if _, err := w.resource(kustomizations).UpdateStatus(w.t.Context(), ks, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// An account that may not see all records is told so, and deletes nothing without being approved.
func TestUnseenRecordsHoldDeletions(t *testing.T) {
	w := newWorld(t)
	first := plan.Inventory(w.Namespace, "first")
	w.mustRun(w.of(first, cm("a"), cm("b"), cm("c"), cm("d")), deploy.Done, "created ConfigMap/a", "created ConfigMap/b", "created ConfigMap/c", "created ConfigMap/d")
	w.engine = w.engineOf(w.confined("confined").Config)
	req := w.of(first, cm("a"), cm("b"), cm("c"))
	req.Policy.GuardOff = false
	out := w.mustRun(req, deploy.Held)
	var held *deploy.HeldError
	if !errors.As(out.Err, &held) || !strings.Contains(held.Brake.Reason, "is not known") {
		t.Fatalf("error: %v", out.Err)
	}
	req.Policy.Approved = held.Brake.Hash
	w.mustRun(req, deploy.Done, "deleted ConfigMap/d")
}

// confined returns a user who may do everything in the test's namespace, and nothing elsewhere but
// read which cluster it is.
func (w *world) confined(name string) testkit.Identity {
	w.t.Helper()
	user := w.User(w.t, name+"-of-"+w.Namespace)
	w.Kubectl(w.t, "create", "rolebinding", name, "--clusterrole=cluster-admin", "--user="+user.UserName, "-n", w.Namespace)
	role := name + "-" + w.Namespace
	w.Kubectl(w.t, "create", "clusterrole", role, "--verb=get", "--resource=namespaces")
	w.Kubectl(w.t, "create", "clusterrolebinding", role, "--clusterrole="+role, "--user="+user.UserName)
	w.t.Cleanup(func() {
		ctx := context.WithoutCancel(w.t.Context())
		err := errors.Join(w.Kube.RbacV1().ClusterRoleBindings().Delete(ctx, role, metav1.DeleteOptions{}),
			w.Kube.RbacV1().ClusterRoles().Delete(ctx, role, metav1.DeleteOptions{}))
		if err != nil {
			w.t.Error(err)
		}
	})
	return user
}
