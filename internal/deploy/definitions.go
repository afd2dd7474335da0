// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// apiAnnotation names the module and the version of the types that a definition was made from.
const apiAnnotation = "kustomizer.dev/api"

// DefinitionError says that a definition in the cluster, which install may not change, does not
// serve what the agent needs.
type DefinitionError struct {
	ID      object.ID
	Version string // API version that is needed and not served
	Reason  string // why install may not change it
}

// Error implements error.
func (e *DefinitionError) Error() string {
	return fmt.Sprintf("%s does not serve %s, and install may not change it: %s", e.ID, e.Version, e.Reason)
}

// keepDefinition says why a definition that is in the cluster stays as it is, or nothing where
// install may apply its own. One that belongs to somebody else, that is newer, or that stores a
// version which ours lacks is never changed. The error is a [DefinitionError].
func keepDefinition(ours, live *unstructured.Unstructured, self plan.Owner) (string, error) {
	reason := definitionOwner(live, self)
	if reason == "" {
		reason = definitionNewer(ours, live)
	}
	if reason == "" {
		reason = definitionStores(ours, live)
	}
	if reason == "" {
		return "", nil
	}
	for _, v := range servedVersions(ours) {
		if !slices.Contains(servedVersions(live), v) {
			return "", &DefinitionError{ID: object.Of(live), Version: v, Reason: reason}
		}
	}
	return reason, nil
}

// definitionOwner names the manager whose definition it is, or nothing where it is ours.
func definitionOwner(live *unstructured.Unstructured, self plan.Owner) string {
	var others []string
	for _, entry := range live.GetManagedFields() {
		if entry.Subresource == "" && entry.Manager != plan.InventoryManager && ownsSpec(entry) && !slices.Contains(others, entry.Manager) {
			others = append(others, entry.Manager)
		}
	}
	slices.Sort(others)
	owner, marked := plan.OwnerOf(live)
	switch {
	case len(others) > 0:
		return "it is managed by " + strings.Join(others, ", ")
	case marked && owner != self:
		return "it belongs to " + owner.String()
	case live.GetLabels()[PartOfLabel] != AgentName:
		return "it was not installed by kustomizer"
	}
	return ""
}

func ownsSpec(entry metav1.ManagedFieldsEntry) bool {
	return entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:spec"`)
}

// definitionNewer says in what a definition is ahead of ours, or nothing.
func definitionNewer(ours, live *unstructured.Unstructured) string {
	mine, theirs := typesVersion(ours), typesVersion(live)
	if mine != nil && theirs != nil {
		if theirs.GreaterThan(mine) {
			return fmt.Sprintf("it is newer: of %s, ours of %s", theirs.Original(), mine.Original())
		}
		return ""
	}
	known := fieldsOf(ours)
	for field := range fieldsOf(live) {
		if !known[field] {
			return "it is newer: it has fields or versions that are not known here"
		}
	}
	return ""
}

// typesVersion returns the version of the types that a definition of ours was made from.
func typesVersion(u *unstructured.Unstructured) *semver.Version {
	_, text, _ := strings.Cut(u.GetAnnotations()[apiAnnotation], "@")
	v, err := semver.NewVersion(text)
	if err != nil {
		return nil
	}
	return v
}

// definitionStores names a version in which resources are stored and that ours lacks, or nothing.
func definitionStores(ours, live *unstructured.Unstructured) string {
	stored, _, _ := unstructured.NestedStringSlice(live.Object, "status", "storedVersions")
	for _, v := range stored {
		if versionNamed(ours, v) == nil {
			return "resources are stored in version " + v + ", which is not known here"
		}
	}
	return ""
}

func versions(u *unstructured.Unstructured) []map[string]any {
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
	var out []map[string]any
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func versionNamed(u *unstructured.Unstructured, name string) map[string]any {
	for _, v := range versions(u) {
		if v["name"] == name {
			return v
		}
	}
	return nil
}

func servedVersions(u *unstructured.Unstructured) []string {
	var names []string
	for _, v := range versions(u) {
		name, _, _ := unstructured.NestedString(v, "name")
		if v["served"] == true {
			names = append(names, name)
		}
	}
	return names
}

// fieldsOf returns the path of every field in a definition's schemas, under the version's name.
func fieldsOf(u *unstructured.Unstructured) map[string]bool {
	fields := map[string]bool{}
	for _, v := range versions(u) {
		name, _, _ := unstructured.NestedString(v, "name")
		fields[name] = true
		schema, _, _ := unstructured.NestedMap(v, "schema", "openAPIV3Schema")
		addFields(fields, name, schema)
	}
	return fields
}

func addFields(fields map[string]bool, at string, schema map[string]any) {
	if properties, ok := schema["properties"].(map[string]any); ok {
		for name, property := range properties {
			path := at + "." + name
			fields[path] = true
			if nested, ok := property.(map[string]any); ok {
				addFields(fields, path, nested)
			}
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if nested, ok := schema[key].(map[string]any); ok {
			addFields(fields, at+"[]", nested)
		}
	}
}
