// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/kustomizer/kustomizer/internal/object"
)

const (
	maxErrors  = 10     // errors reported of one build
	maxNesting = 32     // kustomizations on top of each other
	maxTargets = 10_000 // kustomizations in a build, each as often as it is built
)

// scanner reads everything that a kustomization leads to before kustomize does: to refuse what leads
// out of an artifact, which kustomize would load at once, and to say where a mistake is.
type scanner struct {
	fs   filesys.FileSystem
	tree *tree  // the artifact to stay within; nil on a user's disk
	root string // root of that tree
	show func(string) string

	visited   map[string]weight
	stack     []string
	decoded   map[string]int // objects by file
	objects   int
	generates bool // objects may come from elsewhere than files
	openAPI   bool // a kustomization brings a schema of its own
	plugins   []plugin
	places    map[string][]object.Position // by kind and name
	secrets   []string
	errs      []error
}

// weight is how much a kustomization makes kustomize do.
type weight struct{ targets, objects int }

func (w *weight) add(other weight) {
	const enough = 1 << 30
	w.targets = min(w.targets+other.targets, enough)
	w.objects = min(w.objects+other.objects, enough)
}

func newScanner(fsys filesys.FileSystem, root string, show func(string) string) *scanner {
	t, _ := fsys.(*tree)
	return &scanner{
		fs: fsys, tree: t, root: root, show: show,
		visited: map[string]weight{}, decoded: map[string]int{}, places: map[string][]object.Position{},
	}
}

// scan reads the kustomization of a directory and all that it leads to. It returns that
// kustomization, or what is wrong anywhere.
func (s *scanner) scan(ctx context.Context, dir string) (*types.Kustomization, error) {
	top, total := s.visit(ctx, dir, object.Position{})
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading the kustomization: %w", err)
	}
	if total.targets > maxTargets {
		s.fail(object.Position{}, fmt.Sprintf("more than %d kustomizations are built, counting repetitions", maxTargets))
	}
	if total.objects > maxObjects {
		s.fail(object.Position{}, fmt.Sprintf("more than %d objects", maxObjects))
	}
	if len(s.errs) == 1 {
		return nil, s.errs[0]
	}
	return top, errors.Join(s.errs...)
}

func (s *scanner) fail(at object.Position, reason string) {
	s.note(&BuildError{Position: at, Reason: reason})
}

func (s *scanner) note(err error) {
	if len(s.errs) < maxErrors {
		s.errs = append(s.errs, err)
	}
}

// visit reads the kustomization of a directory that is named at a place.
func (s *scanner) visit(ctx context.Context, dir string, from object.Position) (*types.Kustomization, weight) {
	if ctx.Err() != nil || len(s.errs) >= maxErrors {
		return nil, weight{}
	}
	k, src := s.kustomization(dir, from)
	if k == nil {
		return nil, weight{}
	}
	s.stack = append(s.stack, dir)
	defer func() { s.stack = s.stack[:len(s.stack)-1] }()
	s.inspect(k, src)
	total := weight{targets: 1}
	for _, ref := range references(k) {
		total.add(s.follow(ctx, dir, ref, src.find(ref.field, ref.value)))
	}
	s.visited[dir] = total
	return k, total
}

// kustomization reads the one kustomization file of a directory.
func (s *scanner) kustomization(dir string, from object.Position) (*types.Kustomization, source) {
	files := kustomizationFiles(s.fs, dir)
	if len(files) != 1 {
		reason := fmt.Sprintf("%s holds neither kustomization.yaml nor kustomization.yml nor Kustomization", s.show(dir))
		if len(files) > 1 {
			reason = fmt.Sprintf("%s holds more than one kustomization file", s.show(dir))
		}
		s.fail(from, reason)
		return nil, source{}
	}
	file := s.show(files[0])
	text, err := s.fs.ReadFile(files[0])
	if err != nil {
		s.fail(object.Position{File: file}, oneLine(err.Error()))
		return nil, source{}
	}
	if err := object.CheckSyntax(text, file); err != nil {
		s.note(err)
		return nil, source{}
	}
	src := newSource(file, text)
	k := &types.Kustomization{}
	if err := k.Unmarshal(text); err != nil {
		s.note(misread(err, src))
		return nil, source{}
	}
	k.FixKustomization()
	return k, src
}

// kustomizationFiles returns the kustomization files of a directory: exactly one if it has a sound one.
func kustomizationFiles(fsys filesys.FileSystem, dir string) []string {
	var found []string
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if path := filepath.Join(dir, name); fsys.Exists(path) && !fsys.IsDir(path) {
			found = append(found, path)
		}
	}
	return found
}

func unknownField() *regexp.Regexp { return regexp.MustCompile(`unknown field "([^"]*)"`) }

// misread words an error of reading a kustomization file.
func misread(err error, src source) error {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		field, _, _ := strings.Cut(wrongType.Field, ".")
		reason := fmt.Sprintf("%s: a %s is given where a %s belongs", wrongType.Field, wrongType.Value, shape(wrongType.Type))
		return &BuildError{Position: src.find(field, ""), Reason: reason}
	}
	if m := unknownField().FindStringSubmatch(err.Error()); m != nil {
		return &BuildError{Position: src.find(m[1], ""), Reason: fmt.Sprintf("unknown field %q", m[1])}
	}
	return &BuildError{Position: src.find("", ""), Reason: "not a kustomization: " + oneLine(err.Error())}
}

