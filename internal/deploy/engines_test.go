// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
)

func TestOtherEngines(t *testing.T) {
	t.Parallel()
	flux := func(component string) map[string]string {
		return map[string]string{PartOfLabel: "flux", "app.kubernetes.io/component": component}
	}
	for name, test := range map[string]struct {
		deployment *unstructured.Unstructured
		want       bool
	}{
		"Flux's kustomize-controller": {deployment("kustomize-controller", flux("kustomize-controller"), "ghcr.io/fluxcd/kustomize-controller:v1.9.5", 1), true},
		"one by its name only":        {deployment("source-controller", nil, "registry:5000/mirror/sc:1", 1), true},
		"a shard with its own name":   {deployment("shard-1", flux("source-controller"), "x", 1), true},
		"one by its image only":       {deployment("gitops", nil, "registry:5000/fluxcd/kustomize-controller:v1@sha256:abc", 1), true},
		"one with default replicas":   {deployment("kustomize-controller", nil, "x", -1), true},
		"one that is scaled to zero":  {deployment("kustomize-controller", flux("kustomize-controller"), "x", 0), false},
		"Flux's helm-controller":      {deployment("helm-controller", flux("helm-controller"), "ghcr.io/fluxcd/helm-controller:v1", 1), false},
		"an agent elsewhere":          {elsewhere(manifest(t, "Deployment", "kustomizer")), true},
		"our own agent":               {manifest(t, "Deployment", "kustomizer"), false},
		"something else":              {deployment("web", nil, "ghcr.io/acme/web:1", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []object.ID
			if test.want {
				want = []object.ID{object.Of(test.deployment)}
			}
			if diff := cmp.Diff(want, otherEngines([]*unstructured.Unstructured{test.deployment}, AgentNamespace)); diff != "" {
				t.Errorf("engines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOtherEnginesCountsOneThatStillStops(t *testing.T) {
	t.Parallel()
	d := deployment("kustomize-controller", nil, "x", 0)
	d.Object["status"] = map[string]any{"replicas": int64(1)}
	if len(otherEngines([]*unstructured.Unstructured{d}, AgentNamespace)) == 0 {
		t.Error("a controller whose pod still runs was overlooked")
	}
}

func TestOtherEnginesCountsOneWhoseStatusIsOfAnEarlierGeneration(t *testing.T) {
	t.Parallel()
	d := deployment("kustomize-controller", nil, "x", 0)
	d.SetGeneration(2)
	d.Object["status"] = map[string]any{"observedGeneration": int64(1)}
	if len(otherEngines([]*unstructured.Unstructured{d}, AgentNamespace)) == 0 {
		t.Error("a controller whose pod is still to be made was overlooked")
	}
	d.Object["status"] = map[string]any{"observedGeneration": int64(2)}
	if got := otherEngines([]*unstructured.Unstructured{d}, AgentNamespace); len(got) > 0 {
		t.Errorf("a stopped controller counts: %v", got)
	}
}

func TestOtherEngineErrorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	err := &OtherEngineError{Deployments: []object.ID{
		{Group: "apps", Kind: "Deployment", Namespace: "flux-system", Name: "kustomize-controller"},
		{Group: "apps", Kind: "Deployment", Namespace: "flux-system", Name: "source-controller"},
	}}
	const want = "kubectl -n flux-system scale deployment kustomize-controller source-controller --replicas=0"
	if !strings.Contains(err.Hint(), want) {
		t.Errorf("hint %q lacks %q", err.Hint(), want)
	}
}

func elsewhere(u *unstructured.Unstructured) *unstructured.Unstructured {
	u.SetNamespace("elsewhere")
	return u
}

// deployment makes a Deployment with one container; replicas below zero are left out.
func deployment(name string, labels map[string]string, image string, replicas int64) *unstructured.Unstructured {
	spec := map[string]any{"template": map[string]any{"spec": map[string]any{
		"containers": []any{map[string]any{"name": "manager", "image": image}},
	}}}
	if replicas >= 0 {
		spec["replicas"] = replicas
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}}
	u.SetName(name)
	u.SetNamespace("flux-system")
	u.SetLabels(labels)
	return u
}
