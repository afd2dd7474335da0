// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A spec field that is not honoured here must be at its CRD default, else the object is stalled:
// to ignore a field that somebody set would do something else than was asked for. The check runs
// on the object as the server has it, so that fields of newer CRDs are found too.

// honoured lists the fields of a spec that the agent honours; a value other than nil lists the
// honoured fields of a nested object.
type honoured map[string]honoured

func ociRepositoryFields() honoured {
	return honoured{
		"url": nil, "ref": {"tag": nil, "digest": nil}, "secretRef": nil, "insecure": nil,
		"interval": nil, "timeout": nil, "suspend": nil,
	}
}

func kustomizationFields() honoured {
	return honoured{
		"sourceRef": {"apiVersion": nil, "kind": nil, "name": nil, "namespace": nil}, "path": nil, "targetNamespace": nil, "prune": nil, "deletionPolicy": nil, "wait": nil,
		"decryption": {"provider": nil, "secretRef": nil},
		"timeout":    nil, "interval": nil, "retryInterval": nil, "force": nil, "suspend": nil,
	}
}

// crdDefaults lists what the CRDs fill in for fields that are not honoured.
func crdDefaults() map[string]any {
	return map[string]any{"spec.provider": "generic"}
}

// unsupported returns the paths of set fields that are not honoured, sorted.
func unsupported(u *unstructured.Unstructured, fields honoured) []string {
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	var out []string
	walk(spec, fields, "spec", &out)
	slices.Sort(out)
	return out
}

func walk(values map[string]any, fields honoured, path string, out *[]string) {
	for key, v := range values {
		at := path + "." + key
		nested, known := fields[key]
		if known && nested == nil || isZero(v) || reflect.DeepEqual(v, crdDefaults()[at]) {
			continue
		}
		if m, ok := v.(map[string]any); known && ok {
			walk(m, nested, at, out)
			continue
		}
		*out = append(*out, at)
	}
}

func isZero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	default:
		return reflect.ValueOf(v).IsZero()
	}
}

func unsupportedMessage(fields []string) string {
	if len(fields) == 1 {
		return fmt.Sprintf("the field %s is not supported by this version; nothing is done until it is removed", fields[0])
	}
	return fmt.Sprintf("the fields %s are not supported by this version; nothing is done until they are removed", strings.Join(fields, ", "))
}
