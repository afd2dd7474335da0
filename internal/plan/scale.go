// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kustomizer/kustomizer/internal/object"
)

// Autoscaled returns the workloads that the HorizontalPodAutoscalers among the objects scale.
func Autoscaled(objs []*unstructured.Unstructured) map[object.ID]bool {
	out := map[object.ID]bool{}
	for _, u := range objs {
		if u.GroupVersionKind().GroupKind() != (schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}) {
			continue
		}
		ref, _, _ := unstructured.NestedStringMap(u.Object, "spec", "scaleTargetRef")
		gv, err := schema.ParseGroupVersion(ref["apiVersion"])
		if err != nil {
			continue
		}
		out[object.ID{Group: gv.Group, Kind: ref["kind"], Namespace: u.GetNamespace(), Name: ref["name"]}] = true
	}
	return out
}

// ScaledByController says whether somebody whose changes are kept has set a workload's replicas
// through its scale, as autoscalers do.
func ScaledByController(live *unstructured.Unstructured, overridden []string) bool {
	path := fieldpath.MakePathOrDie("spec", "replicas")
	return slices.ContainsFunc(live.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		return e.Subresource == "scale" && !strings.HasPrefix(e.Manager, "kubectl") &&
			!slices.Contains(overridden, e.Manager) && fieldsOf(e).Has(path)
	})
}

// YieldReplicas returns what to send for a workload that an autoscaler scales. If another manager
// owns spec.replicas the field is left out. Otherwise the live value is sent, never nothing:
// dropping a field that we alone own, or that we take over from a person, would reset it to 1.
func YieldReplicas(want, live *unstructured.Unstructured, manager string, overrides []string) *unstructured.Unstructured {
	if live == nil {
		return want
	}
	path := fieldpath.MakePathOrDie("spec", "replicas")
	_, set, _ := unstructured.NestedFieldNoCopy(want.Object, "spec", "replicas")
	kept, undone := othersOwn(live, manager, overrides, path)
	if !set && (kept || !undone && !owns(live, manager, path)) {
		return want // nothing is taken away by sending nothing
	}
	out := want.DeepCopy()
	if kept {
		unstructured.RemoveNestedField(out.Object, "spec", "replicas")
		return out
	}
	if n, ok, _ := unstructured.NestedInt64(live.Object, "spec", "replicas"); ok {
		if err := unstructured.SetNestedField(out.Object, n, "spec", "replicas"); err != nil {
			return want
		}
	}
	return out
}
