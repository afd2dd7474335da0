// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/kustomizer/kustomizer/internal/object"
)

// plugin is the configuration of a generator, transformer or validator: YAML in the kustomization, a
// file, or a directory whose kustomization renders it. Of plugins only those built into kustomize run,
// but their configuration can name files as a kustomization does.
type plugin struct {
	inline    string
	path      string
	directory bool
	field     string
	at        object.Position
}

// inspectPlugins refuses plugins that would load something remote. They are in the order in which
// they were left during the scan: when a directory is rendered here, what it leads to was inspected.
func (s *scanner) inspectPlugins(ctx context.Context) error {
	if s.tree == nil {
		return nil
	}
	for _, p := range s.plugins {
		configs, err := p.load(ctx, s.fs)
		if err != nil {
			return s.explain(fmt.Errorf("%s: %w", p.field, err), p.at)
		}
		for _, config := range configs.Resources() {
			values, err := config.Map()
			if err != nil {
				return s.explain(fmt.Errorf("%s: %w", p.field, err), p.at)
			}
			if source := remoteIn(values, false); source != "" {
				return &RemoteError{Position: p.at, Field: p.field, Source: withoutCredentials(source)}
			}
		}
	}
	return nil
}

// load reads a plugin's configuration as kustomize does.
func (p plugin) load(ctx context.Context, fsys filesys.FileSystem) (resmap.ResMap, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.directory {
		return kustomize(fsys, p.path)
	}
	factory := resmap.NewFactory(provider.NewDefaultDepProvider().GetResourceFactory())
	if p.path == "" {
		return factory.NewResMapFromBytes([]byte(p.inline))
	}
	text, err := fsys.ReadFile(p.path)
	if err != nil {
		return nil, err
	}
	return factory.NewResMapFromBytes(text)
}

// remoteIn returns a remote source that a plugin's configuration names in one of the fields from
// which plugins load files, at whatever level. Kustomize doesn't look at the case of field names.
func remoteIn(value any, named bool) string {
	switch v := value.(type) {
	case map[string]any:
		for key, field := range v {
			if source := remoteIn(field, namesFile(key)); source != "" {
				return source
			}
		}
	case []any:
		for _, item := range v {
			if source := remoteIn(item, named); source != "" {
				return source
			}
		}
	case string:
		_, behind, _ := strings.Cut(v, "=")
		if named && isRemoteFile(v) {
			return v
		}
		if named && isRemoteFile(behind) {
			return behind
		}
	}
	return ""
}

func namesFile(key string) bool {
	fields := []string{
		"path", "paths", "file", "files", "env", "envs", "targetFilePath", "argsFromFile", "valuesFile",
		"additionalValuesFiles", "repo", "chartHome", "configHome", "crds", "configurations", "resources",
	}
	return slices.ContainsFunc(fields, func(field string) bool { return strings.EqualFold(field, key) })
}
