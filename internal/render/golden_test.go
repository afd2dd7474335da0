// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/kustomizer/kustomizer/internal/object"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// Each file in testdata is a tree and what it renders to. Its comment may set path and namespace.
func TestTreeRendersTheGoldenTrees(t *testing.T) {
	t.Parallel()
	eachGolden(t, "testdata/tree", func(t *testing.T, dir string, settings map[string]string) string {
		t.Helper()
		result, err := Tree(t.Context(), Request{Root: dir, Path: settings["path"], TargetNamespace: settings["namespace"]})
		if err != nil {
			return "error: " + strings.ReplaceAll(err.Error(), "\n", "\nerror: ") + "\n"
		}
		if result.Empty.Code != NotEmpty {
			return fmt.Sprintf("empty: %s: %s\n", result.Empty.Code, result.Empty)
		}
		return encode(t, result.Objects)
	})
}

func TestOverlayRendersTheGoldenTrees(t *testing.T) {
	t.Parallel()
	eachGolden(t, "testdata/overlay", func(t *testing.T, dir string, settings map[string]string) string {
		t.Helper()
		full := filepath.Join(dir, settings["path"])
		objs, err := Overlay(t.Context(), full)
		if err != nil {
			text := strings.ReplaceAll(err.Error(), filepath.ToSlash(dir), "DIR")
			return "error: " + strings.ReplaceAll(text, "\n", "\nerror: ") + "\n"
		}
		compareWithKustomize(t, full, objs)
		return encode(t, objs)
	})
}

// eachGolden runs a case per file of a folder: the part named want is what render has to return.
func eachGolden(t *testing.T, folder string, render func(*testing.T, string, map[string]string) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", folder, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, input := takeWant(archive)
			got := render(t, writeTree(t, input), settingsOf(string(archive.Comment)))
			if *update {
				archive.Files = append(input, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func takeWant(archive *txtar.Archive) (want string, input []txtar.File) {
	for _, f := range archive.Files {
		if f.Name == "want" {
			want = string(f.Data)
			continue
		}
		input = append(input, f)
	}
	return want, input
}

func settingsOf(comment string) map[string]string {
	settings := map[string]string{}
	for line := range strings.Lines(comment) {
		if key, value, found := strings.Cut(strings.TrimSpace(line), ": "); found {
			settings[key] = value
		}
	}
	return settings
}

func writeTree(t *testing.T, files []txtar.File) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func treeOf(t *testing.T, files map[string]string) string {
	t.Helper()
	var list []txtar.File
	for name, text := range files {
		list = append(list, txtar.File{Name: name, Data: []byte(text)})
	}
	return writeTree(t, list)
}

func encode(t *testing.T, objs []*unstructured.Unstructured) string {
	t.Helper()
	text, err := object.EncodeYAML(objs)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compareWithKustomize sees that kustomize itself renders a directory to the same objects.
func compareWithKustomize(t *testing.T, dir string, got []*unstructured.Unstructured) {
	t.Helper()
	building <- struct{}{}
	built, err := kustomize(filesys.MakeFsOnDisk(), dir)
	<-building
	if err != nil {
		if len(got) > 0 || !strings.Contains(err.Error(), "is empty") {
			t.Errorf("kustomize itself fails: %v", err)
		}
		return
	}
	var want []*unstructured.Unstructured
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		found, err := object.Decode(text, "kustomize")
		if err := object.IgnoreNotObjects(err); err != nil {
			t.Fatal(err)
		}
		for _, l := range found {
			want = append(want, l.Object)
		}
	}
	object.Sort(want)
	if diff := cmp.Diff(plainJSON(t, want), plainJSON(t, got)); diff != "" {
		t.Errorf("-kustomize +got:\n%s", diff)
	}
}

func plainJSON(t *testing.T, objs []*unstructured.Unstructured) []any {
	t.Helper()
	var all []any
	for _, o := range objs {
		text, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := utiljson.Unmarshal(bytes.TrimSpace(text), &m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}
