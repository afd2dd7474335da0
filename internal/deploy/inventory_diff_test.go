// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

func parse(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	found, err := object.Decode([]byte(manifest), "test.yaml")
	if err != nil || len(found) != 1 {
		t.Fatalf("%d objects: %v", len(found), err)
	}
	return found[0].Object
}

func TestDifferencesMaskSecretsByValue(t *testing.T) {
	t.Parallel()
	live := parse(t, `
apiVersion: v1
kind: Secret
metadata:
  name: token
  namespace: shop
  annotations:
    note: the value is czNjcjN0LW9sZA==
    kubectl.kubernetes.io/last-applied-configuration: '{"data":{"changed":"czNjcjN0LW9sZA=="}}'
data: {same: c2FtZS12YWx1ZQ==, changed: czNjcjN0LW9sZA==, gone: Z29uZS12YWx1ZQ==}
`)
	wanted := parse(t, `
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: shop, annotations: {note: the value is czNjcjN0LW5ldw==}}
data: {same: c2FtZS12YWx1ZQ==, changed: czNjcjN0LW5ldw==, new: bmV3LXZhbHVl}
`)
	want, err := plan.NewWant(wanted)
	if err != nil {
		t.Fatal(err)
	}
	p := &plan.Plan{
		Owner: plan.Inventory("apps", "shop"),
		Steps: []plan.Step{{ID: want.ID, Action: plan.Configure, Want: &want, Live: live, Result: wanted}},
		Stale: []plan.Step{{ID: want.ID, Action: plan.Delete, Live: live}},
	}
	found := deploy.Differences(p, nil)
	var paths []string
	for _, f := range found[0].Fields {
		paths = append(paths, fmt.Sprint(f.Path, " ", f.Before, " -> ", f.After))
	}
	if diff := cmp.Diff([]string{
		".data.changed *** (before) -> *** (after)", ".data.gone *** -> <nil>", ".data.new <nil> -> ***",
	}, paths); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	for _, d := range found {
		shown := fmt.Sprint(d)
		for _, u := range []*unstructured.Unstructured{d.Before, d.After} {
			if u != nil {
				shown += fmt.Sprint(u.Object)
			}
		}
		for _, secret := range []string{"czNjcjN0", "s3cr3t", "c2FtZ", "same-value", "Z29uZ", "gone-value", "bmV3", "new-value"} {
			if strings.Contains(shown, secret) {
				t.Errorf("%s shows %s:\n%s", d.Action, secret, shown)
			}
		}
	}
}
