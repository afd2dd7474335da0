// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/kustomizer/kustomizer/internal/object"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"

// field is a way for a kustomization to name a file, with the place of the name as %s.
func loaderFields() map[string]string {
	config := func(kind, rest string) string {
		return "apiVersion: builtin\n      kind: " + kind + "\n      metadata: {name: x}\n      " + rest
	}
	return map[string]string{
		"resources":                      "resources: [%s]",
		"resources in capitals":          "RESOURCES: [%s]",
		"bases":                          "bases: [%s]",
		"components":                     "components: [%s]",
		"crds":                           "crds: [%s]",
		"configurations":                 "configurations: [%s]",
		"openapi":                        "openapi: {path: %s}",
		"patches":                        "patches: [{path: %s}]",
		"patchesJson6902":                "patchesJson6902: [{path: %s, target: {kind: ConfigMap, version: v1, name: a}}]",
		"patchesStrategicMerge":          "patchesStrategicMerge: [%s]",
		"replacements":                   "replacements: [{path: %s}]",
		"generators":                     "generators: [%s]",
		"transformers":                   "transformers: [%s]",
		"validators":                     "validators: [%s]",
		"configMapGenerator files":       "configMapGenerator: [{name: x, files: [%s]}]",
		"configMapGenerator keyed files": "configMapGenerator: [{name: x, files: [\"k=\" + %s]}]",
		"configMapGenerator envs":        "configMapGenerator: [{name: x, envs: [%s]}]",
		"configMapGenerator env":         "configMapGenerator: [{name: x, env: %s}]",
		"secretGenerator files":          "secretGenerator: [{name: x, files: [%s]}]",
		"secretGenerator envs":           "secretGenerator: [{name: x, envs: [%s]}]",

		"inline patch transformer":       "transformers:\n    - |-\n      " + config("PatchTransformer", "path: %s"),
		"inline patch in odd letters":    "transformers:\n    - |-\n      " + config("PatchTransformer", "pAtH: %s"),
		"inline strategic merge":         "transformers:\n    - |-\n      " + config("PatchStrategicMergeTransformer", "pathſ: [%s]"),
		"inline JSON patch":              "transformers:\n    - |-\n      " + config("PatchJson6902Transformer", "{target: {kind: ConfigMap, name: a}, path: %s}"),
		"inline replacement transformer": "transformers:\n    - |-\n      " + config("ReplacementTransformer", "replacements: [{path: %s}]"),
		"inline generator":               "generators:\n    - |-\n      " + config("ConfigMapGenerator", "files: [%s]"),
		"inline secret generator":        "generators:\n    - |-\n      " + config("SecretGenerator", "envs: [%s]"),
		"inline validator":               "validators:\n    - |-\n      " + config("PatchTransformer", "path: %s"),
	}
}

// inFields writes a kustomization per field that names target there.
func inFields(t *testing.T, target string, check func(t *testing.T, kustomization string)) {
	t.Helper()
	for name, field := range loaderFields() {
		quoted := fmt.Sprintf("%q", target)
		if strings.Contains(field, `"k=" + %s`) {
			field, quoted = strings.ReplaceAll(field, `"k=" + %s`, "%s"), fmt.Sprintf("%q", "k="+target)
		}
		if strings.Contains(field, `, path: %s}`) && strings.Contains(field, "{target") && strings.Contains(field, "|-") {
			field = strings.Replace(strings.Replace(field, "{target: {kind: ConfigMap, name: a}, path: %s}", "path: %s", 1), "metadata:", "target: {kind: ConfigMap, name: a}\n      metadata:", 1)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := fmt.Sprintf(field, quoted)
			if !strings.HasPrefix(text, "resources") && !strings.HasPrefix(text, "RESOURCES") {
				text = "resources: [cm.yaml]\n" + text
			}
			check(t, text+"\n")
		})
	}
}

// No field of a kustomization makes the renderer ask anything of the network, whatever the spelling.
func TestTreeLoadsNothingRemote(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, configMap)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		if n := asked.Load(); n > 0 {
			t.Errorf("the network was asked %d times", n)
		}
	})
	host := strings.TrimPrefix(server.URL, "http://")
	for name, target := range map[string]string{
		"http":             server.URL + "/x.yaml",
		"capital scheme":   "HTTP://" + host + "/x.yaml",
		"with credentials": "http://me:hunter2@" + host + "/x.yaml",
		"looks like YAML":  server.URL + "/x?a={b}: c",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFields(t, target, func(t *testing.T, kustomization string) {
				err := renderError(t, map[string]string{"kustomization.yaml": kustomization, "cm.yaml": configMap})
				var remote *RemoteError
				if !errors.As(err, &remote) {
					t.Fatalf("got %v for\n%s", err, kustomization)
				}
				if remote.Line == 0 || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("no position, or the password: %v", err)
				}
			})
		})
	}
}

