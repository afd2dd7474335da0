// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// control reads a per-object control: a label or annotation under Flux's or Kustomizer's group, in
// lower case.
func control(u *unstructured.Unstructured, key string) string {
	if u == nil {
		return ""
	}
	for _, group := range []string{KustomizationLabelGroup, InventoryLabelGroup} {
		for _, from := range []map[string]string{u.GetLabels(), u.GetAnnotations()} {
			if v := from[group+"/"+key]; v != "" {
				return strings.ToLower(v)
			}
		}
	}
	return ""
}

// optedOut says why an object is not to be applied, or nothing.
func optedOut(want, live *unstructured.Unstructured) string {
	switch {
	case control(want, "reconcile") == "disabled", control(live, "reconcile") == "disabled":
		return "reconcile is disabled on the object"
	case control(want, "ssa") == "ignore", control(live, "ssa") == "ignore":
		return "server-side apply is set to Ignore on the object"
	case live != nil && (control(want, "ssa") == "ifnotpresent" || control(live, "ssa") == "ifnotpresent"):
		return "it exists, and server-side apply is set to IfNotPresent"
	}
	return ""
}

// keepsObject says why an object that left the set is not to be deleted, or nothing.
func keepsObject(live *unstructured.Unstructured) string {
	switch {
	case control(live, "prune") == "disabled":
		return "prune is disabled on the object"
	case control(live, "reconcile") == "disabled":
		return "reconcile is disabled on the object"
	case control(live, "ssa") == "ignore":
		return "server-side apply is set to Ignore on the object"
	}
	return ""
}

// merges says whether fields that others set on the object are to be kept.
func merges(want *unstructured.Unstructured) bool { return control(want, "ssa") == "merge" }
