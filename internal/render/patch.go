// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/object"
)

// patchedName is the file that stands for the objects while a patch is built over them.
const patchedName = "objects.yaml"

// Patch builds a patch over objects. The patch is a file in the form of a kustomization that has
// patches, and may set namespace, names, labels, annotations and images; it names no resources. The
// objects come back in the order of [object.Sort].
//
// Errors are *[object.SyntaxError] and *[BuildError], up to ten joined.
func Patch(ctx context.Context, objs []*unstructured.Unstructured, file string) (out []*unstructured.Unstructured, err error) {
	defer recovered(&err)
	k, err := readPatch(file)
	if err != nil || len(objs) == 0 {
		return nil, err
	}
	work, err := os.MkdirTemp("", "kustomizer-patch-")
	if err != nil {
		return nil, fmt.Errorf("making room to apply the patch: %w", err)
	}
	defer os.RemoveAll(work)
	if work, err = filepath.EvalSymlinks(work); err != nil {
		return nil, fmt.Errorf("making room to apply the patch: %w", err)
	}
	if err := writePatched(work, k, objs); err != nil {
		return nil, err
	}
	s := newScanner(filesys.MakeFsOnDisk(), "", shownAs(work, file))
	if _, err := s.scan(ctx, work); err != nil {
		return nil, withoutLines(err, file)
	}
	out, err = s.build(ctx, work)
	return out, withoutLines(err, file)
}

// readPatch reads a patch file. The paths in it are made absolute, since the build runs elsewhere.
func readPatch(file string) (*types.Kustomization, error) {
	at := object.Position{File: filepath.ToSlash(file)}
	fsys := filesys.MakeFsOnDisk()
	if info, err := os.Stat(file); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &BuildError{Position: at, Reason: "not a file: name the patch itself"}
	} else if info.Size() > maxBytes {
		return nil, &BuildError{Position: at, Reason: fmt.Sprintf("more than %d MiB", maxBytes>>20)}
	}
	text, err := fsys.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := object.CheckSyntax(text, at.File); err != nil {
		return nil, err
	}
	given := &types.Kustomization{}
	if err := given.Unmarshal(text); err != nil {
		return nil, misread(err, newSource(at.File, text))
	}
	if len(given.Patches)+len(given.PatchesStrategicMerge)+len(given.PatchesJson6902) == 0 { //nolint:staticcheck // Kustomizer's users have files with the older fields
		return nil, &BuildError{Position: at, Reason: "not a patch: a kustomization with a list of patches is expected"}
	}
	return patchOnly(given, filepath.Dir(file))
}

// patchOnly keeps of a kustomization what a patch may say.
func patchOnly(given *types.Kustomization, dir string) (*types.Kustomization, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	absolute := func(path string) string {
		if path == "" || filepath.IsAbs(path) || isRemote(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	//nolint:staticcheck // Kustomizer's users have files with the older fields
	k := &types.Kustomization{
		Namespace: given.Namespace, NamePrefix: given.NamePrefix, NameSuffix: given.NameSuffix,
		CommonLabels: given.CommonLabels, Labels: given.Labels, CommonAnnotations: given.CommonAnnotations,
		Images: given.Images, Patches: given.Patches,
		PatchesJson6902: given.PatchesJson6902, PatchesStrategicMerge: given.PatchesStrategicMerge,
		Resources: []string{patchedName},
	}
	for i := range k.Patches {
		k.Patches[i].Path = absolute(k.Patches[i].Path)
	}
	for i := range k.PatchesJson6902 { //nolint:staticcheck // as above
		k.PatchesJson6902[i].Path = absolute(k.PatchesJson6902[i].Path) //nolint:staticcheck // as above
	}
	for i, p := range k.PatchesStrategicMerge { //nolint:staticcheck // as above
		if path := string(p); !inlineYAML(reference{value: path, kind: toPatch}) {
			k.PatchesStrategicMerge[i] = types.PatchStrategicMerge(absolute(path)) //nolint:staticcheck // as above
		}
	}
	return k, nil
}

// writePatched writes the objects and the kustomization that patches them.
func writePatched(work string, k *types.Kustomization, objs []*unstructured.Unstructured) error {
	objects, err := object.EncodeYAML(objs)
	if err != nil {
		return err
	}
	k.FixKustomization()
	text, err := yaml.Marshal(k)
	if err != nil {
		return fmt.Errorf("writing the patch: %w", err)
	}
	for name, data := range map[string][]byte{patchedName: objects, "kustomization.yaml": text} {
		if err := os.WriteFile(filepath.Join(work, name), data, 0o600); err != nil {
			return fmt.Errorf("making room to apply the patch: %w", err)
		}
	}
	return nil
}

// shownAs shows the files of the build as the patch that they are made from.
func shownAs(work, file string) func(string) string {
	return func(path string) string {
		if within(work, path) {
			return filepath.ToSlash(file)
		}
		return filepath.ToSlash(path)
	}
}

// withoutLines takes line numbers off errors at the patch: it was written anew for the build, and
// the lines are not those of the file.
func withoutLines(err error, file string) error {
	if err == nil {
		return nil
	}
	var out []error
	for _, e := range split(err) {
		var build *BuildError
		if errors.As(e, &build) && build.File == filepath.ToSlash(file) {
			e = &BuildError{Position: object.Position{File: build.File}, Reason: build.Reason}
		}
		out = append(out, e)
	}
	return errors.Join(out...)
}
