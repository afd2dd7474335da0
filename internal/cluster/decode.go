// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
)

var errNoKind = errors.New("it has no kind")

// decodeObject decodes an object.
func decodeObject(body []byte) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal(body, &u.Object); err != nil {
		return nil, err
	}
	if u.GetKind() == "" {
		return nil, errNoKind
	}
	return u, nil
}

// decodeList decodes a list, each object of it once: the decoder of package unstructured looks at them three
// times. Objects that name no kind, as those of kinds that the server has built in, are of the list's.
func decodeList(body []byte) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{}
	if err := json.Unmarshal(body, &list.Object); err != nil {
		return nil, err
	}
	kind, isList := strings.CutSuffix(list.GetKind(), "List")
	items, ok := list.Object["items"].([]any)
	if !isList || !ok && list.Object["items"] != nil {
		return nil, fmt.Errorf("it is no list, but of kind %q", list.GetKind())
	}
	delete(list.Object, "items")
	list.Items = make([]unstructured.Unstructured, len(items))
	for i, item := range items {
		content, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("item %d is no object", i)
		}
		u := &list.Items[i]
		u.Object = content
		if u.GetKind() == "" && u.GetAPIVersion() == "" {
			u.SetKind(kind)
			u.SetAPIVersion(list.GetAPIVersion())
		}
	}
	return list, nil
}
