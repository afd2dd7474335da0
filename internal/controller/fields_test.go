// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// fieldsOf lists what the agent does with each field of a spec: it honours it, and the test named
// here shows how, or it refuses it, and here is a value for which it does. Where one field of an
// object is honoured and another is not, its fields are listed and not the object.
type fieldsOf struct {
	honoured map[string]string
	refused  map[string]any
}

func sourceFields() fieldsOf {
	return fieldsOf{
		honoured: map[string]string{
			"url": "TestWhatASourceFollows", "ref.tag": "TestWhatASourceFollows", "ref.digest": "TestWhatASourceFollows",
			"suspend": "TestASuspendedResourceIsLeftAlone", "interval": "TestWhatASourceFollows",
			"secretRef": "TestCredentialsOfASource", "insecure": "TestAnUnknownCertificate", "timeout": "TestARegistryThatHangs",
		},
		refused: map[string]any{
			"certSecretRef": map[string]any{"name": "x"}, "ignore": "*.md", "layerSelector": map[string]any{"operation": "copy"},
			"provider": "aws", "proxySecretRef": map[string]any{"name": "x"}, "ref.semver": "1.x", "ref.semverFilter": ".*",
			"serviceAccountName": "x", "verify": map[string]any{"provider": "cosign"},
		},
	}
}

func kustomizationFields() fieldsOf {
	return fieldsOf{
		honoured: map[string]string{
			"sourceRef.name": "TestASourceThatComesLater", "sourceRef.namespace": "TestASourceInAnotherNamespace",
			"path": "TestAMistakeInWhatIsPublishedDeletesNothing", "targetNamespace": "TestAFailureIsTriedAgain",
			"prune": "TestWithoutPruneWhatWasRemovedIsRemembered", "deletionPolicy": "TestADeletedKustomizationTakesWithItWhatItsPolicySays",
			"wait": "TestWaitingForHealth", "timeout": "TestWaitingForHealth", "interval": "TestTwoOwnersOfOneObject",
			"retryInterval": "TestAFailureIsTriedAgain", "force": "TestForceReplacesWhatCanNotBeChanged",
			"decryption.provider": "TestAnEncryptedArtifactNeedsItsKey", "decryption.secretRef": "TestAnEncryptedArtifactNeedsItsKey", "suspend": "TestASuspendedResourceIsLeftAlone",
		},
		refused: map[string]any{
			"sourceRef.kind": "GitRepository", "sourceRef.apiVersion": "example.com/v1",
			"buildMetadata": []any{"originAnnotations"}, "commonMetadata": map[string]any{"labels": map[string]any{"a": "b"}},
			"components": []any{"../x"}, "decryption.serviceAccountName": "x", "dependsOn": []any{map[string]any{"name": "x"}},
			"healthCheckExprs": []any{map[string]any{"apiVersion": "v1", "kind": "X", "current": "true"}},
			"healthChecks":     []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}},
			"ignore":           []any{map[string]any{"paths": []any{"/data"}}}, "ignoreMissingComponents": true,
			"images": []any{map[string]any{"name": "x"}}, "kubeConfig": map[string]any{"secretRef": map[string]any{"name": "x"}},
			"namePrefix": "x-", "nameSuffix": "-x", "patches": []any{map[string]any{"patch": "x"}},
			"postBuild": map[string]any{"substitute": map[string]any{"a": "b"}}, "serviceAccountName": "x",
		},
	}
}

// A field of the definitions that is in none of the lists is one that nobody decided about.
func TestEveryFieldIsHonouredOrRefused(t *testing.T) {
	t.Parallel()
	for file, fields := range map[string]fieldsOf{
		"source.toolkit.fluxcd.io_ocirepositories.yaml":   sourceFields(),
		"kustomize.toolkit.fluxcd.io_kustomizations.yaml": kustomizationFields(),
	} {
		listed := append(slices.Collect(maps.Keys(fields.honoured)), slices.Collect(maps.Keys(fields.refused))...)
		slices.Sort(listed)
		if diff := cmp.Diff(specFields(t, file, listed), listed); diff != "" {
			t.Errorf("%s (-definition +listed):\n%s", file, diff)
		}
	}
}

