// SPDX-License-Identifier: Apache-2.0

package rehearse

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

func objectOf(apiVersion, kind string, fields map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	for k, v := range fields {
		u.Object[k] = v
	}
	u.SetName("a")
	u.SetNamespace("shop")
	return u
}

func TestNormalisedObjectsCarryTheirOwnersLabels(t *testing.T) {
	t.Parallel()
	rendered := objectOf("v1", "ConfigMap", nil)
	rendered.SetLabels(map[string]string{"app": "shop"})
	owner := plan.Kustomization("apps", "shop")
	sent := normalised(rendered, owner)
	if !owner.Marks(sent) || sent.GetLabels()["app"] != "shop" {
		t.Errorf("labels %v", sent.GetLabels())
	}
	if len(rendered.GetLabels()) != 1 {
		t.Error("the rendered object was changed")
	}
}

func TestSecretsAreSentAsTheServerStoresThem(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	cases := map[string]struct{ rendered, want m }{
		"plain values":         {m{"stringData": m{"a": "x"}}, m{"data": m{"a": "eA=="}}},
		"both":                 {m{"data": m{"a": "b25l", "b": "Yg=="}, "stringData": m{"a": "x"}}, m{"data": m{"a": "eA==", "b": "Yg=="}}},
		"encoded values":       {m{"data": m{"a": "eA=="}}, m{"data": m{"a": "eA=="}}},
		"what is no string":    {m{"stringData": m{"a": "x", "b": int64(1)}}, m{"stringData": m{"a": "x", "b": int64(1)}}},
		"data that is no map":  {m{"data": "x", "stringData": m{"a": "x"}}, m{"data": "x", "stringData": m{"a": "x"}}},
		"data that is nothing": {m{"data": nil, "stringData": m{"a": "x"}}, m{"data": m{"a": "eA=="}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := normalised(objectOf("v1", "Secret", c.rendered), plan.Kustomization("apps", "shop"))
			for _, field := range []string{"data", "stringData"} {
				if diff := cmp.Diff(c.want[field], got.Object[field]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", field, diff)
				}
			}
			other := normalised(objectOf("example.test/v1", "Secret", c.rendered), plan.Kustomization("apps", "shop"))
			if diff := cmp.Diff(c.rendered["stringData"], other.Object["stringData"]); diff != "" {
				t.Errorf("another kind of that name was changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	definition := objectOf("apiextensions.k8s.io/v1", "CustomResourceDefinition", map[string]any{"spec": map[string]any{
		"group": "space.test", "scope": "Cluster", "names": map[string]any{"kind": "Planet"},
		"versions": []any{map[string]any{"name": "v1", "served": true}, map[string]any{"name": "v0", "served": false}},
	}})
	planet := func(version string) *unstructured.Unstructured { return objectOf("space.test/"+version, "Planet", nil) }
	missing := func(u *unstructured.Unstructured) cluster.Resolution {
		return cluster.Resolution{Err: &cluster.KindError{GroupKind: object.Of(u).GroupKind()}}
	}
	unnamed := objectOf("v1", "ConfigMap", nil)
	unnamed.SetName("")
	homeless := objectOf("v1", "ConfigMap", nil)
	homeless.SetNamespace("")
	served := cluster.Resolution{Resource: cluster.Resource{Kind: "ConfigMap", Namespaced: true}}
	cases := map[string]struct {
		u    *unstructured.Unstructured
		kind cluster.Resolution
		want string
	}{
		"a kind that is served":                     {objectOf("v1", "ConfigMap", nil), served, "now, in its namespace"},
		"a kind of the whole cluster":               {objectOf("v1", "Node", nil), cluster.Resolution{}, "now"},
		"a kind that the set defines":               {planet("v1"), missing(planet("v1")), "later"},
		"a version that the set does not serve":     {planet("v0"), missing(planet("v0")), "KindMissing"},
		"a version that the set does not define":    {planet("v2"), missing(planet("v2")), "KindMissing"},
		"a kind that nobody defines":                {objectOf("space.test/v1", "Rocket", nil), missing(objectOf("space.test/v1", "Rocket", nil)), "KindMissing"},
		"a kind of which nobody can say":            {planet("v1"), cluster.Resolution{Err: &cluster.DiscoveryError{GroupKind: schema.GroupKind{Kind: "Planet"}, Err: errAway{}}}, "DiscoveryFailed"},
		"an object without a name":                  {unnamed, served, "InvalidObject"},
		"an object without the namespace it needs":  {homeless, served, "InvalidObject"},
		"an object without a namespace that is one": {withoutNamespace(objectOf("v1", "Node", nil)), cluster.Resolution{}, "now"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &run{req: Request{Objects: []*unstructured.Unstructured{definition}}}
			if got := describe(r.reach(c.u, c.kind)); got != c.want {
				t.Errorf("reached %s, want %s", got, c.want)
			}
		})
	}
}

type errAway struct{}

func (errAway) Error() string { return "the backend is away" }

func withoutNamespace(u *unstructured.Unstructured) *unstructured.Unstructured {
	u.SetNamespace("")
	return u
}

func describe(r reach) string {
	var words []string
	switch {
	case r.problem != (cause.Cause{}):
		return string(r.problem.Code)
	case r.later:
		words = append(words, "later")
	default:
		words = append(words, "now")
	}
	if r.namespaced {
		words = append(words, "in its namespace")
	}
	return strings.Join(words, ", ")
}

func TestCommonNamespace(t *testing.T) {
	t.Parallel()
	a, b := object.ID{Namespace: "a", Name: "x"}, object.ID{Namespace: "b", Name: "x"}
	for want, ids := range map[string][]object.ID{"a": {a, a}, "b": {b}, "": {a, b}} {
		if got := commonNamespace(ids); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
