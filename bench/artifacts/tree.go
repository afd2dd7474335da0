// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// writeTree writes manifests that look like those people have, the same ones each time, and returns
// how many files there are: Deployments with probes and resources, settings, and certificates,
// which don't compress.
func writeTree(dir string, size int) (files int, err error) {
	source := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same tree each time
	for written := 0; written < size; files++ {
		text := manifests(source, files)
		name := filepath.Join(dir, fmt.Sprintf("team-%02d", files/100), fmt.Sprintf("app-%05d.yaml", files))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return 0, err
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return 0, err
		}
		written += len(text)
	}
	return files, nil
}

func manifests(source *rand.Rand, n int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-%d\n  namespace: team-%d\n  labels:\n    app.kubernetes.io/name: app-%d\n", n, n/100, n)
	b.WriteString("spec:\n  template:\n    spec:\n      containers:\n")
	for c := range 4 {
		fmt.Fprintf(&b, "      - name: container-%d\n        image: registry.example.com/team-%d/app-%d:%d.%d.%d\n", c, n/100, n, source.IntN(9), source.IntN(30), source.IntN(100))
		fmt.Fprintf(&b, "        resources:\n          limits:\n            cpu: %dm\n            memory: %dMi\n", 50*(1+source.IntN(40)), 64*(1+source.IntN(60)))
		fmt.Fprintf(&b, "        readinessProbe:\n          httpGet:\n            path: /healthz/%x\n            port: %d\n          periodSeconds: %d\n", source.Uint32(), 1024+source.IntN(60000), 1+source.IntN(60))
	}
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings-%d\n  namespace: team-%d\ndata:\n", n, n/100)
	words := []string{"timeout", "cache", "replicas", "endpoint", "retry", "verbose", "region", "bucket", "feature", "limit", "queue", "token", "window", "secure"}
	for range 120 {
		fmt.Fprintf(&b, "  %s.%s.%s: \"%s-%d\"\n", words[source.IntN(len(words))], words[source.IntN(len(words))], words[source.IntN(len(words))], words[source.IntN(len(words))], source.IntN(100000))
	}
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: certificate-%d\n  namespace: team-%d\ndata:\n  tls.crt: ", n, n/100)
	for range 160 {
		fmt.Fprintf(&b, "%016x", source.Uint64())
	}
	b.WriteString("\n")
	return b.Bytes()
}

// digestOfTree is the same for the same files with the same content.
func digestOfTree(dir string) (string, error) {
	all := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		one := sha256.New()
		if _, err := io.Copy(one, f); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		fmt.Fprintf(all, "%s %x\n", filepath.ToSlash(name), one.Sum(nil))
		return err
	})
	return hex.EncodeToString(all.Sum(nil)), err
}
