// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

// CorpusVariable names the environment variable with the folder of the corpus.
const CorpusVariable = "KUSTOMIZER_CORPUS"

// Corpus returns the folder with manifests that others wrote: kube-prometheus, argo-cd and
// metrics-server. Tests read them where they lie, because they are not this project's to hand on. It
// is the folder that KUSTOMIZER_CORPUS names, which then has to be whole, else shared/corpus beside
// the working tree or beside a folder above it. Where there is none Corpus returns an empty string,
// and a test is left with what the project ships itself.
func Corpus(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv(CorpusVariable); dir != "" {
		for _, name := range []string{"kube-prometheus", "argo-cd", "metrics-server"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Fatalf("%s=%s: %v", CorpusVariable, dir, err)
			}
		}
		return dir
	}
	for dir := ModuleRoot(t); ; dir = filepath.Dir(dir) {
		corpus := filepath.Join(filepath.Dir(dir), "shared", "corpus")
		if _, err := os.Stat(filepath.Join(corpus, "kube-prometheus")); err == nil {
			return corpus
		}
		if filepath.Dir(dir) == dir {
			t.Logf("no corpus: %s is not set, and there is no shared/corpus beside a folder above", CorpusVariable)
			return ""
		}
	}
}

// ModuleRoot returns the folder of the project's go.mod.
func ModuleRoot(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}
