// SPDX-License-Identifier: Apache-2.0

package object

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// maxNesting bounds how deep an object is looked through.
const maxNesting = 64

// Images lists the container images that objects name, sorted, each once.
func Images(objs []*unstructured.Unstructured) []string {
	var all []string
	for _, u := range objs {
		all = append(all, ImagesOf(u)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ImagesOf lists the images that an object names, in its order: those of containers, init and
// ephemeral containers and of volumes, in whatever pod template of whatever kind, and of steps as
// Tekton has them.
func ImagesOf(u *unstructured.Unstructured) []string {
	var found []string
	collectImages(u.Object, 0, func(image string) {
		if !slices.Contains(found, image) {
			found = append(found, image)
		}
	})
	return found
}

func collectImages(v any, depth int, add func(string)) {
	if depth > maxNesting {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range []string{"initContainers", "containers", "ephemeralContainers", "steps", "sidecars"} {
			forEachMap(v[key], func(m map[string]any) { addText(m["image"], add) })
		}
		forEachMap(v["volumes"], func(m map[string]any) {
			if image, ok := m["image"].(map[string]any); ok {
				addText(image["reference"], add)
			}
		})
		for _, key := range sortedKeys(v) {
			collectImages(v[key], depth+1, add)
		}
	case []any:
		for _, item := range v {
			collectImages(item, depth+1, add)
		}
	}
}

func forEachMap(v any, do func(map[string]any)) {
	items, _ := v.([]any)
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			do(m)
		}
	}
}

func addText(v any, add func(string)) {
	if text, ok := v.(string); ok && text != "" {
		add(text)
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
