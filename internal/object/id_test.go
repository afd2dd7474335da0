// SPDX-License-Identifier: Apache-2.0

package object_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
)

func TestInventoryIDRoundTrips(t *testing.T) {
	t.Parallel()
	for text, id := range map[string]object.ID{
		"shop_web_apps_Deployment": {Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		"shop_settings__ConfigMap": {Kind: "ConfigMap", Namespace: "shop", Name: "settings"},
		"_shop__Namespace":         {Kind: "Namespace", Name: "shop"},
		"_system__controller_rbac.authorization.k8s.io_ClusterRole": {
			Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "system:controller",
		},
		"_my_role_rbac.authorization.k8s.io_ClusterRole":       {Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "my_role"},
		"_v1.metrics.k8s.io_apiregistration.k8s.io_APIService": {Group: "apiregistration.k8s.io", Kind: "APIService", Name: "v1.metrics.k8s.io"},
	} {
		if got := id.InventoryID(); got != text {
			t.Errorf("written as %q, want %q", got, text)
		}
		got, err := object.ParseInventoryID(text)
		if diff := cmp.Diff(id, got); diff != "" || err != nil {
			t.Errorf("%s read as (-want +got):\n%s%v", text, diff, err)
		}
	}
}

func TestParseInventoryIDRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "_", "__", "___", "a_b", "a_b_c", "ns__group_Kind", "ns_name_group_"} {
		if id, err := object.ParseInventoryID(text); err == nil {
			t.Errorf("%q read as %+v", text, id)
		}
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	if got := (object.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}).String(); got != "Deployment/shop/web" {
		t.Errorf("got %s", got)
	}
	if got := (object.ID{Kind: "Namespace", Name: "shop"}).String(); got != "Namespace/shop" {
		t.Errorf("got %s", got)
	}
}

func TestMask(t *testing.T) {
	t.Parallel()
	secret := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"data":       map[string]any{"a": "Y29ycmVjdC1ob3JzZQ==", "broken": "not base64!", "short": "eA=="},
		"stringData": map[string]any{"b": "battery \"staple\"\nsecond line", "pin": int64(73519246), "part": "battery"},
	}}
	other := secret.DeepCopy()
	other.SetKind("ConfigMap")
	cases := map[string]struct {
		u          *unstructured.Unstructured
		text, want string
	}{
		"encoded":                 {secret, "bad value Y29ycmVjdC1ob3JzZQ==", "bad value ***"},
		"decoded":                 {secret, "bad value correct-horse", "bad value ***"},
		"not base64":              {secret, "illegal: not base64!", "illegal: ***"},
		"plain, quoted":           {secret, `bad value "battery \"staple\"\nsecond line"`, `bad value "***"`},
		"plain, on one line":      {secret, `bad value battery "staple" second line`, `bad value ***`},
		"plain, encoded by us":    {secret, "bad value " + "YmF0dGVyeQ==", "bad value ***"},
		"a number":                {secret, "expected string, got 73519246", "expected string, got ***"},
		"one value within others": {secret, "battery", "***"},
		"too short to tell":       {secret, "x marks the spot", "x marks the spot"},
		"no value in it":          {secret, "name is required", "name is required"},
		"no Secret":               {other, "correct-horse", "correct-horse"},
		"no object":               {nil, "correct-horse", "correct-horse"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := object.Mask(c.u, c.text); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSortDoesNotDependOnTheInput(t *testing.T) {
	t.Parallel()
	id := func(group, kind, name string) object.ID { return object.ID{Group: group, Kind: kind, Name: name} }
	want := []object.ID{
		id("apiextensions.k8s.io", "CustomResourceDefinition", "things"),
		id("", "Namespace", "a"), id("", "Namespace", "b"),
		id("rbac.authorization.k8s.io", "ClusterRole", "a"),
		id("scheduling.k8s.io", "PriorityClass", "a"), id("storage.k8s.io", "StorageClass", "a"), id("example.test", "OtherClass", "a"),
		id("", "ResourceQuota", "a"), id("", "ServiceAccount", "a"), id("rbac.authorization.k8s.io", "Role", "a"),
		id("rbac.authorization.k8s.io", "RoleBinding", "a"), id("rbac.authorization.k8s.io", "ClusterRoleBinding", "a"),
		id("", "ConfigMap", "a"), id("", "Secret", "a"), id("", "Service", "a"), id("apps", "Deployment", "a"), id("apps", "StatefulSet", "a"),
		id("", "Pod", "a"), id("example.test", "Namespace", "not-a-namespace"), id("example.test", "Thing", "a"),
		id("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "a"), id("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "a"),
	}
	// A kind that is only called like one of the core's is weighed like it, in the stage of the rest.
	i, j := slices.Index(want, id("example.test", "Namespace", "not-a-namespace")), slices.Index(want, id("", "ResourceQuota", "a"))
	moved := want[i]
	want = slices.Insert(slices.Delete(want, i, i+1), j, moved)

	got := slices.Clone(want)
	slices.Reverse(got)
	object.SortIDs(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	for i := 1; i < len(want); i++ {
		if object.StageOf(want[i-1]) > object.StageOf(want[i]) {
			t.Errorf("%s is of a later stage than %s", want[i-1], want[i])
		}
	}
}

func TestWavesPutFirstWhatOthersNeed(t *testing.T) {
	t.Parallel()
	wave := func(kind string) int { return object.WaveOf(object.ID{Kind: kind}) }
	for _, pair := range [][2]string{
		{"ServiceAccount", "RoleBinding"}, {"Role", "RoleBinding"}, {"RoleBinding", "Secret"}, {"ConfigMap", "Deployment"},
		{"PersistentVolumeClaim", "StatefulSet"}, {"Service", "Thing"},
	} {
		if wave(pair[0]) >= wave(pair[1]) {
			t.Errorf("%s is not before %s", pair[0], pair[1])
		}
	}
}

func TestPhases(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]object.Phase{
		"admissionregistration.k8s.io/ValidatingWebhookConfiguration": object.PhaseCustom,
		"example.com/Database":                          object.PhaseCustom,
		"gateway.networking.k8s.io/HTTPRoute":           object.PhaseCustom,
		"apps/Deployment":                               object.PhaseRest,
		"/PersistentVolumeClaim":                        object.PhaseRest,
		"rbac.authorization.k8s.io/RoleBinding":         object.PhaseRest,
		"rbac.authorization.k8s.io/ClusterRole":         object.PhaseDefinitions,
		"gateway.networking.k8s.io/GatewayClass":        object.PhaseDefinitions,
		"apiregistration.k8s.io/APIService":             object.PhaseDefinitions,
		"apiextensions.k8s.io/CustomResourceDefinition": object.PhaseDefinitions,
		"/Namespace": object.PhaseDefinitions,
	} {
		group, kind, _ := strings.Cut(text, "/")
		if got := object.PhaseOf(object.ID{Group: group, Kind: kind, Name: "a"}); got != want {
			t.Errorf("%s goes in phase %d, want %d", text, got, want)
		}
	}
}
