// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
)

func TestTreeWithoutFilesIsEmpty(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "only", "directories"), 0o755); err != nil {
		t.Fatal(err)
	}
	result, err := Tree(t.Context(), Request{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := result.Empty.String(); got != "the artifact holds no files" {
		t.Errorf("got %q", got)
	}
}

func TestTreeNeedsItsRoot(t *testing.T) {
	t.Parallel()
	if _, err := Tree(t.Context(), Request{Root: filepath.Join(t.TempDir(), "gone")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestTreeLeavesTheFilesAlone(t *testing.T) {
	t.Parallel()
	dir := treeOf(t, map[string]string{"a.yaml": configMap})
	if _, err := Tree(t.Context(), Request{Root: dir, TargetNamespace: "x"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "a.yaml"))
	if err != nil || string(text) != configMap {
		t.Errorf("%q, %v", text, err)
	}
}

func TestRenderIsTheSameEveryTime(t *testing.T) {
	t.Parallel()
	var first string
	for range 3 {
		result, err := Tree(t.Context(), Request{Root: "../../examples/demo-app"})
		if err != nil {
			t.Fatal(err)
		}
		text := encode(t, result.Objects)
		if first == "" {
			first = text
		}
		if diff := cmp.Diff(first, text); diff != "" {
			t.Errorf("another time: %s", diff)
		}
	}
}

func TestDemoAppHasItsTenObjects(t *testing.T) {
	t.Parallel()
	objs, err := Overlay(t.Context(), "../../examples/demo-app")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range objs {
		got = append(got, object.Of(o).String())
	}
	want := []string{
		"Namespace/kustomizer-demo",
		"ConfigMap/kustomizer-demo/redis-config-8k6d84mc46",
		"Service/kustomizer-demo/backend",
		"Service/kustomizer-demo/cache",
		"Service/kustomizer-demo/frontend",
		"Deployment/kustomizer-demo/backend",
		"Deployment/kustomizer-demo/cache",
		"Deployment/kustomizer-demo/frontend",
		"HorizontalPodAutoscaler/kustomizer-demo/backend",
		"HorizontalPodAutoscaler/kustomizer-demo/frontend",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, o := range objs {
		if _, set, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); o.GetKind() == "Deployment" && !set {
			t.Errorf("%s sets no replicas", object.Of(o))
		}
	}
}

func TestBuildsBesideEachOther(t *testing.T) {
	t.Parallel()
	schema := `{"definitions": {"v1.Thing": {"properties": {"spec": {"properties": {"list": {"type": "array", "items": {"type": "object"}, "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge"}}}}, "x-kubernetes-group-version-kind": [{"group": "example.com", "kind": "Thing", "version": "v1"}]}}}`
	thing := "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\nspec:\n  list:\n  - {name: a, x: 1}\n  - {name: b, x: 2}\n"
	patch := "patches:\n- patch: |\n    apiVersion: example.com/v1\n    kind: Thing\n    metadata: {name: t}\n    spec: {list: [{name: a, x: 3}]}\n"
	with := treeOf(t, map[string]string{"kustomization.yaml": "resources: [t.yaml]\nopenapi: {path: s.json}\n" + patch, "t.yaml": thing, "s.json": schema})
	without := treeOf(t, map[string]string{"kustomization.yaml": "resources: [t.yaml]\n" + patch, "t.yaml": thing})
	var running sync.WaitGroup
	for range 4 {
		for dir, want := range map[string]int{with: 2, without: 1} {
			running.Go(func() {
				result, err := Tree(t.Context(), Request{Root: dir})
				if err != nil {
					t.Error(err)
					return
				}
				list, _, _ := unstructured.NestedSlice(result.Objects[0].Object, "spec", "list")
				if len(list) != want {
					t.Errorf("%d items, want %d: a schema leaks from one build into another", len(list), want)
				}
			})
		}
	}
	running.Wait()
}

func TestTreeReturnsAtTheDeadline(t *testing.T) {
	t.Parallel()
	dir := treeOf(t, map[string]string{"a.yaml": configMap})
	building <- struct{}{} // as a build would that doesn't end
	defer func() { <-building }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := Tree(ctx, Request{Root: dir}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	canceled, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Overlay(canceled, "../../examples/demo-app"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAPanicIsABuildError(t *testing.T) {
	t.Parallel()
	err := func() (err error) {
		defer recovered(&err)
		panic("invalid schema file: x")
	}()
	var build *BuildError
	if !errors.As(err, &build) || !strings.Contains(build.Reason, "invalid schema file") {
		t.Errorf("got %v", err)
	}
	// One that kustomize really has: a CRD file without content.
	err = renderError(t, map[string]string{"kustomization.yaml": "resources: [cm.yaml]\ncrds: [e.yaml]\n", "e.yaml": "", "cm.yaml": configMap})
	if !errors.As(err, &build) {
		t.Errorf("got %v", err)
	}
}

func TestBuildsAreBounded(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range maxObjects + 1 {
		fmt.Fprintf(&many, "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a%d}}\n", i)
	}
	doubling := map[string]string{"kustomization.yaml": "resources: [d0/l, d0/r]\n"}
	for i := range 20 {
		for _, side := range []string{"l", "r"} {
			doubling[fmt.Sprintf("d%d/%s/kustomization.yaml", i, side)] = fmt.Sprintf("namePrefix: %s\nresources: [../../d%d/l, ../../d%d/r]\n", side, i+1, i+1)
		}
	}
	for _, side := range []string{"l", "r"} {
		doubling["d20/"+side+"/kustomization.yaml"] = "resources: [cm.yaml]\nnamePrefix: " + side + "\n"
		doubling["d20/"+side+"/cm.yaml"] = configMap
	}
	deep := map[string]string{"kustomization.yaml": "resources: [d0]\n"}
	for i := range 40 {
		deep[fmt.Sprintf("d%d/kustomization.yaml", i)] = fmt.Sprintf("resources: [../d%d]\n", i+1)
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"too many objects":        {map[string]string{"all.yaml": many.String()}, "more than 20000 objects"},
		"kustomizations doubling": {doubling, "more than 10000 kustomizations are built"},
		"kustomizations nested":   {deep, "nested deeper than 32 levels"},
		"aliases":                 {map[string]string{"kustomization.yaml": "x: &x [a,a,a,a,a,a,a,a,a,a,a,a]\ny: &y [*x,*x,*x,*x,*x,*x,*x,*x,*x]\nresources: [*y,*y,*y,*y,*y,*y]\n"}, "aliases enlarge the file"},
		"large file":              {map[string]string{"a.yaml": strings.Repeat("# 34567890123456789012345678901\n", 2<<20+1)}, "larger than 64 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Tree(t.Context(), Request{Root: treeOf(t, c.files)}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNormaliseTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	result, err := Tree(t.Context(), Request{Root: "../../examples/demo-app"})
	if err != nil {
		t.Fatal(err)
	}
	before := encode(t, result.Objects)
	if err := Normalise(result.Objects); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, encode(t, result.Objects)); diff != "" {
		t.Errorf("changed: %s", diff)
	}
}

func TestWithoutCredentials(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://user:pw@host/o/r?token=x": "https://host/o/r",
		"https://host":                     "https://host",
		"https://u@p@host/x":               "https://host/x",
		"git@host:o/r.git":                 "git@host:o/r.git",
	} {
		if got := withoutCredentials(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
