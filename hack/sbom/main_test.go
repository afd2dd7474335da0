// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAProgramIsTakenApart reads a program that is there already, this test; which modules are in it
// go test does not record.
func TestAProgramIsTakenApart(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sbom.json")
	if err := run([]string{self, "1.2.3", file}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc document
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	const own = "pkg:golang/github.com/kustomizer/kustomizer@1.2.3"
	if doc.Format != "CycloneDX" || doc.SpecVersion != "1.6" || doc.Metadata.Component.PURL != own || doc.Dependencies[0].Ref != own {
		t.Errorf("got %s %s of %s", doc.Format, doc.SpecVersion, doc.Metadata.Component.PURL)
	}
	if len(doc.Components) == 0 || doc.Components[0].Name != "std" {
		t.Errorf("the standard library is missing: %v", doc.Components)
	}
}

func TestModulesAreNamedByWhatIsBuilt(t *testing.T) {
	t.Parallel()
	got, err := describe(&debug.BuildInfo{
		GoVersion: "go1.26.1", Main: debug.Module{Path: "example.com/main"},
		Settings: []debug.BuildSetting{{Key: "GOOS", Value: "linux"}, {Key: "vcs", Value: "git"}},
		Deps: []*debug.Module{
			{Path: "example.com/a", Version: "v1.0.0", Sum: "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
			{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/new", Version: "v2.0.0+incompatible"}},
		},
	}, "1")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"pkg:golang/example.com/a@v1.0.0", "pkg:golang/example.com/new@v2.0.0%2Bincompatible", "pkg:golang/std@go1.26.1"}
	if diff := cmp.Diff(want, got.Dependencies[0].DependsOn); diff != "" {
		t.Error(diff)
	}
	sum := []hash{{"SHA-256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}
	if diff := cmp.Diff(sum, got.Components[0].Hashes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]property{{"go:GOOS", "linux"}}, got.Metadata.Component.Properties); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoGoProgramIsRefused(t *testing.T) {
	t.Parallel()
	if err := run([]string{"main.go", "1", filepath.Join(t.TempDir(), "x")}); err == nil {
		t.Error("a text file was described")
	}
}
