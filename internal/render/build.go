// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"

	"github.com/kustomizer/kustomizer/internal/object"
)

// building lets one build run at a time. Kustomize keeps its schema in variables of the process and
// crashes when builds run beside each other, so nothing smaller than the process can hold this lock.
//
//nolint:gochecknoglobals // guards kustomize's own global state
var building = make(chan struct{}, 1)

// build runs kustomize in a directory that was scanned. It returns when ctx is done; the build itself
// then ends in the background, and holds back others until it has.
func (s *scanner) build(ctx context.Context, dir string) ([]*unstructured.Unstructured, error) {
	select {
	case building <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another build: %w", ctx.Err())
	}
	type outcome struct {
		objs []*unstructured.Unstructured
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { <-building }()
		objs, err := s.run(ctx, dir)
		done <- outcome{objs, err}
	}()
	select {
	case o := <-done:
		return o.objs, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("building the kustomization: %w", ctx.Err())
	}
}

func (s *scanner) run(ctx context.Context, dir string) (objs []*unstructured.Unstructured, err error) {
	defer recovered(&err)
	if s.openAPI {
		// A schema of its own is added to the built-in one, and must not stay for others.
		openapi.ResetOpenAPI()
		openapi.Schema()
		defer openapi.ResetOpenAPI()
	}
	if err := s.inspectPlugins(ctx); err != nil {
		return nil, err
	}
	built, err := kustomize(s.fs, dir)
	if err != nil {
		return nil, s.explain(err, object.Position{File: s.show(s.fileOf(dir))})
	}
	objs, err = s.objectsOf(ctx, built)
	if err != nil {
		return nil, err
	}
	object.Sort(objs)
	return objs, nil
}

// kustomize builds a directory with nothing but what is built into kustomize.
func kustomize(fsys filesys.FileSystem, dir string) (resmap.ResMap, error) {
	options := &krusty.Options{
		Reorder:          krusty.ReorderOptionNone,
		LoadRestrictions: types.LoadRestrictionsNone,
		PluginConfig:     types.DisabledPluginConfig(),
	}
	return krusty.MakeKustomizer(options).Run(fsys, dir)
}

// objectsOf turns kustomize's result into objects that are complete and different from each other.
func (s *scanner) objectsOf(ctx context.Context, built resmap.ResMap) ([]*unstructured.Unstructured, error) {
	if built.Size() > maxObjects {
		return nil, &BuildError{Reason: fmt.Sprintf("more than %d objects", maxObjects)}
	}
	objs := make([]*unstructured.Unstructured, 0, built.Size())
	seen := make(map[object.ID]bool, built.Size())
	size := 0
	for _, r := range built.Resources() {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("reading the build's result: %w", err)
		}
		text, err := r.MarshalJSON()
		if err != nil {
			return nil, s.explain(fmt.Errorf("%s %s: %w", r.GetKind(), r.GetName(), err), object.Position{})
		}
		if size += len(text); size > maxBytes {
			return nil, &BuildError{Reason: fmt.Sprintf("more than %d MiB of objects", maxBytes>>20)}
		}
		obj := &unstructured.Unstructured{}
		if err := utiljson.Unmarshal(text, &obj.Object); err != nil {
			return nil, s.explain(err, object.Position{})
		}
		if object.IsKustomizeConfig(obj.GetAPIVersion(), obj.GetKind()) {
			continue
		}
		if err := s.admit(obj, seen); err != nil {
			return nil, err
		}
		objs = append(objs, obj)
	}
	return objs, nil
}

// admit refuses an object without identity, or with that of another.
func (s *scanner) admit(obj *unstructured.Unstructured, seen map[object.ID]bool) error {
	id := object.Of(obj)
	if id.Kind == "" || id.Name == "" || obj.GetAPIVersion() == "" {
		return &BuildError{Reason: fmt.Sprintf("an object without apiVersion, kind or name is left: %s", id)}
	}
	if seen[id] {
		return s.duplicate(id.Kind, id.Name, id.String())
	}
	seen[id] = true
	return nil
}

// duplicate says where the two objects stand that end up with the same identity.
func (s *scanner) duplicate(kind, name, shown string) error {
	places := s.places[placeKey(kind, name)]
	if len(places) < 2 {
		for key, more := range s.places {
			k, n, _ := strings.Cut(key, "/")
			if k == kind && n != name && strings.Contains(name, n) {
				places = append(places, more...)
			}
		}
	}
	switch len(places) {
	case 0:
		return &BuildError{Reason: shown + " is there twice"}
	case 1:
		return &BuildError{Position: places[0], Reason: shown + " is there twice: the file is included more than once, or generated as well"}
	default:
		first, second := ordered(places[0], places[1])
		return &BuildError{Position: second, Reason: fmt.Sprintf("%s is there twice: first in %s", shown, first)}
	}
}

func ordered(a, b object.Position) (first, second object.Position) {
	if a.File > b.File || a.File == b.File && a.Line > b.Line {
		return b, a
	}
	return a, b
}

func alreadyThere() *regexp.Regexp {
	return regexp.MustCompile(`already registered id: ([^.\s]+)\S*/(\S+)\.([^.\s'"]+)`)
}

func descent() *regexp.Regexp { return regexp.MustCompile(`recursed accumulation of path '([^']*)': `) }

// explain words an error of kustomize's: at the innermost kustomization that it names, without the
// way that led there, and without what came from Secrets.
func (s *scanner) explain(err error, at object.Position) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	message := err.Error()
	if m := alreadyThere().FindStringSubmatch(message); m != nil {
		return s.duplicate(m[1], m[2], shownID(m[1], m[3], m[2]))
	}
	if all := descent().FindAllStringSubmatchIndex(message, -1); len(all) > 0 {
		last := all[len(all)-1]
		at = object.Position{File: s.show(s.fileOf(message[last[2]:last[3]]))}
		message = message[last[1]:]
		if unquoted, err := strconv.Unquote(`"` + message); err == nil && strings.HasSuffix(message, `"`) {
			message = unquoted // kustomize quotes what went wrong in a component
		}
	}
	message = s.redact(message)
	if s.tree != nil {
		message = strings.ReplaceAll(message, treeRoot()+string(filepath.Separator), "")
		message = strings.ReplaceAll(message, treeRoot(), ".")
	}
	return &BuildError{Position: at, Reason: oneLine(message)}
}

func shownID(kind, namespace, name string) string {
	if namespace == "[noNs]" {
		namespace = ""
	}
	return object.ID{Kind: kind, Namespace: namespace, Name: name}.String()
}
