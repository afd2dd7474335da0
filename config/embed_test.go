// SPDX-License-Identifier: Apache-2.0

package config

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestKustomizationsListAllFiles keeps what `kubectl kustomize config` prints equal to what is
// embedded.
func TestKustomizationsListAllFiles(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"crd", "rbac", "manager"} {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			raw, err := Files.ReadFile(path.Join(dir, "kustomization.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			var listed struct {
				Resources []string `json:"resources"`
			}
			if err := yaml.Unmarshal(raw, &listed); err != nil {
				t.Fatal(err)
			}
			entries, err := fs.ReadDir(Files, dir)
			if err != nil {
				t.Fatal(err)
			}
			var embedded []string
			for _, e := range entries {
				if e.Name() != "kustomization.yaml" {
					embedded = append(embedded, e.Name())
				}
			}
			slices.Sort(listed.Resources)
			if diff := cmp.Diff(embedded, listed.Resources); diff != "" {
				t.Errorf("resources of %s/kustomization.yaml (-embedded +listed):\n%s", dir, diff)
			}
		})
	}
}

// TestDefinitionsAreOfTheTypesInUse fails when a module of Flux's types was raised and `go generate`
// was not run: the definitions name the version that they were made from.
func TestDefinitionsAreOfTheTypesInUse(t *testing.T) {
	t.Parallel()
	gomod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(Files, "crd/*.toolkit.fluxcd.io_*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatalf("definitions: %q, %v", files, err)
	}
	for _, file := range files {
		raw, err := Files.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var definition struct {
			Metadata struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal(raw, &definition); err != nil {
			t.Fatal(err)
		}
		module, version, _ := strings.Cut(definition.Metadata.Annotations["kustomizer.dev/api"], "@")
		if module == "" || !strings.Contains(string(gomod), module+" "+version+"\n") && !strings.Contains(string(gomod), module+" "+version+" ") {
			t.Errorf("%s was made from %s %s, which is not what go.mod requires: run go generate ./...", file, module, version)
		}
	}
}
