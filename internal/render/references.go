// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strings"

	yaml "go.yaml.in/yaml/v4"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/kustomizer/kustomizer/internal/object"
)

// reference is something that a kustomization names or holds and that has to be looked at before
// kustomize may run.
type reference struct {
	field string
	value string
	kind  referenceKind
}

type referenceKind int

const (
	toResource  referenceKind = iota // a file of objects, or a directory with a kustomization
	toComponent                      // a directory with a kustomization
	toPlugin                         // a plugin's configuration: inline, a file, or a directory
	toPatch                          // a patch: inline, or a file
	toYAML                           // a file of YAML that is no object
	toData                           // a file of anything
)

// references lists what a kustomization leads to. A test sees that every field of the type is either
// here or known to name no file.
func references(k *types.Kustomization) []reference {
	var refs []reference
	add := func(kind referenceKind, field string, values ...string) {
		for _, v := range values {
			if v != "" {
				refs = append(refs, reference{field: field, value: v, kind: kind})
			}
		}
	}
	add(toResource, "resources", k.Resources...)
	add(toComponent, "components", k.Components...)
	add(toPlugin, "generators", k.Generators...)
	add(toPlugin, "transformers", k.Transformers...)
	add(toPlugin, "validators", k.Validators...)
	add(toYAML, "crds", k.Crds...)
	add(toYAML, "configurations", k.Configurations...)
	add(toYAML, "openapi", k.OpenAPI["path"])
	for _, r := range k.Replacements {
		add(toYAML, "replacements", r.Path)
	}
	for _, p := range k.Patches {
		add(toYAML, "patches", p.Path)
		add(toPatch, "patches", p.Patch)
	}
	for _, p := range k.PatchesJson6902 { //nolint:staticcheck // deprecated, and still what many kustomizations have
		add(toYAML, "patchesJson6902", p.Path)
		add(toPatch, "patchesJson6902", p.Patch)
	}
	for _, p := range k.PatchesStrategicMerge { //nolint:staticcheck // as above
		add(toPatch, "patchesStrategicMerge", string(p))
	}
	for _, g := range k.ConfigMapGenerator {
		add(toData, "configMapGenerator", g.EnvSources...)
		add(toData, "configMapGenerator", filesOf(g.FileSources)...)
	}
	for _, g := range k.SecretGenerator {
		add(toData, "secretGenerator", g.EnvSources...)
		add(toData, "secretGenerator", filesOf(g.FileSources)...)
	}
	return refs
}

// filesOf returns the paths of entries of the form path or key=path.
func filesOf(sources []string) []string {
	paths := make([]string, 0, len(sources))
	for _, s := range sources {
		if _, path, found := strings.Cut(s, "="); found && !isRemote(s) {
			s = path
		}
		paths = append(paths, s)
	}
	return paths
}

// hasOperands reports whether a kustomization names anything that could become an object.
func hasOperands(k *types.Kustomization) bool {
	return len(k.Resources)+len(k.Components)+len(k.Generators)+len(k.ConfigMapGenerator)+
		len(k.SecretGenerator)+len(k.HelmCharts) > 0
}

// source is the text of a kustomization, for positions in it.
type source struct {
	file string
	root *yaml.Node
}

func newSource(file string, text []byte) source {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
		return source{file: file}
	}
	return source{file: file, root: doc.Content[0]}
}

// find returns where a value stands below a field, or where the field does, or just the file.
func (s source) find(field, value string) object.Position {
	pos := object.Position{File: s.file}
	if s.root == nil || s.root.Kind != yaml.MappingNode {
		return pos
	}
	for i := 0; i+1 < len(s.root.Content); i += 2 {
		key := s.root.Content[i]
		if !strings.EqualFold(key.Value, field) {
			continue
		}
		pos.Line, pos.Column = key.Line, key.Column
		if n := scalarWith(s.root.Content[i+1], value); n != nil {
			pos.Line, pos.Column = n.Line, n.Column
		}
		return pos
	}
	return pos
}

func scalarWith(n *yaml.Node, value string) *yaml.Node {
	if n.Kind == yaml.ScalarNode && (n.Value == value || strings.HasSuffix(n.Value, "="+value)) {
		return n
	}
	for _, child := range n.Content {
		if found := scalarWith(child, value); found != nil {
			return found
		}
	}
	return nil
}