// specFields returns the fields of a definition's spec; for objects whose fields are listed, those.
func specFields(t *testing.T, file string, listed []string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", file))
	if err != nil {
		t.Fatal(err)
	}
	type properties struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	var definition struct {
		Spec struct {
			Versions []struct {
				Name   string `json:"name"`
				Schema struct {
					OpenAPIV3Schema struct {
						Properties struct {
							Spec properties `json:"spec"`
						} `json:"properties"`
					} `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(data, &definition); err != nil {
		t.Fatal(err)
	}
	if len(definition.Spec.Versions) != 1 || definition.Spec.Versions[0].Name != "v1" {
		t.Fatalf("%s does not define v1 alone", file)
	}
	var out []string
	for name, raw := range definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties.Spec.Properties {
		if !slices.ContainsFunc(listed, func(l string) bool { return strings.HasPrefix(l, name+".") }) {
			out = append(out, name)
			continue
		}
		var nested properties
		if err := json.Unmarshal(raw, &nested); err != nil {
			t.Fatal(err)
		}
		for field := range nested.Properties {
			out = append(out, name+"."+field)
		}
	}
	slices.Sort(out)
	return out
}

// nest puts a value at a path of one or two fields.
func nest(path string, value any) map[string]any {
	outer, inner, nested := strings.Cut(path, ".")
	if nested {
		return map[string]any{outer: map[string]any{inner: value}}
	}
	return map[string]any{outer: value}
}

func resourceName(path string) string {
	return "x-" + strings.ToLower(strings.ReplaceAll(path, ".", "-"))
}

// A field that is not honoured is never ignored: nothing is done until it is gone.
func TestAFieldThatIsNotHonouredStallsTheResource(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	revision := a.deploy(t, "app", configMaps("app", 1), nil)
	for path, value := range sourceFields().refused {
		a.push(t, resourceName(path), "1.0.0", map[string]string{"objects.yaml": configMaps("x", 1)})
		a.createSource(t, resourceName(path), "1.0.0", nest(path, value))
	}
	for path, value := range kustomizationFields().refused {
		spec := nest(path, value)
		if ref, ok := spec["sourceRef"].(map[string]any); ok {
			spec["sourceRef"] = merged(map[string]any{"kind": "OCIRepository", "name": "app"}, ref)
		}
		if decryption, ok := spec["decryption"].(map[string]any); ok {
			decryption["provider"] = "sops"
		}
		spec["targetNamespace"] = a.Namespace
		a.createKustomization(t, resourceName(path), "app", spec)
	}
	a.createSource(t, "two", "1.0.0", map[string]any{"ignore": "x", "serviceAccountName": "x"})
	polled := len(a.repositories.Requests(t))
	a.start(t, a.agent)

	for path := range sourceFields().refused {
		a.waitForStalled(t, repositoriesResource(), resourceName(path), "the field spec."+path+" is not supported by this version; nothing is done until it is removed")
	}
	for path := range kustomizationFields().refused {
		shown := path
		if strings.HasPrefix(path, "sourceRef.") {
			shown += fmt.Sprintf("=%v", kustomizationFields().refused[path])
		}
		a.waitForStalled(t, kustomizationsResource(), resourceName(path), "the field spec."+shown+" is not supported by this version; nothing is done until it is removed")
	}
	a.waitForStalled(t, repositoriesResource(), "two", "the fields spec.ignore, spec.serviceAccountName are not supported by this version; nothing is done until they are removed")
	a.waitForReady(t, "app", revision)

	for _, r := range a.repositories.Requests(t)[polled:] {
		if !strings.HasPrefix(r.Path, "/v2/"+a.repositories.Prefix+"/app/") {
			t.Errorf("a stalled source asked the registry: %s", r)
		}
	}
	for _, r := range a.requests(t).Writes().Without("events") {
		stalled := strings.HasPrefix(r.Name, "x-") || r.Name == "two"
		if stalled && r.Subresource != "status" {
			t.Errorf("something was done for a stalled resource: %s", r)
		}
	}
	if there := a.configMapUIDs(t); len(there) != 1 {
		t.Errorf("want the one object of the one that is ready, got %v", there)
	}

	// Once the field is gone, all is as if it had never been there.
	a.patch(t, kustomizationsResource(), resourceName("namePrefix"), `{"spec":{"namePrefix":null,"prune":false}}`)
	a.waitForReady(t, resourceName("namePrefix"), revision)
}

func merged(maps ...map[string]any) map[string]any {
	out := map[string]any{}
	for _, m := range maps {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func (a *arena) waitForStalled(t *testing.T, resource schema.GroupVersionResource, name, message string) {
	t.Helper()
	a.wait(t, resource, name, "is stalled", func(u *unstructured.Unstructured) error {
		ready := readyOf(t, u)
		if ready.Status != metav1.ConditionFalse || ready.Reason != "UnsupportedField" || ready.Message != message {
			return fmt.Errorf("Ready is %+v, not %q", ready, message)
		}
		return conditionIs(u, meta.StalledCondition, "True")
	})
}
