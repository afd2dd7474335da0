// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// source makes a sandbox folder with just what decides whether to build.
func source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for path, content := range map[string]string{
		"go.mod":                      "module x\n\nrequire k8s.io/kubernetes v1.36.3\n",
		"go.sum":                      "",
		"cmd/sandbox/main.go":         "package main\n",
		"cmd/controlplane/main.go":    "package main\n",
		"registry/go.mod":             "module y\n",
		"registry/go.sum":             "",
		"registry/main.go":            "package main\n",
		"kwok/go.mod":                 "module z\n",
		"kwok/go.sum":                 "",
		".build/unrelated":            "",
		"cmd/sandbox/assets/any.yaml": "",
	} {
		write(t, filepath.Join(dir, path), content)
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func staleNames(t *testing.T, dir string) []string {
	t.Helper()
	stale, err := staleTargets(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, target := range stale {
		names = append(names, target.name)
	}
	return names
}

func TestOnlyWhatChangedIsBuiltAgain(t *testing.T) {
	dir := source(t)
	all, err := targets(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range all {
		key, err := target.key(dir)
		if err != nil {
			t.Fatal(err)
		}
		write(t, binary(dir, target.name), "built")
		write(t, binary(dir, target.name+".key"), key)
	}
	if got := staleNames(t, dir); len(got) != 0 {
		t.Fatalf("unchanged, but stale: %v", got)
	}
	write(t, filepath.Join(dir, "registry", "main.go"), "package main // changed\n")
	if got := staleNames(t, dir); !slices.Equal(got, []string{"registry"}) {
		t.Errorf("after a change of the registry, stale: %v", got)
	}
	write(t, filepath.Join(dir, "go.mod"), "module x\n\nrequire k8s.io/kubernetes v1.37.0\n")
	if got := staleNames(t, dir); !slices.Equal(got, []string{"registry", "controlplane"}) {
		t.Errorf("after a change of go.mod, stale: %v", got)
	}
	if err := os.Remove(binary(dir, "kwok")); err != nil {
		t.Fatal(err)
	}
	if got := staleNames(t, dir); !slices.Contains(got, "kwok") {
		t.Errorf("with a missing binary, stale: %v", got)
	}
}
