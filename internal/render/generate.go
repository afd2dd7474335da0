// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/object"
)

// generated is what a directory without a kustomization holds.
type generated struct {
	resources []string // files of objects, and directories with a kustomization
	manifests int      // YAML files
	others    int      // other files
	dropped   int      // documents that configure kustomize
}

// generate gives a directory without a kustomization one, in memory: of all YAML files below it, and
// of sub-directories with a kustomization of their own. If there is nothing to name in it, it says why.
func (s *scanner) generate(ctx context.Context, dir string) (EmptyReason, error) {
	if len(kustomizationFiles(s.fs, dir)) > 0 {
		return EmptyReason{}, nil
	}
	var g generated
	if err := s.collect(ctx, dir, &g); err != nil {
		return EmptyReason{}, err
	}
	if len(s.errs) > 0 {
		return EmptyReason{}, errors.Join(s.errs...)
	}
	switch {
	case len(g.resources) > 0:
		k := types.Kustomization{Resources: g.resources}
		k.FixKustomization()
		return EmptyReason{}, s.write(dir, &k)
	case g.manifests == 0:
		return EmptyReason{Code: NoManifests, Files: g.others}, nil
	case g.dropped > 0:
		return EmptyReason{Code: NothingRendered, Files: g.manifests}, nil
	default:
		return EmptyReason{Code: OnlyComments, Files: g.manifests}, nil
	}
}

func (s *scanner) collect(ctx context.Context, dir string, g *generated) error {
	base, err := s.tree.inside(dir)
	if err != nil {
		return err
	}
	return fs.WalkDir(s.tree.given, filepath.ToSlash(base), func(name string, entry fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("reading the artifact's files: %w", err)
		}
		full := filepath.Join(treeRoot(), filepath.FromSlash(name))
		switch {
		case full == dir:
			return nil
		case entry.IsDir() && notForKubernetes(entry.Name()):
			return fs.SkipDir
		case entry.IsDir() && len(kustomizationFiles(s.fs, full)) > 0:
			g.resources = append(g.resources, below(dir, full))
			return fs.SkipDir
		case entry.IsDir():
			return nil
		case !isManifest(entry.Name()):
			g.others++
			return nil
		}
		g.manifests++
		return s.collectFile(full, below(dir, full), g)
	})
}

// collectFile takes a file's objects. Documents that configure kustomize are left out of it, other
// documents that are no objects are mistakes.
func (s *scanner) collectFile(full, name string, g *generated) error {
	text, err := s.fs.ReadFile(full)
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.show(full), err)
	}
	found, err := object.Decode(text, s.show(full))
	dropped := 0
	for _, e := range split(err) {
		var syntax *object.SyntaxError
		if errors.As(e, &syntax) && syntax.KustomizeConfig {
			dropped++
			continue
		}
		s.note(e)
	}
	g.dropped += dropped
	if len(found) == 0 {
		return nil
	}
	if dropped > 0 {
		if err := s.rewrite(full, found); err != nil {
			return err
		}
	}
	s.remember(full, found)
	g.resources = append(g.resources, name)
	return nil
}

// rewrite lets kustomize see only the objects of a file.
func (s *scanner) rewrite(full string, found []object.Located) error {
	objs := make([]*unstructured.Unstructured, len(found))
	for i, l := range found {
		objs[i] = l.Object
	}
	text, err := object.EncodeYAML(objs)
	if err != nil {
		return err
	}
	return s.tree.put(full, text)
}

// setNamespace sets the namespace field of a directory's kustomization, in memory. With that,
// kustomize gives the namespace to all objects, as Flux has it do.
func (s *scanner) setNamespace(dir, namespace string) error {
	if namespace == "" {
		return nil
	}
	text, err := s.fs.ReadFile(s.fileOf(dir))
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.show(s.fileOf(dir)), err)
	}
	var k types.Kustomization
	if err := k.Unmarshal(text); err != nil {
		return fmt.Errorf("reading %s: %w", s.show(s.fileOf(dir)), err)
	}
	k.FixKustomization()
	k.Namespace = namespace
	return s.write(dir, &k)
}

func (s *scanner) write(dir string, k *types.Kustomization) error {
	text, err := yaml.Marshal(k)
	if err != nil {
		return fmt.Errorf("writing a kustomization: %w", err)
	}
	file := filepath.Join(dir, konfig.DefaultKustomizationFileName())
	if existing := kustomizationFiles(s.fs, dir); len(existing) > 0 {
		file = existing[0]
	}
	return s.tree.put(file, text)
}

func below(dir, full string) string {
	rel, err := filepath.Rel(dir, full)
	if err != nil {
		return full
	}
	return "./" + filepath.ToSlash(rel)
}

func isManifest(name string) bool {
	ext := path.Ext(name)
	return (ext == ".yaml" || ext == ".yml") && !notForKubernetes(name)
}

// notForKubernetes reports whether a file or directory belongs to a tool that keeps its configuration
// beside the manifests: what Flux leaves out of every artifact by default.
func notForKubernetes(name string) bool {
	return slices.Contains([]string{
		".git", ".github", ".circleci", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml",
		"cloudbuild.yaml", "codeship-services.yml", "codeship-steps.yml", ".goreleaser.yml", ".sops.yaml", ".flux.yaml",
	}, name)
}

// split returns the errors that were joined to one.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
