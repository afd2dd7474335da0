// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kustomizer/kustomizer/internal/plan"
)

// disturb does to a slot's object what somebody else does in the case. Whether it can be done does
// not matter: what counts is that the plan and the apply see the same.
func (a *agreeWorld) disturb(ctx context.Context, s slot, client dynamic.ResourceInterface, gvk schema.GroupVersionKind) error {
	live, err := client.Get(ctx, s.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	switch s.disturb {
	case "edit":
		return a.update(ctx, client, live, "kubectl-edit", func(u *unstructured.Unstructured) { content(u)["value"] = "edited" })
	case "add":
		return a.update(ctx, client, live, "kubectl-patch", func(u *unstructured.Unstructured) { content(u)["added"] = "by hand" })
	case "status": // somebody whose changes are kept
		return a.update(ctx, client, live, "operator", func(u *unstructured.Unstructured) {
			u.SetAnnotations(merged(u.GetAnnotations(), "operator.example/seen", "yes"))
		})
	case "strip":
		return a.update(ctx, client, live, "kubectl-label", func(u *unstructured.Unstructured) {
			labels := u.GetLabels()
			delete(labels, plan.InventoryLabelGroup+"/name")
			u.SetLabels(labels)
		})
	case "hold":
		return a.update(ctx, client, live, "operator", func(u *unstructured.Unstructured) { u.SetFinalizers([]string{"operator.example/hold"}) })
	case "disable":
		return a.update(ctx, client, live, "kubectl-annotate", func(u *unstructured.Unstructured) {
			u.SetAnnotations(merged(u.GetAnnotations(), plan.InventoryLabelGroup+"/reconcile", "disabled"))
		})
	case "apply by force":
		return a.foreignApply(ctx, client, gvk, s, `{"labels":{"variant":"theirs"}}`)
	case "apply beside":
		return a.foreignApply(ctx, client, gvk, s, `{"labels":{"another":"theirs"}}`)
	case "delete", "replace":
		if err := client.Delete(ctx, s.name, metav1.DeleteOptions{}); err != nil || s.disturb == "delete" {
			return err
		}
		return a.namesake(ctx, client, live)
	case "scale":
		if gvk.Kind != "Deployment" {
			return nil
		}
		_, err := client.Patch(ctx, s.name, types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{FieldManager: "kube-controller-manager"}, "scale")
		return err
	}
	return nil
}

// content is a map in which a field can be set without making the object invalid.
func content(u *unstructured.Unstructured) map[string]any {
	for _, field := range []string{"data", "spec"} {
		m, ok := u.Object[field].(map[string]any)
		if ok && (field == "data" && u.Object["immutable"] != true && u.GetKind() != "Secret" || u.GetKind() == "Colour") {
			return m
		}
	}
	labels, _, _ := unstructured.NestedMap(u.Object, "metadata", "labels")
	if labels == nil {
		labels = map[string]any{}
	}
	u.Object["metadata"].(map[string]any)["labels"] = labels
	return labels
}

func merged(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

func (a *agreeWorld) update(ctx context.Context, client dynamic.ResourceInterface, live *unstructured.Unstructured, manager string, change func(*unstructured.Unstructured)) error {
	change(live)
	_, err := client.Update(ctx, live, metav1.UpdateOptions{FieldManager: manager})
	return err
}

func (a *agreeWorld) foreignApply(ctx context.Context, client dynamic.ResourceInterface, gvk schema.GroupVersionKind, s slot, metadata string) error {
	force := true
	body := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":%s}`, gvk.GroupVersion(), gvk.Kind, metadata)
	_, err := client.Patch(ctx, s.name, types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: "theirs", Force: &force})
	return err
}

// namesake makes an object anew that was deleted, as its labels' copy.
func (a *agreeWorld) namesake(ctx context.Context, client dynamic.ResourceInterface, live *unstructured.Unstructured) error {
	for _, field := range []string{"uid", "resourceVersion", "managedFields", "creationTimestamp"} {
		unstructured.RemoveNestedField(live.Object, "metadata", field)
	}
	_, err := client.Create(ctx, live, metav1.CreateOptions{FieldManager: "operator"})
	if apierrors.IsAlreadyExists(err) {
		return nil // it is held by a finalizer
	}
	return err
}