func TestTreeClonesNothing(t *testing.T) {
	t.Parallel()
	for _, target := range []string{
		"https://127.0.0.1:1/o/r", "https://127.0.0.1:1/o/r//x?ref=main", "git::https://127.0.0.1:1/o/r", "GIT::https://127.0.0.1:1/o/r",
		"ssh://git@127.0.0.1:1/o/r", "git@127.0.0.1:o/r.git", "u@127.0.0.1/o/r", "github.com/o/r", "GitHub.com/o/r?ref=x", "github.com:o/r",
		"g\u0130thub.com/o/r", "file:///etc", "FILE:///etc", "gh:o/r",
	} {
		for _, field := range []string{"resources", "bases", "components", "generators", "transformers", "validators"} {
			t.Run(field+" "+target, func(t *testing.T) {
				t.Parallel()
				files := map[string]string{"kustomization.yaml": fmt.Sprintf("%s: [%q]\n", field, target)}
				if filepath.IsLocal(target) && !strings.ContainsAny(target, ":?") {
					// A file of that name makes no difference to kustomize if it can't be read.
					files[target] = "a: b: c\n"
				}
				var remote *RemoteError
				if err := renderError(t, files); !errors.As(err, &remote) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// Nothing outside of the tree is read, and nothing of it is quoted.
func TestTreeReadsNothingOutside(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	for name, text := range map[string]string{
		"x.yaml": configMap + "data: {canary: hunter2}\n", "kustomization.yaml": "resources: [x.yaml]\nconfigMapGenerator: [{name: hunter2}]\n",
	} {
		if err := os.WriteFile(filepath.Join(outside, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	up := strings.Repeat("../", 20)
	for name, target := range map[string]string{
		"absolute file":            filepath.ToSlash(filepath.Join(outside, "x.yaml")),
		"absolute directory":       filepath.ToSlash(outside),
		"relative file":            up + strings.TrimPrefix(filepath.ToSlash(outside), "/") + "/x.yaml",
		"relative directory":       up + strings.TrimPrefix(filepath.ToSlash(outside), "/"),
		"one above":                "../x.yaml",
		"the tree's own root path": filepath.ToSlash(treeRoot()) + "/cm.yaml",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFields(t, target, func(t *testing.T, kustomization string) {
				result, err := Tree(t.Context(), Request{Root: treeOf(t, map[string]string{"kustomization.yaml": kustomization, "cm.yaml": configMap})})
				if err == nil && !strings.Contains(kustomization, "|-") {
					t.Fatalf("no error for\n%s", kustomization)
				}
				if err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error quotes what lies outside: %v", err)
				}
				if err == nil && strings.Contains(encode(t, result.Objects), "hunter2") {
					t.Errorf("the objects hold what lies outside")
				}
			})
		})
	}
}

func TestTreeRunsNeitherHelmNorPlugins(t *testing.T) {
	t.Parallel()
	for name, kustomization := range map[string]string{
		"helm charts":         "helmCharts: [{name: x, repo: http://127.0.0.1:1}]",
		"helm inflation":      "helmChartInflationGenerator: [{chartName: x, chartRepoUrl: http://127.0.0.1:1}]",
		"helm by generator":   "generators:\n- |-\n  {apiVersion: builtin, kind: HelmChartInflationGenerator, metadata: {name: x}, name: x}",
		"exec function":       "generators:\n- |-\n  {apiVersion: v1, kind: X, metadata: {name: x, annotations: {config.kubernetes.io/function: \"exec: {path: ./run.sh}\"}}}",
		"container function":  "transformers:\n- |-\n  {apiVersion: v1, kind: X, metadata: {name: x, annotations: {config.kubernetes.io/function: \"container: {image: x}\"}}}",
		"plugin by its group": "validators:\n- |-\n  {apiVersion: example.com/v1, kind: X, metadata: {name: x}}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := renderError(t, map[string]string{"kustomization.yaml": "resources: [cm.yaml]\n" + kustomization + "\n", "cm.yaml": configMap})
			var build *BuildError
			if !errors.As(err, &build) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A plugin's configuration may itself be rendered: only what comes out of that names the file.
func TestTreeSeesThroughRenderedPlugins(t *testing.T) {
	t.Parallel()
	err := renderError(t, map[string]string{
		"cm.yaml":                    configMap,
		"kustomization.yaml":         "resources: [cm.yaml]\ntransformers: [plugins]\n",
		"plugins/kustomization.yaml": "resources: [p.yaml]\npatches:\n- target: {kind: PatchTransformer}\n  patch: |-\n    - {op: add, path: /path, value: \"http://127.0.0.1:1/x\"}\n",
		"plugins/p.yaml":             "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\n",
	})
	var remote *RemoteError
	if !errors.As(err, &remote) || remote.Field != "transformers" {
		t.Errorf("got %v", err)
	}
	// A directory may look like inline YAML; it is looked at all the same.
	err = renderError(t, map[string]string{
		"cm.yaml":                 configMap,
		"kustomization.yaml":      "resources: [cm.yaml]\ntransformers: [\"a{b}\"]\n",
		"a{b}/kustomization.yaml": "resources: [\"https://127.0.0.1:1/o/r\"]\n",
	})
	if !errors.As(err, &remote) || remote.Field != "resources" {
		t.Errorf("got %v", err)
	}
}

func TestTreeRefusesLinks(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]string{"out of the tree": "/etc/hostname", "within the tree": "b.yaml"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := treeOf(t, map[string]string{"b.yaml": configMap})
			if err := os.Symlink(target, filepath.Join(dir, "a.yaml")); err != nil {
				t.Fatal(err)
			}
			_, err := Tree(t.Context(), Request{Root: dir})
			if err == nil || err.Error() != "a.yaml: neither a plain file nor a directory" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestPathStaysWithinTheTree(t *testing.T) {
	t.Parallel()
	dir := treeOf(t, map[string]string{"app/cm.yaml": configMap})
	for _, path := range []string{"app", "./app", "/app", "app/", "../../app", "app/../../../app"} {
		if _, err := Tree(t.Context(), Request{Root: dir, Path: path}); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	var missing *PathError
	if _, err := Tree(t.Context(), Request{Root: dir, Path: "../../../../etc"}); !errors.As(err, &missing) {
		t.Errorf("got %v", err)
	}
}

// Every field of a kustomization is either followed or known to name no file, so that a field that a
// later version of kustomize adds is not overlooked.
func TestEveryFieldOfAKustomizationIsConsidered(t *testing.T) {
	t.Parallel()
	followed := []string{
		"OpenAPI", "PatchesStrategicMerge", "PatchesJson6902", "Patches", "Replacements", "Resources", "Components", "Crds",
		"Bases", "ConfigMapGenerator", "SecretGenerator", "Configurations", "Generators", "Transformers", "Validators",
	}
	harmless := []string{
		"TypeMeta", "MetaData", "NamePrefix", "NameSuffix", "Namespace", "CommonLabels", "Labels", "CommonAnnotations", "Images",
		"ImageTags", "Replicas", "Vars", "SortOptions", "GeneratorOptions", "BuildMetadata",
		"HelmGlobals", "HelmCharts", "HelmChartInflationGenerator", // refused or without effect
	}
	known := map[string]bool{}
	for _, name := range append(followed, harmless...) {
		known[name] = true
	}
	var fields []string
	kind := reflect.TypeFor[types.Kustomization]()
	for i := range kind.NumField() {
		if !known[kind.Field(i).Name] {
			fields = append(fields, kind.Field(i).Name)
		}
	}
	if diff := cmp.Diff([]string(nil), fields); diff != "" {
		t.Errorf("fields that nobody has looked at:\n%s", diff)
	}
}

func TestSecretsStayOutOfMessages(t *testing.T) {
	t.Parallel()
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: hunter2hunter2}\n"
	for name, files := range map[string]map[string]string{
		"literal":        {"kustomization.yaml": "secretGenerator: [{name: x, literals: [hunter2hunter2]}]"},
		"env file":       {"kustomization.yaml": "secretGenerator: [{name: x, envs: [e]}]", "e": "hunter2hunter2\xff=b\n"},
		"inline patch":   {"kustomization.yaml": "resources: [cm.yaml]\npatches:\n- target: {kind: Secret}\n  patch: \"hunter2hunter2: [a]\"\n", "cm.yaml": configMap},
		"null in Secret": {"kustomization.yaml": "resources: [s.yaml]\n", "s.yaml": secret + "list: [a, null]\n"},
		"duplicate":      {"a.yaml": secret, "b.yaml": secret},
		"number":         {"a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: 22222222}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Tree(t.Context(), Request{Root: treeOf(t, files)})
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "22222222") || strings.Contains(err.Error(), "104 117")) {
				t.Errorf("the message quotes a secret: %v", err)
			}
		})
	}
}

func renderError(t *testing.T, files map[string]string) error {
	t.Helper()
	result, err := Tree(t.Context(), Request{Root: treeOf(t, files)})
	if err == nil {
		t.Fatalf("no error but\n%s", encode(t, result.Objects))
	}
	for _, e := range split(err) {
		switch e.(type) {
		case *RemoteError, *BuildError, *PathError, *object.SyntaxError:
		default:
			t.Errorf("an error of type %T: %v", e, e)
		}
	}
	return err
}
