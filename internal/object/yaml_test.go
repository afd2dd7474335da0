// SPDX-License-Identifier: Apache-2.0

package object

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

const head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"

// lines returns ids with positions, and errors, one per line.
func lines(found []Located, err error) string {
	var b strings.Builder
	for _, l := range found {
		fmt.Fprintf(&b, "%s %s\n", l.Position, Of(l.Object))
	}
	for _, e := range flatten(err) {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}

func TestDecodeFindsObjectsAndMistakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"one object":              {head, "f:1:1 ConfigMap/a\n"},
		"nothing":                 {"", ""},
		"only comments":           {"# one\n# two\n", ""},
		"empty documents":         {"---\n---\n# x\n---\n" + head + "---\n", "f:5:1 ConfigMap/a\n"},
		"several documents":       {"# first\n" + head + "---\n" + head, "f:2:1 ConfigMap/a\nf:7:1 ConfigMap/a\n"},
		"document with namespace": {head + "  namespace: b\n", "f:1:1 ConfigMap/b/a\n"},
		"byte order mark":         {"\ufeff" + head, "f:1:1 ConfigMap/a\n"},
		"carriage returns":        {strings.ReplaceAll(head, "\n", "\r\n"), "f:1:1 ConfigMap/a\n"},
		"JSON":                    {"{\n\t\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"a\"}\n}\n", "f:1:1 ConfigMap/a\n"},
		"list":                    {"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n", "f:4:3 ConfigMap/a\nf:5:3 ConfigMap/b\n"},
		"list within a list":      {"kind: List\nitems:\n- kind: FooList\n  items:\n  - {apiVersion: v1, kind: Foo, metadata: {name: a}}\n", "f:5:5 Foo/a\n"},
		"empty list":              {"kind: List\nitems:\n", ""},
		"kind that ends in List":  {"apiVersion: x/v1\nkind: AllowList\nmetadata: {name: a}\n", "f:1:1 AllowList/a\n"},
		"anchors":                 {head + "data: &d {x: y}\nbinaryData: *d\n", "f:1:1 ConfigMap/a\n"},

		"tab":                     {"a: b\n\tc: d\n", "f:2:1: found a tab character that violates indentation while scanning a plain scalar\n"},
		"bad indentation":         {head + "   x: y\n", "f:5:5: mapping values are not allowed in this context\n"},
		"colon in a value":        {"a: b: c\n", "f:1:5: mapping values are not allowed in this context\n"},
		"open quote":              {"a: b\nc: \"x\nd: e\n", "f:2:4: found unexpected end of stream while scanning a quoted scalar\n"},
		"open bracket":            {"a: [1,\nb: 2\n", "f:1:4: did not find expected ',' or ']' while parsing a flow sequence\n"},
		"unknown anchor":          {head + "data: {p: *hunter2}\n", "f:5:11: an alias names an anchor that isn't set before it\n"},
		"alias of itself":         {head + "data: &x [*x]\n", "f:5:11: an alias stands for something that contains it\n"},
		"duplicate key":           {head + "data:\n  x: a\n  y: b\n  x: c\n", "f:8:3: key \"x\" is given twice, first in line 6\n"},
		"duplicate key in Secret": {"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  hunter2: a\n  hunter2: b\n", "f:6:3: a key is given twice, first in line 5\n"},
		"python tag":              {head + "data: !!python/object:os.system x\n", "f:5:7: tag !!python/object:os.system has no meaning in a Kubernetes object\n"},
		"control character":       {"a: b\nc: x\x01\n", "f:2:5: control character U+0001\n"},
		"not UTF-8":               {"a: b\nc: \xff\n", "f:2:4: not UTF-8\n"},
		"infinite number":         {head + "x: .inf\n", "f:5:4: a number that JSON can't express\n"},
		"list as a key":           {head + "? [a, b]\n: c\n", "f:5:3: a key must be a text\n"},
		"no kind":                 {"apiVersion: v1\nmetadata: {name: a}\n", "f:1:1: kind is missing or no text\n"},
		"no version":              {"kind: ConfigMap\nmetadata: {name: a}\n", "f:1:1: apiVersion is missing or no text\n"},
		"no metadata":             {"kind: ConfigMap\napiVersion: v1\n", "f:1:1: metadata is missing or no mapping\n"},
		"no name":                 {"kind: ConfigMap\napiVersion: v1\nmetadata:\n  labels: {}\n", "f:4:3: metadata.name is missing or no text\n"},
		"name is a number":        {"kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: 12\n", "f:4:9: metadata.name is missing or no text\n"},
		"namespace is a number":   {"kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: a\n  namespace: 12\n", "f:5:14: metadata.namespace is no text\n"},
		"generated name":          {"kind: ConfigMap\napiVersion: v1\nmetadata:\n  generateName: a-\n", "f:4:3: metadata.name is missing: an object with generateName alone can't be found again\n"},
		"values file":             {"image:\n  tag: x\n", "f:1:1: not a Kubernetes object: kind and apiVersion are missing\n"},
		"plain text":              {"hello\n", "f:1:1: not a Kubernetes object: the document is no mapping\n"},
		"kustomization":           {"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n", "f:1:1: a configuration of kustomize, not a Kubernetes object\n"},
		"nameless item":           {"kind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {labels: {}}}\n", "f:3:47: metadata.name is missing or no text\n"},
		"mistakes in two documents": {"a: b: c\n---\n" + head + "---\nx: [\n---\n" + head, "f:3:1 ConfigMap/a\nf:10:1 ConfigMap/a\n" +
			"f:1:5: mapping values are not allowed in this context\nf:9:1: did not find expected node content while parsing a flow node\n"},
		"several mistakes in one document": {head + "x: .nan\ny: .nan\n", "f:5:4: a number that JSON can't express\nf:6:4: a number that JSON can't express\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := lines(Decode([]byte(c.in), "f"))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDecodeBoundsDepthAliasesAndErrors(t *testing.T) {
	t.Parallel()
	nested := func(levels int) string {
		return head + "x: " + strings.Repeat("[", levels) + strings.Repeat("]", levels) + "\n"
	}
	// The document itself is the first level.
	if got := lines(Decode([]byte(nested(maxDepth-1)), "f")); got != "f:1:1 ConfigMap/a\n" {
		t.Errorf("at the depth limit: %s", got)
	}
	if got := lines(Decode([]byte(nested(maxDepth)), "f")); !strings.Contains(got, "nested deeper than 100 levels") {
		t.Errorf("beyond the depth limit: %s", got)
	}
	bomb := head + "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	if got := lines(Decode([]byte(bomb), "f")); !strings.Contains(got, "aliases enlarge the file more than 10 times") || strings.Count(got, "\n") != 1 {
		t.Errorf("alias bomb: %s", got)
	}
	many := strings.Repeat("a: b: c\n---\n", 30)
	if got := strings.Count(lines(Decode([]byte(many), "f")), "\n"); got != maxErrors {
		t.Errorf("%d errors reported, want %d", got, maxErrors)
	}
	big := append([]byte(head+"data: "), bytes.Repeat([]byte("x"), 10<<20)...)
	if _, err := Decode(big, "f"); err != nil {
		t.Errorf("a scalar of 10 MB: %v", err)
	}
	if _, err := Decode(make([]byte, maxFile+1), "f"); err == nil || err.Error() != "f: larger than 64 MiB" {
		t.Errorf("too large a file: %v", err)
	}
}

