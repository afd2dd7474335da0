// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

// quick are the lock's times for tests.
func quick() deploy.LockTimes {
	return deploy.LockTimes{Heartbeat: 100 * time.Millisecond, Patience: time.Second}
}

// neverReady is a workload that no node takes.
const neverReady = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: never, namespace: NS}
spec:
  selector: {matchLabels: {app: never}}
  template:
    metadata: {labels: {app: never}}
    spec: {nodeSelector: {no: where}, containers: [{name: never, image: example.com/never:1}]}
`

const setting = `{apiVersion: v1, kind: ConfigMap, metadata: {name: setting, namespace: NS}, data: {a: b}}`

func (w *world) inventory(manifests ...string) deploy.InventoryRequest {
	w.t.Helper()
	return deploy.InventoryRequest{
		Owner: plan.Inventory(w.Namespace, "app"), Lock: quick(),
		Collected: deploy.Collected{Objects: w.objects(manifests...), Digest: "sha256:one"},
	}
}

func TestSecondRunOnAnInventoryIsRefused(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	waiting := make(chan struct{})
	ended := make(chan deploy.Outcome, 1)
	first := w.inventory(neverReady)
	first.Wait = true
	go func() {
		told := false
		ended <- w.engine.ApplyInventory(ctx, first, deploy.InventoryProgress{Waiting: func(observe.Report) {
			if !told {
				close(waiting)
			}
			told = true
		}})
	}()
	<-waiting
	seen := false
	second := w.engineOf(w.agent.Config)
	out := second.ApplyInventory(t.Context(), w.inventory(setting), deploy.InventoryProgress{Locked: func(record.Holder) { seen = true }})
	var held *record.HeldError
	if !errors.As(out.Err, &held) || !seen || len(out.Changes) > 0 {
		t.Fatalf("the second run: %s %v, changes %v", out.State, out.Err, out.Changes)
	}
	removal := second.DeleteInventory(t.Context(), deploy.InventoryDeletion{Owner: first.Owner, Lock: quick()}, deploy.InventoryProgress{})
	if !errors.As(removal.Err, &held) || len(removal.Changes) > 0 {
		t.Fatalf("the deletion: %s %v, changes %v", removal.State, removal.Err, removal.Changes)
	}
	stop()
	if out := <-ended; !errors.Is(out.Err, context.Canceled) {
		t.Fatalf("the first run: %s %v", out.State, out.Err)
	}
	// The first run gave the lock back: nothing is waited for.
	out = second.ApplyInventory(t.Context(), w.inventory(setting), deploy.InventoryProgress{Locked: func(record.Holder) { t.Error("the lock is still held") }})
	if out.Err != nil || out.State != deploy.Done {
		t.Fatalf("the third run: %s %v", out.State, out.Err)
	}
}

// holdForever marks the record as held by a run that gives no sign of life.
func (w *world) holdForever() {
	w.t.Helper()
	client := w.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(w.Namespace)
	cm, err := client.Get(w.t.Context(), "inv-app-record-0", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	head, _, _ := unstructured.NestedString(cm.Object, "data", "head")
	head = strings.TrimSuffix(head, "}") + `,"holder":"a run that was killed","beat":"then"}`
	if err := unstructured.SetNestedField(cm.Object, head, "data", "head"); err != nil {
		w.t.Fatal(err)
	}
	if _, err := client.Update(w.t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func TestLockOfAKilledRunIsTakenOver(t *testing.T) {
	w := newWorld(t)
	if out := w.engine.ApplyInventory(t.Context(), w.inventory(setting), deploy.InventoryProgress{}); out.Err != nil {
		t.Fatal(out.Err)
	}
	w.holdForever()
	// To plan needs no lock.
	if _, err := w.engine.PlanInventory(t.Context(), w.inventory(setting)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	changed := strings.Replace(setting, "a: b", "a: c", 1)
	out := w.engine.ApplyInventory(t.Context(), w.inventory(changed), deploy.InventoryProgress{})
	if out.Err != nil || len(out.Changes) != 1 {
		t.Fatalf("%s %v, changes %v", out.State, out.Err, out.Changes)
	}
	if waited := time.Since(began); waited < quick().Patience {
		t.Errorf("the lock was taken over after %s", waited)
	}
}

// Whoever loses the lock stops: from then on another run may be at work.
func TestRunThatLosesItsLockStops(t *testing.T) {
	w := newWorld(t)
	req := w.inventory(neverReady)
	req.Wait = true
	stolen := false
	out := w.engine.ApplyInventory(t.Context(), req, deploy.InventoryProgress{Waiting: func(observe.Report) {
		for !stolen {
			stolen = w.steal()
		}
	}})
	var conflict *record.ConflictError
	if out.State != deploy.Failed || !errors.As(out.Err, &conflict) {
		t.Fatalf("%s: %v", out.State, out.Err)
	}
}

// steal writes to the record as another run would. It says whether no sign of life came in between.
func (w *world) steal() bool {
	client := w.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(w.Namespace)
	cm, err := client.Get(w.t.Context(), "inv-app-record-0", metav1.GetOptions{})
	if err != nil {
		w.t.Error(err)
		return true
	}
	cm.SetAnnotations(map[string]string{"kustomizer.dev/record-owner": cm.GetAnnotations()["kustomizer.dev/record-owner"], "stolen": "yes"})
	_, err = client.Update(w.t.Context(), cm, metav1.UpdateOptions{})
	return err == nil
}

// What an inventory of Kustomizer's says is on record, whole, before anything is written.
func TestKustomizersInventoryIsOnRecordBeforeTheFirstWrite(t *testing.T) {
	w := newWorld(t)
	owner := plan.Inventory(w.Namespace, "app")
	made := record.Projection{Owner: owner, LastApplied: time.Now()}
	old := w.objects(`{apiVersion: v1, kind: ConfigMap, metadata: {name: old, namespace: NS}}`)[0]
	want, err := plan.NewWant(old)
	if err != nil {
		t.Fatal(err)
	}
	entries := map[object.ID]plan.Entry{want.ID: {ID: want.ID, Version: "v1"}}
	if err := made.Write(t.Context(), w.engine.Cluster, entries); err != nil {
		t.Fatal(err)
	}
	onRecord := 0
	out := w.engine.ApplyInventory(t.Context(), w.inventory(setting), deploy.InventoryProgress{Changed: func(apply.Change) {
		r, err := record.Load(t.Context(), w.engine.Cluster, owner, w.Namespace)
		if err != nil {
			t.Error(err)
		}
		onRecord = len(r.Entries)
	}})
	if out.Err != nil || onRecord != 2 {
		t.Fatalf("%d entries on record at the first write: %v", onRecord, out.Err)
	}
}
