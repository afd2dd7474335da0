// SPDX-License-Identifier: Apache-2.0

package render

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// What others wrote, and the project's own demo app, renders to the very bytes that `kustomize build`
// prints, once our objects are put into its order.
func TestRealManifestsRenderToTheBytesOfKustomizeBuild(t *testing.T) {
	t.Parallel()
	dirs := []string{filepath.Join(testkit.ModuleRoot(t), "examples", "demo-app")}
	if corpus := testkit.Corpus(t); corpus != "" {
		dirs = append(dirs, kustomizationsBelow(t, corpus)...)
		for _, plain := range []string{"kube-prometheus", "argo-cd"} {
			dirs = append(dirs, asKustomization(t, filepath.Join(corpus, plain)))
		}
		if len(dirs) < 9 {
			t.Fatalf("the corpus has become smaller: %s", dirs)
		}
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			got, err := Overlay(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			building <- struct{}{}
			built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
			<-building
			if err != nil {
				t.Fatalf("kustomize itself fails: %v", err)
			}
			want, err := built.AsYaml()
			if err != nil {
				t.Fatal(err)
			}
			if len(want) == 0 || len(got) == 0 {
				t.Fatal("nothing is rendered")
			}
			if text := encode(t, inOrderOf(built, got)); text != string(want) {
				t.Errorf("-kustomize +got:\n%s", cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")))
			}
			compareWithTree(t, dir, got)
		})
	}
}

// kustomizationsBelow finds the folders that can be built by themselves.
func kustomizationsBelow(t *testing.T, root string) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(text), "kind: Component") {
			dirs = append(dirs, filepath.Dir(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// asKustomization copies a folder of plain manifests and lists them all in a kustomization.
func asKustomization(t *testing.T, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(dir))
	var files strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files.WriteString("- " + filepath.ToSlash(rel) + "\n")
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(out, rel)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(out, rel), text, 0o600)
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(out, "kustomization.yaml"), []byte("resources:\n"+files.String()), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// inOrderOf puts objects into the order of kustomize's result.
func inOrderOf(built resmap.ResMap, objs []*unstructured.Unstructured) []*unstructured.Unstructured {
	place := map[object.ID]int{}
	for i, r := range built.Resources() {
		gvk := r.GetGvk()
		place[object.ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: r.GetNamespace(), Name: r.GetName()}] = i
	}
	out := slices.Clone(objs)
	slices.SortStableFunc(out, func(a, b *unstructured.Unstructured) int { return place[object.Of(a)] - place[object.Of(b)] })
	return out
}

// compareWithTree sees that an artifact of the same directory renders to the same objects, but for
// what is normalised in them. What leads out of the directory is not an artifact's.
func compareWithTree(t *testing.T, dir string, want []*unstructured.Unstructured) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil || strings.Contains(string(text), "../") {
		return
	}
	result, err := Tree(t.Context(), Request{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	normalised := make([]*unstructured.Unstructured, 0, len(want))
	for _, u := range want {
		normalised = append(normalised, u.DeepCopy())
	}
	if err := Normalise(normalised); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(encode(t, normalised), encode(t, result.Objects)); diff != "" {
		t.Errorf("-overlay +tree:\n%s", diff)
	}
}
