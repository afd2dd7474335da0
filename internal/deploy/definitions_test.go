// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/plan"
)

const ocirepositories = "ocirepositories.source.toolkit.fluxcd.io"

// TestKeepDefinition guards D2: a definition that is newer, that another manager owns, or that
// stores a version which ours lacks is never changed.
func TestKeepDefinition(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(live *unstructured.Unstructured)
		want   string // part of the reason, or empty where ours is applied
	}{
		"ours as installed": {change: func(*unstructured.Unstructured) {}},
		"ours of an older version": {change: func(live *unstructured.Unstructured) {
			annotate(live, "github.com/fluxcd/source-controller/api@v1.8.0")
			dropField(live)
		}},
		"ours with a status that the server wrote": {change: func(live *unstructured.Unstructured) {
			manage(live, metav1.ManagedFieldsEntry{Manager: "kube-apiserver", Subresource: "status", FieldsV1: metav1.NewFieldsV1(`{"f:status":{}}`)})
		}},
		"ours with a label of somebody's": {change: func(live *unstructured.Unstructured) {
			manage(live, metav1.ManagedFieldsEntry{Manager: "kubectl-label", FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:a":{}}}}`)})
		}},
		"ours of a newer version": {
			change: func(live *unstructured.Unstructured) {
				annotate(live, "github.com/fluxcd/source-controller/api@v1.10.0")
			},
			want: "it is newer",
		},
		"one with a field that ours lacks": {
			change: func(live *unstructured.Unstructured) { annotate(live, ""); addField(live) },
			want:   "it is newer",
		},
		"one that Flux installed": {
			change: func(live *unstructured.Unstructured) {
				live.SetLabels(map[string]string{PartOfLabel: "flux"})
				live.SetManagedFields([]metav1.ManagedFieldsEntry{specOf("flux")})
			},
			want: "it is managed by flux",
		},
		"one that somebody took over": {
			change: func(live *unstructured.Unstructured) { manage(live, specOf("argocd-controller")) },
			want:   "it is managed by argocd-controller",
		},
		"one without any trace of a manager": {
			change: func(live *unstructured.Unstructured) { live.SetLabels(nil); live.SetManagedFields(nil) },
			want:   "it was not installed by kustomizer",
		},
		"one in another inventory": {
			change: func(live *unstructured.Unstructured) {
				labels := live.GetLabels()
				for key, value := range plan.Inventory("apps", "platform").Labels() {
					labels[key] = value
				}
				live.SetLabels(labels)
			},
			want: "it belongs to Inventory/apps/platform",
		},
		"one with resources stored in a version that ours lacks": {
			change: func(live *unstructured.Unstructured) { storedIn(live, "v1beta2", "v1") },
			want:   "resources are stored in version v1beta2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours := manifest(t, "CustomResourceDefinition", ocirepositories)
			live := installed(ours)
			test.change(live)
			got, err := keepDefinition(ours, live, plan.Inventory(AgentNamespace, AgentName))
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("reason to keep it is %q, want %q", got, test.want)
			}
		})
	}
}

func TestKeepDefinitionRefusesOneThatDoesNotServeOurVersion(t *testing.T) {
	t.Parallel()
	ours := manifest(t, "CustomResourceDefinition", ocirepositories)
	live := installed(ours)
	live.SetManagedFields([]metav1.ManagedFieldsEntry{specOf("flux")})
	versions := live.Object["spec"].(map[string]any)["versions"].([]any)
	versions[0].(map[string]any)["name"] = "v1beta2"
	_, err := keepDefinition(ours, live, plan.Inventory(AgentNamespace, AgentName))
	var missing *DefinitionError
	if !errors.As(err, &missing) || missing.Version != "v1" {
		t.Errorf("error is %v, want one that says v1 is not served", err)
	}
}

// installed returns a definition as it is in the cluster after our install.
func installed(ours *unstructured.Unstructured) *unstructured.Unstructured {
	live := ours.DeepCopy()
	live.SetManagedFields([]metav1.ManagedFieldsEntry{specOf(plan.InventoryManager)})
	labels := live.GetLabels()
	for key, value := range plan.Inventory(AgentNamespace, AgentName).Labels() {
		labels[key] = value
	}
	live.SetLabels(labels)
	storedIn(live, "v1")
	return live
}

func specOf(manager string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "apiextensions.k8s.io/v1",
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:group":{}}}`),
	}
}

func manage(u *unstructured.Unstructured, entry metav1.ManagedFieldsEntry) {
	entry.FieldsType = "FieldsV1"
	u.SetManagedFields(append(u.GetManagedFields(), entry))
}

func annotate(u *unstructured.Unstructured, api string) {
	u.SetAnnotations(map[string]string{apiAnnotation: api})
}

func storedIn(u *unstructured.Unstructured, versions ...string) {
	if err := unstructured.SetNestedStringSlice(u.Object, versions, "status", "storedVersions"); err != nil {
		panic(err)
	}
}

func specProperties(u *unstructured.Unstructured) map[string]any {
	schema := u.Object["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)["schema"].(map[string]any)["openAPIV3Schema"]
	return schema.(map[string]any)["properties"].(map[string]any)["spec"].(map[string]any)["properties"].(map[string]any)
}

func addField(u *unstructured.Unstructured) {
	specProperties(u)["fromTheFuture"] = map[string]any{"type": "string"}
}

func dropField(u *unstructured.Unstructured) { delete(specProperties(u), "interval") }
