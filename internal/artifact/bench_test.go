// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// manyConfigMaps is the YAML of a set as large as most get.
func manyConfigMaps() []byte {
	var b bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings-%d\n  namespace: shop\ndata:\n  colour: \"#%06x\"\n---\n", i, i*7919)
	}
	return b.Bytes()
}

func BenchmarkPack(b *testing.B) {
	yaml := manyConfigMaps()
	b.SetBytes(int64(len(yaml)))
	for b.Loop() {
		if _, err := artifact.PackYAML(yaml, artifact.Metadata{}, artifact.PackOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExtract(b *testing.B) {
	yaml := manyConfigMaps()
	packed, err := artifact.PackYAML(yaml, artifact.Metadata{}, artifact.PackOptions{})
	if err != nil {
		b.Fatal(err)
	}
	layer := packed.Layers[0]
	opened, err := layer.Open()
	if err != nil {
		b.Fatal(err)
	}
	content, err := io.ReadAll(opened)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	b.SetBytes(int64(len(yaml)))
	n := 0
	for b.Loop() {
		n++
		to := filepath.Join(dir, strconv.Itoa(n))
		if _, err := artifact.Extract(b.Context(), bytes.NewReader(content), layer.MediaType, to, artifact.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPackTree packs ten megabytes in a thousand small files, as bench/artifacts pushes them.
func BenchmarkPackTree(b *testing.B) {
	dir, source := b.TempDir(), rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same tree each time
	for i := range 1000 {
		sub := filepath.Join(dir, "dir-"+strconv.Itoa(i/20))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		var content []byte
		for line := range 300 {
			content = fmt.Appendf(content, "settings-%d: \"#%x\"\n", line, source.Uint64())
		}
		if err := os.WriteFile(filepath.Join(sub, "file-"+strconv.Itoa(i)+".yaml"), content, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	spool := b.TempDir()
	b.SetBytes(10 << 20)
	b.ReportAllocs()
	for b.Loop() {
		packed, _, err := artifact.PackTree(b.Context(), artifact.Tree{Dir: dir}, artifact.Metadata{}, artifact.PackOptions{}, spool)
		if err != nil {
			b.Fatal(err)
		}
		if packed.Digest == "" {
			b.Fatal("no digest")
		}
	}
}
