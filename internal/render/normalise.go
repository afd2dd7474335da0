// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/secrets"
)

// Normalise brings objects into the form in which the API server keeps them, as far as server-side
// apply depends on it: a Secret's stringData becomes data, ports of Services and containers name their
// protocol, which is part of the key that tells them apart, and what only the server may say (status,
// empty creation timestamps) goes. What SOPS has encrypted is left as it is: in another form it could
// not be decrypted any more.
func Normalise(objs []*unstructured.Unstructured) error {
	for _, obj := range objs {
		if secrets.HasEncrypted(obj) {
			continue
		}
		id := object.Of(obj)
		if id.Group != "apiextensions.k8s.io" || id.Kind != "CustomResourceDefinition" {
			delete(obj.Object, "status")
		}
		dropTimestamp(obj.Object)
		if err := normaliseKind(obj, id); err != nil {
			return err
		}
	}
	return nil
}

func normaliseKind(obj *unstructured.Unstructured, id object.ID) error {
	switch id.Group + "/" + id.Kind {
	case "/Secret":
		return foldStringData(obj, id)
	case "/Service":
		defaultProtocol(fieldOf(obj.Object, "spec"))
	case "/Pod":
		normalisePod(obj.Object)
	case "/PodTemplate":
		normalisePod(fieldOf(obj.Object, "template"))
	case "/ReplicationController", "apps/Deployment", "apps/ReplicaSet", "apps/StatefulSet", "apps/DaemonSet", "batch/Job":
		normalisePod(fieldOf(obj.Object, "spec", "template"))
		for _, claim := range itemsOf(fieldOf(obj.Object, "spec"), "volumeClaimTemplates") {
			dropTimestamp(claim)
			delete(claim, "status")
		}
	case "batch/CronJob":
		dropTimestamp(fieldOf(obj.Object, "spec", "jobTemplate"))
		normalisePod(fieldOf(obj.Object, "spec", "jobTemplate", "spec", "template"))
	}
	return nil
}

// normalisePod takes a pod, or a template of one.
func normalisePod(pod map[string]any) {
	if pod == nil {
		return
	}
	dropTimestamp(pod)
	spec := fieldOf(pod, "spec")
	for _, field := range []string{"containers", "initContainers"} {
		for _, container := range itemsOf(spec, field) {
			defaultProtocol(container)
		}
	}
}

func defaultProtocol(owner map[string]any) {
	for _, port := range itemsOf(owner, "ports") {
		if protocol, set := port["protocol"]; !set || protocol == nil || protocol == "" {
			port["protocol"] = "TCP"
		}
	}
}

func dropTimestamp(owner map[string]any) {
	meta := fieldOf(owner, "metadata")
	if at, set := meta["creationTimestamp"]; set && at == nil {
		delete(meta, "creationTimestamp")
	}
}

// foldStringData writes stringData into data, where it wins, as it does on the server.
func foldStringData(obj *unstructured.Unstructured, id object.ID) error {
	given, set := obj.Object["stringData"]
	if !set {
		return nil
	}
	texts, ok := given.(map[string]any)
	if !ok && given != nil {
		return &BuildError{Reason: fmt.Sprintf("%s: stringData is no mapping", id)}
	}
	data, ok := obj.Object["data"].(map[string]any)
	if !ok {
		data = make(map[string]any, len(texts))
	}
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		text, ok := texts[key].(string)
		if !ok {
			return &BuildError{Reason: fmt.Sprintf("%s: stringData.%s is no text", id, key)}
		}
		data[key] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	delete(obj.Object, "stringData")
	if len(data) > 0 {
		obj.Object["data"] = data
	}
	return nil
}

// fieldOf returns the mapping at a path, or nil.
func fieldOf(m map[string]any, path ...string) map[string]any {
	for _, key := range path {
		m, _ = m[key].(map[string]any)
	}
	return m
}

// itemsOf returns the mappings in the list of a field.
func itemsOf(m map[string]any, field string) []map[string]any {
	list, _ := m[field].([]any)
	items := make([]map[string]any, 0, len(list))
	for _, item := range list {
		if found, ok := item.(map[string]any); ok {
			items = append(items, found)
		}
	}
	return items
}
