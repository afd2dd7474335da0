// SPDX-License-Identifier: Apache-2.0

// Package internal_test keeps the shape of the project: which package may import which, where the
// heavy libraries are, and what every file and package must have. The rules are told in
// CONTRIBUTING.md.
package internal_test

import (
	"cmp"
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/kustomizer/kustomizer"

// levels says how high each package stands. A package imports what stands lower, never what
// stands beside or above it.
func levels() map[string]int {
	byLevel := [][]string{
		0: {"artifact", "object", "cause", "memory", "memory/early"},
		1: {"registry", "store", "secrets", "cluster", "health"},
		// cloud is a leaf below registry: the clouds' library brings a Kubernetes client, and cli alone hands it in.
		2: {"plan", "registry/cloud"},
		3: {"rehearse", "observe", "record"},
		4: {"trust", "render", "apply"},
		5: {"deploy"},
		6: {"report"},
		7: {"controller"},
		8: {"cli"},
	}
	out := map[string]int{}
	for level, names := range byLevel {
		for _, name := range names {
			out["internal/"+name] = level
		}
	}
	return out
}

// isTestkit says whether a package is for tests only.
func isTestkit(dir string) bool {
	return dir == "internal/testkit" || strings.HasPrefix(dir, "internal/testkit/")
}

// heavy names the few packages that may import each of the libraries that bring much with them.
// Kubernetes' types (k8s.io/api, k8s.io/apimachinery) are free.
func heavy() map[string][]string {
	return map[string][]string{
		"filippo.io/age":                         {"internal/secrets"},
		"github.com/docker/cli":                  {"internal/registry"},
		"github.com/fluxcd/cli-utils":            {"internal/health"},
		"github.com/fluxcd/pkg/auth":             {"internal/registry/cloud"},
		"github.com/getsops/sops":                {"internal/secrets"},
		"github.com/go-git/go-git":               {"internal/cli"},
		"github.com/google/go-containerregistry": {"internal/artifact", "internal/registry", "internal/trust", "hack/image", "hack/demo", "internal/testkit"},
		"github.com/notaryproject":               {"internal/trust", "internal/testkit/notation"},
		"github.com/prometheus/client_golang":    {"internal/controller"},
		"github.com/sigstore":                    {"internal/trust", "internal/testkit/sigstore"},
		"github.com/spf13/cobra":                 {"internal/cli", "hack/docgen"},
		"k8s.io/cli-runtime":                     {"internal/cli"},
		// The command line only loads kubeconfigs with it; every request goes through cluster.
		"k8s.io/client-go":                  {"internal/cluster", "internal/observe", "internal/controller", "internal/cli", "internal/testkit", "hack/demo"},
		"sigs.k8s.io/controller-runtime":    {"internal/cluster", "internal/observe", "internal/controller"},
		"sigs.k8s.io/kustomize":             {"internal/render"},
		"sigs.k8s.io/structured-merge-diff": {"internal/plan"},
	}
}

// clientless packages never see a Kubernetes client, not even by way of others: they work on
// values and on registries, so they can be used and tested without a cluster.
func clientless() []string {
	return []string{"artifact", "object", "cause", "registry", "store", "trust", "secrets", "render", "health", "plan"}
}

// pure packages see no registry and no network either, so that a model can explore the real code.
func pure() []string { return []string{"object", "cause", "health", "plan"} }

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	level := levels()
	for _, f := range projectFiles(t) {
		own, ok := level[f.dir]
		if !ok {
			if strings.HasPrefix(f.dir, "internal/") && !isTestkit(f.dir) {
				t.Errorf("%s: package %s has no level: give it one in internal/layers_test.go and CONTRIBUTING.md", f.path, f.dir)
			}
			continue
		}
		for _, imported := range f.imports {
			dir, ours := strings.CutPrefix(imported, module+"/")
			other, known := level[dir]
			switch {
			case !ours, f.test && (dir == f.dir || isTestkit(dir)):
			case dir == "config" && f.dir == "internal/deploy":
			case !known:
				t.Errorf("%s: %s must not import %s", f.path, f.dir, dir)
			case other >= own:
				t.Errorf("%s: %s (level %d) must not import %s (level %d): imports point down", f.path, f.dir, own, dir, other)
			}
		}
	}
}

func TestOnlyTestsImportTestkit(t *testing.T) {
	t.Parallel()
	for _, f := range projectFiles(t) {
		for _, imported := range f.imports {
			if dir, ours := strings.CutPrefix(imported, module+"/"); ours && isTestkit(dir) && !f.test {
				t.Errorf("%s: only tests may import testkit", f.path)
			}
		}
	}
}

func TestHeavyLibrariesAreImportedByFewPackages(t *testing.T) {
	t.Parallel()
	for _, f := range projectFiles(t) {
		for _, imported := range f.imports {
			for library, allowed := range heavy() {
				if (imported == library || strings.HasPrefix(imported, library+"/")) && !f.test && !slices.Contains(allowed, f.dir) {
					t.Errorf("%s: %s must not import %s: only %s may", f.path, f.dir, imported, strings.Join(allowed, ", "))
				}
			}
		}
	}
}

func TestPackagesWithoutACluster(t *testing.T) {
	t.Parallel()
	for _, name := range clientless() {
		if _, err := os.Stat(name); err != nil {
			continue // not built yet
		}
		forbid(t, name, "k8s.io/client-go", "sigs.k8s.io/controller-runtime")
	}
	for _, name := range pure() {
		forbid(t, name, "github.com/google/go-containerregistry")
	}
}