func TestErrorsNeverQuoteValues(t *testing.T) {
	t.Parallel()
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n"
	for name, body := range map[string]string{
		"alias":          "  p: *hunter2\n",
		"tag":            "  p: !!int hunter2\n",
		"float":          "  p: !!float hunter2\n",
		"bool":           "  p: !!bool hunter2\n",
		"binary":         "  p: !!binary hunter2\n",
		"open quote":     "  p: \"hunter2\n",
		"colon":          "  p: hunter2: x\n",
		"duplicate":      "  hunter2: a\n  hunter2: b\n",
		"indentation":    "  p: a\n   hunter2\n  hunter2\n",
		"percent":        "  p: %hunter2\n",
		"at sign":        "  p: @hunter2\n",
		"escape":         "  p: \"\\hunter2\"\n",
		"block":          "  p: |hunter2\n",
		"anchor":         "  p: &hunter2\n  q: &\n",
		"directive":      "---\n%hunter2\n",
		"document start": "x: y\nhunter2\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode([]byte(secret+body), "f")
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the value: %v", err)
			}
		})
	}
}

func TestIgnoreNotObjectsKeepsRealMistakes(t *testing.T) {
	t.Parallel()
	found, err := Decode([]byte("values: 1\n---\n"+head+"---\n- x\n"), "f")
	if err = IgnoreNotObjects(err); err != nil || len(found) != 1 {
		t.Errorf("got %d objects and %v, want one object and no error", len(found), err)
	}
	_, err = Decode([]byte("values: 1\n---\na: b: c\n"), "f")
	var syntax *SyntaxError
	if err = IgnoreNotObjects(err); !errors.As(err, &syntax) || syntax.Line != 3 {
		t.Errorf("got %v, want the mistake in line 3", err)
	}
}

func TestCheckSyntaxAcceptsWhatIsNoObject(t *testing.T) {
	t.Parallel()
	if err := CheckSyntax([]byte("- op: remove\n  path: /x\n"), "f"); err != nil {
		t.Error(err)
	}
	if err := CheckSyntax([]byte("- op: remove\n  op: x\n"), "f"); err == nil {
		t.Error("a duplicate key is accepted")
	}
}

// kubectlReads decodes one document in the way of kubectl and client-go.
func kubectlReads(doc string) (map[string]any, error) {
	raw, err := yaml.YAMLToJSON([]byte(doc))
	if err != nil {
		return nil, err
	}
	var m map[string]any
	err = utiljson.Unmarshal(raw, &m)
	return m, err
}

