// SPDX-License-Identifier: Apache-2.0

package object

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Located is an object and the place at which it begins in the file it was read from.
type Located struct {
	Object   *unstructured.Unstructured
	Position Position
}

// Position is a place in a file. Lines and columns count from 1; zero means that they are not known.
type Position struct {
	File   string
	Line   int
	Column int
}

// String returns file:line:column, as compilers write it.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// SyntaxError says where and why a text can't be read as Kubernetes objects. It never quotes values,
// because they may be those of a Secret.
type SyntaxError struct {
	Position
	Reason string

	// NotObject is set where the text is sound YAML that doesn't describe a Kubernetes object, such
	// as a file of Helm values or a kustomization. [IgnoreNotObjects] leaves these errors out.
	NotObject bool

	// KustomizeConfig is set with NotObject where the document configures a build of kustomize.
	KustomizeConfig bool
}

// Error returns the position and the reason on one line.
func (e *SyntaxError) Error() string { return e.Position.String() + ": " + e.Reason }

// Decode reads the Kubernetes objects of a file of YAML documents or of JSON, in their order. Lists
// are replaced by their items, documents that are empty or hold only comments are left out.
//
// An error holds up to ten *[SyntaxError], joined, for [errors.As] to find; the objects of the other
// documents are returned with it. Integers are int64 and all other numbers float64, as everywhere in
// unstructured objects.
func Decode(data []byte, file string) ([]Located, error) {
	r := newReader(data, file)
	r.documents(data, func(root *node) {
		value := r.convert(root)
		if value != nil {
			r.add(value, root)
		}
	})
	return r.found, r.err()
}

// CheckSyntax reads a file as Decode does, but accepts any sound YAML: for patches and
// configuration, which are no objects.
func CheckSyntax(data []byte, file string) error {
	r := newReader(data, file)
	r.documents(data, func(root *node) { r.convert(root) })
	return r.err()
}

// IgnoreNotObjects removes from an error of [Decode] what says only that a document is no Kubernetes
// object. It returns nil if nothing else is left.
func IgnoreNotObjects(err error) error {
	var kept []error
	for _, e := range flatten(err) {
		var syntax *SyntaxError
		if !errors.As(e, &syntax) || !syntax.NotObject {
			kept = append(kept, e)
		}
	}
	return join(kept)
}

// EncodeYAML writes objects as YAML documents, separated by lines of three dashes, with sorted keys:
// the same objects in the same order give the same bytes.
func EncodeYAML(objs []*unstructured.Unstructured) ([]byte, error) {
	var out bytes.Buffer
	for i, obj := range objs {
		if i > 0 {
			out.WriteString("---\n")
		}
		text, err := yaml.Marshal(obj.Object)
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", Of(obj), err)
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// add takes a document's value as an object, or as a list of objects.
func (r *reader) add(value any, at *node) {
	m, ok := value.(map[string]any)
	if !ok {
		r.notObject(at, "not a Kubernetes object: the document is no mapping", false)
		return
	}
	kind, _ := m["kind"].(string)
	version, _ := m["apiVersion"].(string)
	items, listed := m["items"].([]any)
	switch {
	case m["kind"] == nil && m["apiVersion"] == nil:
		r.notObject(at, "not a Kubernetes object: kind and apiVersion are missing", false)
	case IsKustomizeConfig(version, kind):
		r.notObject(at, "a configuration of kustomize, not a Kubernetes object", true)
	case kind == "":
		r.fail(at.field("kind"), "kind is missing or no text")
	case strings.HasSuffix(kind, "List") && listed:
		r.addItems(items, at.field("items"))
	case strings.HasSuffix(kind, "List") && m["items"] == nil && at.has("items"):
		// A list without items: nothing to add.
	case version == "":
		r.fail(at.field("apiVersion"), "apiVersion is missing or no text")
	default:
		r.addObject(m, at)
	}
}

func (r *reader) addItems(items []any, at *node) {
	for i, item := range items {
		r.add(item, at.item(i))
	}
}

func (r *reader) addObject(m map[string]any, at *node) {
	meta, ok := m["metadata"].(map[string]any)
	if !ok {
		r.fail(at.field("metadata"), "metadata is missing or no mapping")
		return
	}
	name, _ := meta["name"].(string)
	if name == "" && meta["generateName"] != nil {
		r.fail(at.field("metadata"), "metadata.name is missing: an object with generateName alone can't be found again")
		return
	}
	if name == "" {
		r.fail(at.field("metadata").field("name"), "metadata.name is missing or no text")
		return
	}
	if namespace, ok := meta["namespace"]; ok && namespace != nil {
		if _, ok := namespace.(string); !ok {
			r.fail(at.field("metadata").field("namespace"), "metadata.namespace is no text")
			return
		}
	}
	r.found = append(r.found, Located{Object: &unstructured.Unstructured{Object: m}, Position: r.position(at)})
}

// IsKustomizeConfig reports whether an apiVersion and kind are those of kustomize's own files, which
// configure a build and are never applied.
func IsKustomizeConfig(apiVersion, kind string) bool {
	group, _, _ := strings.Cut(apiVersion, "/")
	return group == "kustomize.config.k8s.io" && (kind == "Kustomization" || kind == "Component")
}
