// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/plan"
)

func deployment(containers ...any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web", "namespace": "shop", "resourceVersion": "7", "annotations": map[string]any{"example.com/team": "blue"}},
		"spec":     map[string]any{"replicas": int64(1), "template": map[string]any{"spec": map[string]any{"containers": containers}}},
		"status":   map[string]any{"replicas": int64(1)},
	}}
}

func container(name string, fields map[string]any) map[string]any {
	out := map[string]any{"name": name}
	for k, v := range fields {
		out[k] = v
	}
	return out
}

func TestFieldChangesNameTheFieldAndItsOwner(t *testing.T) {
	t.Parallel()
	live := deployment(
		container("log", map[string]any{"image": "log:1"}),
		container("web", map[string]any{"image": "web:2", "args": []any{"-v", "--fast"}}))
	live.SetManagedFields([]metav1.ManagedFieldsEntry{
		{Manager: "kustomizer", Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`)},
		{Manager: "kubectl-edit", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(
			`{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{"f:image":{},"f:args":{}}}}}}}`)},
	})
	wanted := deployment(container("web", map[string]any{"image": "web:1", "args": []any{"-v"}}))
	wanted.SetAnnotations(map[string]string{"example.com/team": "green"})
	if err := unstructured.SetNestedField(wanted.Object, int64(2), "spec", "replicas"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range plan.FieldChanges(live, wanted, "kustomizer") {
		got = append(got, fmt.Sprintf("%s: %v -> %v (%s)", c.Path, c.Before, c.After, c.Manager))
	}
	want := []string{
		`.metadata.annotations["example.com/team"]: blue -> green ()`,
		`.spec.replicas: 1 -> 2 ()`,
		`.spec.template.spec.containers[name=log]: map[image:log:1 name:log] -> <nil> ()`,
		`.spec.template.spec.containers[name=web].args[1]: --fast -> <nil> ()`,
		`.spec.template.spec.containers[name=web].image: web:2 -> web:1 (kubectl-edit)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// What a person added with kubectl stays in the answer to a dry-run, and goes with the apply.
func TestPredictedLacksWhatOverriddenManagersAdded(t *testing.T) {
	t.Parallel()
	result := deployment(container("web", map[string]any{"image": "web:1", "env": []any{
		map[string]any{"name": "ADDED", "value": "x"}, map[string]any{"name": "KEPT", "value": "y"},
	}}))
	result.SetManagedFields([]metav1.ManagedFieldsEntry{
		{Manager: "kustomizer", Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(
			`{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:name":{},"f:image":{}}}}}}}`)},
		{Manager: "injector", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(
			`{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{"f:env":{"k:{\"name\":\"KEPT\"}":{".":{},"f:name":{},"f:value":{}}}}}}}}}`)},
		{Manager: "kubectl-set", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(
			`{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{"f:env":{".":{},"k:{\"name\":\"ADDED\"}":{".":{},"f:name":{},"f:value":{}}}}}}}}}`)},
	})
	s := plan.Step{Action: plan.Configure, CleanUp: true, Result: result, Live: result}
	got := s.Predicted(plan.Inventory("apps", "shop"), nil)
	want := deployment(container("web", map[string]any{"image": "web:1", "env": []any{map[string]any{"name": "KEPT", "value": "y"}}}))
	if diff := cmp.Diff(plan.Manifest(want).Object, plan.Manifest(got).Object); diff != "" {
		t.Errorf("predicted (-want +got):\n%s", diff)
	}
}
