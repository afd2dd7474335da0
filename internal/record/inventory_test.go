// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

func projected(t *testing.T, p Projection, ids ...object.ID) *unstructured.Unstructured {
	t.Helper()
	entries := map[object.ID]plan.Entry{}
	for _, id := range ids {
		entries[id] = plan.Entry{ID: id, Version: "v1", UID: "1"}
	}
	cm, err := p.encode(entries)
	if err != nil {
		t.Fatal(err)
	}
	return cm
}

func TestProjectionIsInKustomizersFormat(t *testing.T) {
	t.Parallel()
	p := Projection{
		Owner: plan.Inventory("apps", "shop"), Source: "https://github.com/me/shop", Revision: "main/abc",
		Artifacts:   []string{"ghcr.io/me/shop@sha256:00"},
		LastApplied: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("elsewhere", 3600)),
	}
	cm := projected(t, p,
		object.ID{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "shop:read"},
		object.ID{Kind: "Service", Namespace: "shop", Name: "web"})
	want := map[string]any{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata": map[string]any{
			"name":      "inv-shop",
			"namespace": "apps",
			"labels": map[string]any{
				"app.kubernetes.io/name": "shop", "app.kubernetes.io/component": "inventory", "app.kubernetes.io/created-by": "kustomizer",
			},
			"annotations": map[string]any{
				"inventory.kustomizer.dev/last-applied-time": "2026-01-02T02:04:05Z",
				"inventory.kustomizer.dev/source":            "https://github.com/me/shop",
				"inventory.kustomizer.dev/revision":          "main/abc",
			},
		},
		"data": map[string]any{
			"resources": `[{"id":"_shop__read_rbac.authorization.k8s.io_ClusterRole","ver":"v1"},{"id":"shop_web__Service","ver":"v1"}]`,
			"artifacts": `["ghcr.io/me/shop@sha256:00"]`,
		},
	}
	if diff := cmp.Diff(want, cm.Object); diff != "" {
		t.Errorf("ConfigMap (-want +got):\n%s", diff)
	}
	read, err := parseProjection(cm, p.Owner)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ClusterRole/shop:read", "Service/shop/web"}, []string{read.Entries[0].ID.String(), read.Entries[1].ID.String()}); diff != "" {
		t.Errorf("entries read back (-want +got):\n%s", diff)
	}
	for _, e := range read.Entries {
		if !e.Pending || e.UID != "" {
			t.Errorf("%s is taken for proven: %+v", e.ID, e)
		}
	}
	if read.Source != p.Source || read.Revision != p.Revision || !read.LastApplied.Equal(p.LastApplied) {
		t.Errorf("read back %+v", read)
	}
}

// What does not fit into one ConfigMap is cut, and the ConfigMap says so: the record has all of it.
func TestProjectionIsCutWhereItDoesNotFit(t *testing.T) {
	t.Parallel()
	var ids []object.ID
	for i := range 10_000 {
		ids = append(ids, object.ID{Kind: "ConfigMap", Namespace: "shop", Name: fmt.Sprintf("%s-%05d", strings.Repeat("long", 20), i)})
	}
	cm := projected(t, Projection{Owner: plan.Inventory("apps", "shop")}, ids...)
	resources, _, _ := unstructured.NestedString(cm.Object, "data", "resources")
	if len(resources) > maxProjectionBytes {
		t.Errorf("%d bytes", len(resources))
	}
	var rows []inventoryEntry
	if err := json.Unmarshal([]byte(resources), &rows); err != nil {
		t.Fatal(err)
	}
	note := cm.GetAnnotations()[annotationCut]
	if want := fmt.Sprintf("%d of 10000 objects are listed", len(rows)); !strings.HasPrefix(note, want) || len(rows) < 5000 {
		t.Errorf("annotation %q with %d rows", note, len(rows))
	}
}

func TestDamagedProjectionIsNotReadInPart(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]map[string]any{
		"resources are no JSON":  {"resources": "["},
		"artifacts are no JSON":  {"resources": "[]", "artifacts": "{"},
		"an entry has no kind":   {"resources": `[{"id":"a_b_c","ver":"v1"}]`},
		"an entry has no object": {"resources": `[{"id":"","ver":"v1"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cm := projected(t, Projection{Owner: plan.Inventory("apps", "shop")})
			cm.Object["data"] = data
			if _, err := parseProjection(cm, plan.Inventory("apps", "shop")); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestInventoriesAreToldFromOtherConfigMaps(t *testing.T) {
	t.Parallel()
	owner := plan.Inventory("apps", "shop")
	r := &Record{Owner: owner, Namespace: owner.Namespace}
	id := object.ID{Kind: "Service", Namespace: "shop", Name: "web"}
	if err := r.place(map[object.ID]plan.Entry{id: {ID: id}}); err != nil {
		t.Fatal(err)
	}
	part, err := r.encode(&r.chunks[0], Head{}, map[object.ID]plan.Entry{id: {ID: id, Version: "v1", UID: "1", Retained: true}})
	if err != nil {
		t.Fatal(err)
	}
	foreign := part.DeepCopy()
	foreign.SetAnnotations(map[string]string{annotationOwner: "Kustomization/apps/shop"})
	elsewhere := part.DeepCopy()
	elsewhere.SetNamespace("elsewhere")
	found := map[plan.Owner]*Stored{}
	later := object.ID{Kind: "Pod", Namespace: "shop", Name: "later"} // added by Kustomizer
	takeProjection(found, projected(t, Projection{Owner: owner, Source: "here"}, id, later), plan.Inventory("", "any"))
	takeRecords(found, []*unstructured.Unstructured{part, foreign, elsewhere}, plan.Inventory("", "any"))
	if len(found) != 1 || found[owner] == nil || found[owner].Record == nil {
		t.Fatalf("found %v", found)
	}
	got := found[owner]
	if len(got.Entries) != 2 || !got.Entries[0].Retained || got.Source != "here" {
		t.Errorf("the record does not stand before the projection: %+v", got)
	}
	if added := got.Entries[1]; added.ID != later || !added.Pending {
		t.Errorf("what only the projection has is %+v", added)
	}
}
