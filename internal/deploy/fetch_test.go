// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/store"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// place is an empty registry, a client of it, and an empty store.
type place struct {
	reg    *testkit.MemoryRegistry
	client *registry.Client
	store  *store.Store
	dir    string // of the store
	work   string
	tag    artifact.Tag
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{reg: testkit.MemRegistry(t), dir: t.TempDir(), work: t.TempDir()}
	var err error
	if p.client, err = registry.New(registry.Options{Pause: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.Close)
	if p.store, err = store.Open(p.dir, 0); err != nil {
		t.Fatal(err)
	}
	if p.tag, err = artifact.ParseTag(p.reg.Host + "/org/app:latest"); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) fetch(t *testing.T, known string) (deploy.Fetched, error) {
	t.Helper()
	got, err := deploy.Fetch(t.Context(), deploy.FetchRequest{
		Client: p.client, Store: p.store, Reference: p.tag.Reference(), Known: known, WorkDir: p.work,
	})
	if left, readErr := os.ReadDir(p.work); readErr != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, readErr)
	}
	return got, err
}

// since lists the requests of a function.
func (p *place) since(do func()) []string {
	before := len(p.reg.Requests())
	do()
	out := []string{}
	for _, r := range p.reg.Requests()[before:] {
		out = append(out, r.Method+" "+strings.Split(strings.TrimPrefix(r.Path, "/v2/org/app/"), "/")[0])
	}
	return out
}

func configMap(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "default"},
	}}
}