func TestDecodeReadsValuesAsKubectlDoes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"1", "-1", "0", "0644", "0o644", "0x1F", "0b101", "1_000", "9223372036854775807", "-9223372036854775808",
		"9223372036854775808", "18446744073709551615", "99999999999999999999", "1.5", "1.0", "-0.0", "1e3", "1e21", "1.5e-7", ".5", "5.",
		"true", "True", "TRUE", "yes", "Yes", "no", "on", "Off", "y", "n", "Y", "N", "\"yes\"", "'no'", "yess",
		"null", "~", "", "Null", "\"null\"", "2020-01-01", "2020-01-01T10:00:00Z", "12:30:45", "1:2", "1.2.3", "0.0.0.0/0", "<<", "=",
		"!!str 123", "!!str true", "!!str", "!!int \"12\"", "!!float 1", "!!binary aGVsbG8=", "\"\\u00e9\\n\"",
		"\"\\ud83d\\ude00\"", "|\n  a\n  b\n", ">-\n  a\n  b\n", "|2\n   a\n", "[a, 1, {b: c}]", "{}", "[]", "{1: a, true: b, no: c}", "+1", "+.5", "0x", "1e", "08", "0_1", "-", "é",
	} {
		doc := head + "x: " + text + "\n"
		want, wantErr := kubectlReads(doc)
		found, err := Decode([]byte(doc), "f")
		if wantErr != nil || err != nil {
			if (wantErr == nil) != (err == nil) {
				t.Errorf("%q: got error %v, kubectl's is %v", text, err, wantErr)
			}
			continue
		}
		if diff := cmp.Diff(want, found[0].Object.Object); diff != "" {
			t.Errorf("%q: -kubectl +got:\n%s", text, diff)
		}
	}
}

func TestDecodeMergesLikeKubectl(t *testing.T) {
	t.Parallel()
	doc := head + "base: &b {x: 1, y: {z: 2}}\nother: &o {x: 5, q: 6}\none: {<<: *b, x: 3}\ntwo:\n  <<: [*b, *o]\n  w: 1\n"
	want, err := kubectlReads(doc)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Decode([]byte(doc), "f")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, found[0].Object.Object); diff != "" {
		t.Errorf("-kubectl +got:\n%s", diff)
	}
}

func TestEncodeYAMLRoundTrips(t *testing.T) {
	t.Parallel()
	in := head + "data:\n  z: \"yes\"\n  a: \"1\"\nbig: 9007199254740993\nhalf: 0.5\n---\n" + head
	found, err := Decode([]byte(in), "f")
	if err != nil {
		t.Fatal(err)
	}
	objs := []*unstructured.Unstructured{found[0].Object, found[1].Object}
	text, err := EncodeYAML(objs)
	if err != nil {
		t.Fatal(err)
	}
	want := "apiVersion: v1\nbig: 9007199254740993\ndata:\n  a: \"1\"\n  z: \"yes\"\nhalf: 0.5\nkind: ConfigMap\nmetadata:\n  name: a\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	again, err := Decode(text, "f")
	if err != nil {
		t.Fatal(err)
	}
	for i := range again {
		if diff := cmp.Diff(objs[i].Object, again[i].Object.Object); diff != "" {
			t.Errorf("object %d changed: %s", i, diff)
		}
	}
}

// Manifests that others wrote, and the project's own, are read both ways.
func TestDecodeReadsTheCorpusAsKubectlDoes(t *testing.T) {
	t.Parallel()
	objects, enough := readFolderAsKubectl(t, filepath.Join(testkit.ModuleRoot(t), "examples")), 9
	if corpus := testkit.Corpus(t); corpus != "" {
		objects, enough = objects+readFolderAsKubectl(t, corpus), 200
	}
	if objects < enough {
		t.Errorf("only %d objects were compared", objects)
	}
}

// readFolderAsKubectl compares all manifests below a folder and returns how many objects they hold.
func readFolderAsKubectl(t *testing.T, folder string) int {
	t.Helper()
	objects := 0
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" || entry.Name() == "kustomization.yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			return nil
		}
		found, err := Decode(data, path)
		if IgnoreNotObjects(err) != nil {
			t.Error(err)
		}
		if err != nil {
			return nil // a patch or a configuration
		}
		objects += len(found)
		compareWithKubectl(t, path, data, found)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func compareWithKubectl(t *testing.T, path string, data []byte, found []Located) {
	t.Helper()
	i := 0
	for _, doc := range strings.Split("\n"+string(data), "\n---") {
		read, err := kubectlReads(doc)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		objects, listed := read["items"].([]any)
		if !listed && read["kind"] != nil {
			objects = []any{read}
		}
		for _, want := range objects {
			if i >= len(found) {
				t.Fatalf("%s: kubectl reads more than %d objects", path, i)
			}
			if diff := cmp.Diff(want, any(found[i].Object.Object)); diff != "" {
				t.Errorf("%s: object %d: -kubectl +got:\n%s", path, i, diff)
			}
			i++
		}
	}
}
