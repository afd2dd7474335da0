// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// liveDeployment is a Deployment as it lives after it was applied.
func liveDeployment(i int) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": fmt.Sprintf("app-%d", i), "namespace": "shop"},
		"spec": map[string]any{
			"replicas": int64(2),
			"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{
				"name": "app", "image": "registry.example/app:1.0.0", "imagePullPolicy": "IfNotPresent",
				"resources": map[string]any{"requests": map[string]any{"cpu": "100m", "memory": "64Mi"}},
			}}}},
		},
	}}
	u.SetUID(types.UID(fmt.Sprintf("uid-%d", i)))
	u.SetLabels(plan.Kustomization("apps", "shop").Labels())
	u.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: plan.KustomizationManager, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:kustomize.toolkit.fluxcd.io/name":{},"f:kustomize.toolkit.fluxcd.io/namespace":{}}},
"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"app\"}":{".":{},"f:name":{},"f:image":{},
"f:resources":{"f:requests":{"f:cpu":{},"f:memory":{}}}}}}}}}`),
	}})
	return u
}

func BenchmarkFingerprint(b *testing.B) {
	live := liveDeployment(0)
	b.ReportAllocs()
	for b.Loop() {
		if plan.Fingerprint(live, plan.KustomizationManager) == "" {
			b.Fatal("no fingerprint")
		}
	}
}

// BenchmarkDecideAtRest is the decision about a set of a thousand objects of which none has changed.
func BenchmarkDecideAtRest(b *testing.B) {
	facts := &plan.Facts{
		Owner:  plan.Kustomization("apps", "shop"),
		Record: map[object.ID]plan.Entry{}, Live: map[object.ID]plan.Live{},
		Rehearsals: map[object.ID]plan.Rehearsal{}, Claims: map[object.ID]plan.Owner{},
	}
	for i := range 1000 {
		live := liveDeployment(i)
		sent := live.DeepCopy()
		sent.SetManagedFields(nil)
		sent.SetUID("")
		want, err := plan.NewWant(sent)
		if err != nil {
			b.Fatal(err)
		}
		facts.Wants = append(facts.Wants, want)
		facts.Live[want.ID] = plan.Live{Presence: plan.Present, Object: live}
		facts.Record[want.ID] = plan.Entry{
			ID: want.ID, Version: "v1", UID: string(live.GetUID()),
			Desired: want.Hash, Live: plan.Fingerprint(live, plan.KustomizationManager),
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if p := plan.Decide(facts, plan.Policy{Prune: true}); p.Writes() {
			b.Fatal("a set at rest is written")
		}
	}
}