func (p *place) publish(t *testing.T, names ...string) deploy.Published {
	t.Helper()
	objs := []*unstructured.Unstructured{}
	for _, name := range names {
		objs = append(objs, configMap(name))
	}
	got, err := deploy.Publish(t.Context(), deploy.PublishRequest{
		Client: p.client, Tag: p.tag, Objects: objs, AllowEmpty: true,
		Metadata: artifact.Metadata{Source: "https://example.com", Revision: "main@sha1:abc"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// push puts an artifact together by hand.
func (p *place) push(t *testing.T, layer []byte, change func(*artifact.Manifest)) {
	t.Helper()
	blob := func(mediaType string, content []byte) artifact.Blob {
		return artifact.Blob{
			Descriptor: artifact.Descriptor{MediaType: mediaType, Digest: artifact.DigestOf(content), Size: int64(len(content))},
			Open:       artifact.BytesOpener(content),
		}
	}
	config, content := blob(artifact.MediaTypeConfig, []byte("{}")), blob(artifact.MediaTypeLayer, layer)
	m := artifact.Manifest{
		SchemaVersion: 2, MediaType: artifact.MediaTypeManifest, Config: &config.Descriptor, Layers: []artifact.Descriptor{content.Descriptor},
	}
	if change != nil {
		change(&m)
	}
	p.pushManifest(t, p.tag, m, config, content)
}

func (p *place) pushManifest(t *testing.T, tag artifact.Tag, m artifact.Manifest, config artifact.Blob, layers ...artifact.Blob) artifact.Descriptor {
	t.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	packed := &artifact.Packed{Digest: artifact.DigestOf(raw), MediaType: m.MediaType, Manifest: raw, Config: config, Layers: layers}
	if _, err := p.client.Push(t.Context(), tag, packed); err != nil {
		t.Fatal(err)
	}
	return artifact.Descriptor{MediaType: m.MediaType, Digest: packed.Digest, Size: int64(len(raw))}
}

func tgz(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, h := range headers {
		content := strings.Repeat("x", int(h.Size))
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsPublishedIsFetched(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	published := p.publish(t, "a", "b")
	got, err := p.fetch(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if got.Pinned != published.Pinned || got.Revision != "latest@"+published.Pinned.Digest().String() || got.Unchanged {
		t.Errorf("fetched %+v", got)
	}
	if got.Annotations[artifact.AnnotationRevision] != "main@sha1:abc" || got.Annotations[artifact.AnnotationSource] != "https://example.com" {
		t.Errorf("annotations %v", got.Annotations)
	}
	dir := filepath.Join(t.TempDir(), "tree")
	if err := deploy.OpenTree(t.Context(), p.store, got.Layer, dir); err != nil {
		t.Fatal(err)
	}
	yaml, err := os.ReadFile(filepath.Join(dir, artifact.YAMLFile))
	if err != nil || strings.Count(string(yaml), "kind: ConfigMap") != 2 {
		t.Errorf("read %q, %v", yaml, err)
	}
}

func TestATagThatHasNotMovedCostsOneRequest(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.publish(t, "a")
	first, err := p.fetch(t, "")
	if err != nil {
		t.Fatal(err)
	}
	requests := p.since(func() {
		again, err := p.fetch(t, first.Revision)
		if err != nil || !again.Unchanged || again.Revision != first.Revision {
			t.Errorf("fetched %+v, %v", again, err)
		}
	})
	if diff := cmp.Diff([]string{"HEAD manifests"}, requests); diff != "" {
		t.Error(diff)
	}
	p.publish(t, "b")
	if moved, err := p.fetch(t, first.Revision); err != nil || moved.Unchanged || moved.Revision == first.Revision {
		t.Errorf("fetched %+v, %v", moved, err)
	}
}

func TestADigestThatIsKnownCostsNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	pinned := p.publish(t, "a").Pinned
	req := deploy.FetchRequest{Client: p.client, Store: p.store, Reference: pinned.Reference(), WorkDir: p.work}
	got, err := deploy.Fetch(t.Context(), req)
	if err != nil || got.Revision != pinned.Digest().String() {
		t.Fatalf("fetched %+v, %v", got, err)
	}
	req.Known = got.Revision
	requests := p.since(func() {
		if got, err := deploy.Fetch(t.Context(), req); err != nil || !got.Unchanged {
			t.Errorf("fetched %+v, %v", got, err)
		}
	})
	if len(requests) != 0 {
		t.Errorf("requests %v", requests)
	}
}

func TestALayerThatIsStoredIsNotPulledAgain(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.publish(t, "a")
	got, err := p.fetch(t, "")
	if err != nil {
		t.Fatal(err)
	}
	requests := p.since(func() {
		if _, err := p.fetch(t, ""); err != nil {
			t.Error(err)
		}
	})
	if diff := cmp.Diff([]string{"HEAD manifests", "GET manifests"}, requests); diff != "" {
		t.Error(diff)
	}
	file := filepath.Join(p.dir, "sha256", got.Layer.Digest.Hex())
	if err := os.WriteFile(file, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	requests = p.since(func() {
		if _, err := p.fetch(t, ""); err != nil {
			t.Error(err)
		}
	})
	if diff := cmp.Diff([]string{"HEAD manifests", "GET manifests", "GET blobs"}, requests); diff != "" {
		t.Errorf("a damaged layer is not pulled again: %s", diff)
	}
}

func TestHostileArtifactsAreRefusedWhenFetched(t *testing.T) {
	t.Parallel()
	good := tar.Header{Name: "a.yaml", Typeflag: tar.TypeReg, Mode: 0o644}
	for name, c := range map[string]struct {
		layer  []byte
		change func(*artifact.Manifest)
		want   artifact.Reason
	}{
		"symlink":   {layer: tgz(t, good, tar.Header{Name: "b.yaml", Typeflag: tar.TypeSymlink, Linkname: "a.yaml"}), want: artifact.SymlinkNotAllowed},
		"hard link": {layer: tgz(t, good, tar.Header{Name: "b.yaml", Typeflag: tar.TypeLink, Linkname: "a.yaml"}), want: artifact.HardLinkNotAllowed},
		"truncated": {layer: tgz(t, good)[:20], want: artifact.Truncated},
		"escapes":   {layer: tgz(t, tar.Header{Name: "../a.yaml", Typeflag: tar.TypeReg}), want: artifact.PathEscapes},
		"encrypted file among others": {
			layer: tgz(t, good, tar.Header{Name: "all.yaml.age", Typeflag: tar.TypeReg, Size: 10}), want: artifact.Encrypted,
		},
		"encrypted, by its annotation": {
			layer: tgz(t, good), want: artifact.Encrypted,
			change: func(m *artifact.Manifest) {
				m.Annotations = map[string]string{artifact.AnnotationEncrypted: "age-encryption.org/v1"}
			},
		},
		"encrypted, by its media type": {
			layer: tgz(t, good), want: artifact.NotAge,
			change: func(m *artifact.Manifest) { m.Layers[0].MediaType = artifact.MediaTypeEncryptedLayer },
		},
		"larger than what is pulled": {
			layer: tgz(t, good), want: artifact.TooLarge,
			change: func(m *artifact.Manifest) { m.Layers[0].Size = 1 << 40 },
		},
		"no archive": {
			layer: []byte("{}"), want: artifact.MediaTypeNotAccepted,
			change: func(m *artifact.Manifest) { m.Layers[0].MediaType = "application/json" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.push(t, c.layer, c.change)
			for range 2 { // the second time it may be in the store
				_, err := p.fetch(t, "")
				var refused *artifact.RefusedError
				if !errors.As(err, &refused) || refused.Reason != c.want {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}
			p.push(t, tgz(t, good), nil)
			if _, err := p.fetch(t, ""); err != nil {
				t.Errorf("the benign twin is refused: %v", err)
			}
		})
	}
}

func TestArtifactsOfOthersAreFetched(t *testing.T) {
	t.Parallel()
	layer := tgz(t, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "./a.yaml", Typeflag: tar.TypeReg, Mode: 0o600, Size: 5})
	for name, change := range map[string]func(*artifact.Manifest){
		"Flux": func(m *artifact.Manifest) { m.Layers[0].MediaType = artifact.MediaTypeFluxLayer },
		"Kustomizer 2": func(m *artifact.Manifest) {
			m.MediaType, m.Layers[0].MediaType = artifact.MediaTypeDockerManifest, artifact.MediaTypeKustomizerLayer
			m.Annotations = map[string]string{artifact.AnnotationVersion: "2.2.1"}
		},
		"oras": func(m *artifact.Manifest) { m.Config.MediaType = "application/vnd.oci.empty.v1+json" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.push(t, layer, change)
			if _, err := p.fetch(t, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAFormatOfTheFutureIsNotFetched(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.push(t, tgz(t), func(m *artifact.Manifest) { m.Annotations = map[string]string{artifact.AnnotationVersion: "4"} })
	_, err := p.fetch(t, "")
	var format *artifact.FormatError
	if !errors.As(err, &format) {
		t.Errorf("got %v", err)
	}
}

func TestAnIndexStandsForItsLinuxChild(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.publish(t, "a")
	direct, err := p.fetch(t, "")
	if err != nil {
		t.Fatal(err)
	}
	raw, mediaType, err := p.client.Manifest(t.Context(), direct.Pinned)
	if err != nil {
		t.Fatal(err)
	}
	child := artifact.Descriptor{MediaType: mediaType, Digest: direct.Pinned.Digest(), Size: int64(len(raw))}
	config := artifact.Blob{Descriptor: artifact.Descriptor{Digest: artifact.DigestOf(nil)}, Open: artifact.BytesOpener(nil)}
	index := func(platform *artifact.Platform) string {
		child.Platform = platform
		d := p.pushManifest(t, p.tag, artifact.Manifest{
			SchemaVersion: 2, MediaType: artifact.MediaTypeIndex, Manifests: []artifact.Descriptor{child},
		}, config)
		return "latest@" + d.Digest.String()
	}
	revision := index(&artifact.Platform{OS: "linux", Architecture: "amd64"})
	got, err := p.fetch(t, "")
	if err != nil || got.Layer.Digest != direct.Layer.Digest || got.Revision != revision {
		t.Errorf("fetched %+v, %v", got, err)
	}
	index(&artifact.Platform{OS: "linux", Architecture: "arm64"})
	_, err = p.fetch(t, "")
	var platform *artifact.PlatformError
	if !errors.As(err, &platform) {
		t.Errorf("got %v", err)
	}
}

func TestPublishingSaysWhatItMoved(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	one := p.publish(t, "a")
	if !one.Sent || len(one.Tags) != 1 || one.Tags[0].Previous != "" {
		t.Errorf("published %+v", one)
	}
	again := p.publish(t, "a")
	if again.Sent || again.Tags[0].Moved() || again.Pinned != one.Pinned {
		t.Errorf("published %+v", again)
	}
	two := p.publish(t, "b")
	if !two.Sent || !two.Tags[0].Moved() || two.Tags[0].Previous != one.Pinned.Digest() {
		t.Errorf("published %+v", two)
	}
	tagged, err := deploy.TagArtifact(t.Context(), deploy.TagRequest{Client: p.client, Reference: p.tag.Reference(), Names: []string{"stable", "1.0.0"}})
	if err != nil || len(tagged) != 2 || tagged[0].Pinned != two.Pinned || tagged[1].Tag.Name() != "1.0.0" {
		t.Errorf("tagged %+v, %v", tagged, err)
	}
}

func TestNothingIsNotPublishedByMistake(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	_, err := deploy.Publish(t.Context(), deploy.PublishRequest{Client: p.client, Tag: p.tag})
	var empty *deploy.EmptyArtifactError
	if !errors.As(err, &empty) || len(p.reg.Requests()) != 0 {
		t.Errorf("got %v after %d requests", err, len(p.reg.Requests()))
	}
	p.publish(t)
	if got, err := p.fetch(t, ""); err != nil || got.Layer.Size == 0 {
		t.Errorf("fetched %+v, %v", got, err)
	}
}

func TestPullingComparesTheChecksum(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.publish(t, "a")
	dir := filepath.Join(t.TempDir(), "out")
	if _, err := deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), Dir: dir}); err != nil {
		t.Fatal(err)
	}
	got, err := deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference()})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, artifact.YAMLFile))
	if err != nil || !bytes.Equal(file, got.YAML) || len(file) == 0 {
		t.Errorf("read %q, %v", file, err)
	}
	layer := tgz(t, tar.Header{Name: artifact.YAMLFile, Typeflag: tar.TypeReg, Size: 5})
	p.push(t, layer, func(m *artifact.Manifest) {
		m.Annotations = map[string]string{artifact.AnnotationChecksum: artifact.DigestOf(nil).Hex()}
	})
	none := filepath.Join(t.TempDir(), "none")
	_, err = deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), Dir: none})
	var checksum *deploy.ChecksumError
	if !errors.As(err, &checksum) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was unpacked all the same: %v", err)
	}
}

func TestPullingATreeJoinsItsYAML(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.push(t, tgz(t,
		tar.Header{Name: "b/two.yml", Typeflag: tar.TypeReg, Size: 2},
		tar.Header{Name: "a.yaml", Typeflag: tar.TypeReg, Size: 1},
		tar.Header{Name: "README.md", Typeflag: tar.TypeReg, Size: 3}), nil)
	got, err := deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), Dir: ""})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("x\n---\nxx", string(got.YAML)); diff != "" {
		t.Error(diff)
	}
}

func TestFetchingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.publish(t, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := deploy.Fetch(ctx, deploy.FetchRequest{Client: p.client, Store: p.store, Reference: p.tag.Reference(), WorkDir: p.work})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
