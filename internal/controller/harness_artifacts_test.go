// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// entry is one entry of an archive.
type entry struct {
	tar.Header
	content string
}

// files turns contents by path into the entries of an archive.
func files(contents map[string]string) []entry {
	var out []entry
	for _, path := range slices.Sorted(maps.Keys(contents)) {
		out = append(out, entry{tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644}, contents[path]})
	}
	return out
}

// push publishes a tree of files under a tag and returns the artifact's revision as sources show it.
func (a *arena) push(t *testing.T, name, tag string, contents map[string]string) string {
	t.Helper()
	return a.pushLayer(t, name, tag, archive(t, files(contents)))
}

// pushLayer publishes whatever bytes as the layer of an artifact.
func (a *arena) pushLayer(t *testing.T, name, tag string, layer []byte) string {
	t.Helper()
	client, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	at, err := artifact.ParseTag(a.repositories.Repository(name) + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	packed := pack(t, layer)
	if _, err := client.Push(t.Context(), at, packed); err != nil {
		t.Fatalf("publishing %s: %v", at, err)
	}
	return tag + "@" + packed.Digest.String()
}

func pack(t *testing.T, layer []byte) *artifact.Packed {
	t.Helper()
	config, content := blob(artifact.MediaTypeConfig, []byte("{}")), blob(artifact.MediaTypeLayer, layer)
	manifest, err := json.Marshal(artifact.Manifest{
		SchemaVersion: 2, MediaType: artifact.MediaTypeManifest,
		Config: &config.Descriptor, Layers: []artifact.Descriptor{content.Descriptor},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &artifact.Packed{
		Digest: artifact.DigestOf(manifest), MediaType: artifact.MediaTypeManifest, Manifest: manifest,
		Config: config, Layers: []artifact.Blob{content},
	}
}

func blob(mediaType string, content []byte) artifact.Blob {
	return artifact.Blob{
		Descriptor: artifact.Descriptor{MediaType: mediaType, Digest: artifact.DigestOf(content), Size: int64(len(content))},
		Open:       artifact.BytesOpener(content),
	}
}

// archive makes a compressed archive of entries.
func archive(t *testing.T, entries []entry) []byte {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	w := tar.NewWriter(compressed)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), compressed.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