// forbid fails the test when a package depends on any of the libraries, directly or not, and names
// the imports that lead there.
func forbid(t *testing.T, name string, libraries ...string) {
	t.Helper()
	imports := dependencies(t, "./"+name)
	for _, library := range libraries {
		for dep := range imports {
			if dep == library || strings.HasPrefix(dep, library+"/") {
				t.Errorf("internal/%s must not depend on %s, but: %s", name, library, strings.Join(chain(imports, module+"/internal/"+name, dep), " → "))
				break
			}
		}
	}
}

// dependencies returns everything a package depends on, each with what it imports.
func dependencies(t *testing.T, pattern string) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports", pattern)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing what %s depends on: %v", pattern, err)
	}
	imports := map[string][]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		imports[p.ImportPath] = p.Imports
	}
	return imports
}

// chain finds the shortest way of imports between two packages.
func chain(imports map[string][]string, from, to string) []string {
	ways := [][]string{{from}}
	seen := map[string]bool{from: true}
	for len(ways) > 0 {
		way := ways[0]
		ways = ways[1:]
		last := way[len(way)-1]
		if last == to {
			return way
		}
		for _, next := range imports[last] {
			if !seen[next] {
				seen[next] = true
				ways = append(ways, append(slices.Clone(way), next))
			}
		}
	}
	return []string{from, "…", to}
}

func TestPurePackagesSeeNoNetwork(t *testing.T) {
	t.Parallel()
	for _, f := range projectFiles(t) {
		name := strings.TrimPrefix(f.dir, "internal/")
		for _, forbidden := range []string{"context", "net", "net/http", "os"} {
			if !f.test && slices.Contains(pure(), name) && slices.Contains(f.imports, forbidden) {
				t.Errorf("%s: %s only computes: it must not import %s", f.path, f.dir, forbidden)
			}
		}
	}
}

func TestNoProgramsAreRun(t *testing.T) {
	t.Parallel()
	for _, f := range projectFiles(t) {
		allowed := f.test || f.dir == "internal/testkit" || strings.HasPrefix(f.dir, "hack/")
		if !allowed && slices.Contains(f.imports, "os/exec") {
			t.Errorf("%s: the product runs no other programs", f.path)
		}
	}
}

func TestNoPackageIsNamedForNothing(t *testing.T) {
	t.Parallel()
	vague := []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "shared", "base", "lib"}
	for _, f := range goFiles(t) {
		if slices.Contains(vague, f.name) || slices.Contains(vague, path.Base(f.dir)) {
			t.Errorf("%s: a package is named for its job, not %q", f.path, f.name)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	comments := map[string]int{}
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		comments[f.dir] += 0
		if f.doc != "" {
			comments[f.dir]++
		}
	}
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("%s: %d of its files have a package comment, want one", dir, n)
		}
	}
}

func TestEveryFileNamesItsLicence(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		if !strings.HasPrefix(f.head, "// SPDX-License-Identifier: Apache-2.0\n") {
			t.Errorf("%s: its first line is not the SPDX header", f.path)
		}
	}
}

func TestRequirementsHaveReasons(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	previous, block := "", ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "replace") {
			t.Errorf("go.mod: the main module replaces nothing: %s", line)
		}
		switch {
		case strings.HasSuffix(line, "("):
			block = line
		case line == ")":
			block = ""
		case block == "require (" && line != "" && !strings.HasPrefix(line, "//") && !strings.Contains(line, "// indirect"):
			if !strings.Contains(line, "//") && !strings.HasPrefix(previous, "//") {
				t.Errorf("go.mod: %s has no comment that says why", line)
			}
		}
		previous = line
	}
}

// A goFile is what the rules look at of a Go file.
type goFile struct {
	path    string // from the repository's root, with slashes
	dir     string
	name    string // of its package
	test    bool
	nested  bool   // in a module of its own
	doc     string // package comment
	head    string // the file's beginning
	imports []string
}

// projectFiles returns the Go files of the main module.
func projectFiles(t *testing.T) []goFile {
	t.Helper()
	return slices.DeleteFunc(goFiles(t), func(f goFile) bool { return f.nested })
}

// goFiles parses all Go files of the repository, those of its nested modules too.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	root := os.DirFS("..")
	var out []goFile
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		f, err := parse(root, name)
		f.nested = nested(root, f.dir)
		out = append(out, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 100 {
		t.Fatalf("only %d Go files were found", len(out))
	}
	slices.SortFunc(out, func(a, b goFile) int { return cmp.Compare(a.path, b.path) })
	return out
}

// nested says whether a directory belongs to a module of its own.
func nested(root fs.FS, dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		if _, err := fs.Stat(root, path.Join(dir, "go.mod")); err == nil {
			return true
		}
	}
	return false
}

func parse(root fs.FS, name string) (goFile, error) {
	f := goFile{path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go")}
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return f, err
	}
	f.head = string(data[:min(len(data), 200)])
	parsed, err := parser.ParseFile(token.NewFileSet(), name, data, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return f, err
	}
	f.name, f.doc = parsed.Name.Name, parsed.Doc.Text()
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return f, err
		}
		f.imports = append(f.imports, imported)
	}
	return f, nil
}