// shape names a type of Go in the terms of YAML.
func shape(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "list"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		return "mapping"
	default:
		return t.Kind().String()
	}
}

// inspect notes what the rest of the work has to know of a kustomization.
func (s *scanner) inspect(k *types.Kustomization, src source) {
	if len(k.HelmCharts) > 0 {
		s.fail(src.find("helmCharts", ""), "helmCharts: Helm charts are not rendered")
	}
	if len(k.OpenAPI) > 0 {
		s.openAPI = true
	}
	if len(k.ConfigMapGenerator)+len(k.SecretGenerator)+len(k.Generators) > 0 {
		s.generates = true
	}
	for _, g := range k.SecretGenerator {
		for _, literal := range g.LiteralSources {
			s.hide(literal)
			if _, value, found := strings.Cut(literal, "="); found {
				s.hide(value)
			}
		}
	}
	for _, p := range k.Patches {
		if strings.Contains(p.Patch, "Secret") || p.Target != nil && p.Target.Kind == "Secret" {
			s.hide(p.Patch)
		}
	}
}

// follow looks at what a reference leads to.
func (s *scanner) follow(ctx context.Context, dir string, ref reference, at object.Position) weight {
	if inlineYAML(ref) {
		s.inline(ref, at)
		if !s.fs.Exists(filepath.Join(dir, ref.value)) {
			return weight{}
		}
		// Kustomize may take it for the path that it is as well.
	}
	path, ok := s.resolve(dir, ref, at)
	if !ok {
		return weight{}
	}
	switch {
	case s.fs.IsDir(path) && (ref.kind == toResource || ref.kind == toComponent):
		return s.enter(ctx, path, ref, at)
	case s.fs.IsDir(path) && ref.kind == toPlugin:
		total := s.enter(ctx, path, ref, at)
		s.plugins = append(s.plugins, plugin{path: path, directory: true, field: ref.field, at: at})
		return total
	case s.fs.IsDir(path):
		s.fail(at, fmt.Sprintf("%s: %s is a directory", ref.field, s.show(path)))
	case ref.kind == toComponent:
		s.fail(at, fmt.Sprintf("%s: %s is no directory", ref.field, s.show(path)))
	case ref.kind == toResource:
		return weight{objects: s.decode(path)}
	case ref.kind == toPlugin:
		s.checkSyntax(path)
		s.plugins = append(s.plugins, plugin{path: path, field: ref.field, at: at})
	case ref.kind == toData && ref.field == "secretGenerator":
		s.hideLines(path)
	case ref.kind != toData:
		s.checkSyntax(path)
	}
	return weight{}
}

// inlineYAML reports whether the value of a field that may be a path looks like YAML itself.
func inlineYAML(ref reference) bool {
	text := strings.TrimSpace(ref.value)
	return (ref.kind == toPlugin || ref.kind == toPatch) && !isRemote(ref.value) &&
		(strings.ContainsAny(text, "\n{[") || strings.Contains(text, ": "))
}

// inline checks YAML that stands in a kustomization.
func (s *scanner) inline(ref reference, at object.Position) {
	var syntax *object.SyntaxError
	if err := object.CheckSyntax([]byte(ref.value), ref.field); errors.As(err, &syntax) {
		s.fail(at, fmt.Sprintf("%s: line %d: %s", ref.field, syntax.Line, syntax.Reason))
		return
	}
	if ref.kind == toPlugin {
		s.plugins = append(s.plugins, plugin{inline: ref.value, field: ref.field, at: at})
	}
}

// resolve returns the path of what a reference names, if it may be read and exists.
func (s *scanner) resolve(dir string, ref reference, at object.Position) (string, bool) {
	if isRemote(ref.value) {
		if s.tree != nil {
			s.note(&RemoteError{Position: at, Field: ref.field, Source: withoutCredentials(ref.value)})
		}
		return "", false
	}
	path := ref.value
	switch {
	case !filepath.IsAbs(path):
		path = filepath.Join(dir, path)
	case s.tree != nil:
		s.fail(at, fmt.Sprintf("%s: %s is an absolute path: only files of the artifact can be named", ref.field, ref.value))
		return "", false
	}
	if s.tree != nil && !within(s.root, path) {
		s.fail(at, fmt.Sprintf("%s: %s leads out of the artifact", ref.field, ref.value))
		return "", false
	}
	if !s.fs.Exists(path) {
		s.fail(at, fmt.Sprintf("%s: %s not found", ref.field, s.show(path)))
		return "", false
	}
	return path, true
}

// enter visits a directory that a kustomization names, unless that would go round in circles.
func (s *scanner) enter(ctx context.Context, path string, ref reference, at object.Position) weight {
	confirmed, err := filesys.ConfirmDir(s.fs, path)
	if err != nil {
		s.fail(at, oneLine(err.Error()))
		return weight{}
	}
	dir := confirmed.String()
	for _, above := range s.stack {
		if within(dir, above) {
			s.fail(at, fmt.Sprintf("%s: %s leads back to %s", ref.field, ref.value, s.show(s.fileOf(above))))
			return weight{}
		}
	}
	if len(s.stack) >= maxNesting {
		s.fail(at, fmt.Sprintf("kustomizations are nested deeper than %d levels", maxNesting))
		return weight{}
	}
	if known, ok := s.visited[dir]; ok {
		return known
	}
	_, total := s.visit(ctx, dir, at)
	return total
}

func (s *scanner) fileOf(dir string) string {
	if files := kustomizationFiles(s.fs, dir); len(files) > 0 {
		return files[0]
	}
	return dir
}
