// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/secrets"
)

// key is a key pair of age's.
type key struct {
	recipients *secrets.Recipients
	public     string
	keys       deploy.Keys
}

func newKey(t *testing.T) key {
	t.Helper()
	private, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipients, err := secrets.ReadRecipients([]string{private.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	identities := &secrets.Identities{}
	if err := identities.Add("test", []byte(private.String())); err != nil {
		t.Fatal(err)
	}
	return key{recipients, private.Recipient().String(), func(context.Context) (*secrets.Identities, error) { return identities, nil }}
}

const canary = "canary-of-the-plaintext"

func secretObject() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s", "namespace": "default"},
		"stringData": map[string]any{"password": canary},
	}}
}

func (p *place) publishEncrypted(t *testing.T, to *secrets.Recipients) deploy.Published {
	t.Helper()
	got, err := deploy.Publish(t.Context(), deploy.PublishRequest{
		Client: p.client, Tag: p.tag, Objects: []*unstructured.Unstructured{secretObject()}, Recipients: to,
		Metadata: artifact.Metadata{Revision: "main@sha1:abc", Annotations: map[string]string{artifact.AnnotationChecksum: "given"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// hints are what nobody without the key may see: the plaintext, names in it, and hashes of it.
func hints(t *testing.T) []string {
	t.Helper()
	yaml, err := object.EncodeYAML([]*unstructured.Unstructured{secretObject()})
	if err != nil {
		t.Fatal(err)
	}
	packed, err := artifact.PackYAML(yaml, artifact.Metadata{}, artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	layer, err := packed.Layers[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(layer)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return []string{canary, "all.yaml", artifact.DigestOf(yaml).Hex(), artifact.DigestOf(plain).Hex(), packed.Layers[0].Digest.Hex()}
}

func TestAnEncryptedArtifactTellsNothing(t *testing.T) {
	t.Parallel()
	p, k := newPlace(t), newKey(t)
	published := p.publishEncrypted(t, k.recipients)
	got, err := p.fetch(t, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		artifact.AnnotationVersion: "3", artifact.AnnotationRevision: "main@sha1:abc", artifact.AnnotationEncrypted: "age-encryption.org/v1",
	}
	if diff := cmp.Diff(want, got.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if got.Layer.MediaType != artifact.MediaTypeEncryptedLayer {
		t.Errorf("the layer is of type %s", got.Layer.MediaType)
	}
	raw, _, err := p.client.Manifest(t.Context(), published.Pinned)
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.ParseManifest(raw, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.client.PullBlob(t.Context(), p.tag.Repository(), *m.Config, p.store); err != nil {
		t.Fatal(err)
	}
	everything := string(raw)
	for _, blob := range []artifact.Descriptor{*m.Config, got.Layer} {
		everything += storedBlob(t, p, blob)
	}
	for _, hint := range hints(t) {
		if strings.Contains(everything, hint) {
			t.Errorf("the registry has %q", hint)
		}
	}
	if !strings.HasPrefix(storedBlob(t, p, got.Layer), "age-encryption.org/v1\n") {
		t.Error("the layer in the store is not as it came")
	}
}

func storedBlob(t *testing.T, p *place, d artifact.Descriptor) string {
	t.Helper()
	f, err := p.store.Open(t.Context(), d.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestAnEncryptedArtifactIsOpenedWithItsKeyOnly(t *testing.T) {
	t.Parallel()
	p, k := newPlace(t), newKey(t)
	p.publishEncrypted(t, k.recipients)
	p.opensWithItsKeyOnly(t, k)
}

// opensWithItsKeyOnly renders and pulls what is under the tag, with the key and without.
func (p *place) opensWithItsKeyOnly(t *testing.T, k key) {
	t.Helper()
	got, err := p.fetch(t, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		keys deploy.Keys
		want secrets.Failure
	}{"no key": {nil, secrets.NoIdentity}, "another key": {newKey(t).keys, secrets.WrongIdentity}} {
		var failed *secrets.DecryptError
		_, _, err := deploy.Render(t.Context(), p.store, got.Layer, deploy.View{Keys: c.keys}, p.work)
		if !errors.As(err, &failed) || failed.Failure != c.want {
			t.Errorf("rendered with %s: %v", name, err)
		}
		_, err = deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), Keys: c.keys})
		if !errors.As(err, &failed) || failed.Failure != c.want {
			t.Errorf("pulled with %s: %v", name, err)
		}
	}
	objs, empty, err := deploy.Render(t.Context(), p.store, got.Layer, deploy.View{Keys: k.keys}, p.work)
	if err != nil || len(objs) != 1 || empty != "" || object.Of(objs[0]).String() != "Secret/default/s" {
		t.Errorf("rendered with the key: %v, %q, %v", objs, empty, err)
	}
	out := filepath.Join(t.TempDir(), "out")
	pulled, err := deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), Keys: k.keys, Dir: out})
	if err != nil || len(pulled.Files) != 1 {
		t.Fatalf("pulled with the key: %v, %v", pulled.Files, err)
	}
	written, err := os.ReadFile(filepath.Join(out, "all.yaml"))
	if err != nil || !bytes.Contains(written, []byte(canary)) {
		t.Errorf("wrote %q, %v", written, err)
	}
	if left, err := os.ReadDir(p.work); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Kustomizer's own form: an archive of one file, encrypted as text, with a hash of what is in it.
func TestKustomizersEncryptedArtifactIsOpenedWithItsKeyOnly(t *testing.T) {
	t.Parallel()
	p, k := newPlace(t), newKey(t)
	yaml, err := object.EncodeYAML([]*unstructured.Unstructured{secretObject()})
	if err != nil {
		t.Fatal(err)
	}
	yaml = append(yaml, "---\n"...)
	var sealed bytes.Buffer
	text := armor.NewWriter(&sealed)
	w, err := k.recipients.Encrypt(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(yaml); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), text.Close()); err != nil {
		t.Fatal(err)
	}
	push := func(checksum string) {
		p.push(t, tarOf(t, "all.yaml.age", sealed.Bytes()), func(m *artifact.Manifest) {
			m.MediaType, m.Config.MediaType = artifact.MediaTypeDockerManifest, "application/vnd.docker.container.image.v1+json"
			m.Layers[0].MediaType = artifact.MediaTypeKustomizerLayer
			m.Annotations = map[string]string{
				artifact.AnnotationVersion: "2.2.1", artifact.AnnotationLegacyCreated: "2023-01-01T00:00:00Z",
				artifact.AnnotationEncrypted: "age-encryption.org/v1", artifact.AnnotationChecksum: checksum,
			}
		})
	}
	push(artifact.DigestOf(yaml).Hex())
	p.opensWithItsKeyOnly(t, k)

	push(artifact.DigestOf(nil).Hex())
	_, err = deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), Keys: k.keys})
	var wrong *deploy.ChecksumError
	if !errors.As(err, &wrong) {
		t.Errorf("with another checksum: %v", err)
	}
}

func tarOf(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A tree that is too large to be held in memory goes to the disk encrypted on its way out, and is unpacked in
// memory on its way in.
func TestAnEncryptedTreeNeverLiesOpen(t *testing.T) {
	t.Parallel()
	p, k := newPlace(t), newKey(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"kustomization.yaml": "resources: [a/s.yaml]\n", "a/s.yaml": yamlOf(t), "a/notes.txt": canary} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	incompressible := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(incompressible) // never fails
	if err := os.WriteFile(filepath.Join(dir, "a/noise"), incompressible, 0o600); err != nil {
		t.Fatal(err)
	}
	spool := t.TempDir()
	packed, _, err := artifact.PackTree(t.Context(), artifact.Tree{Dir: dir}, artifact.Metadata{}, artifact.PackOptions{Encrypt: k.recipients.Encrypt}, spool)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(spool)
	if err != nil || len(entries) != 1 {
		t.Fatalf("spooled %v, %v", entries, err)
	}
	spooled, err := os.ReadFile(filepath.Join(spool, entries[0].Name()))
	if err != nil || !bytes.HasPrefix(spooled, []byte("age-encryption.org/v1\n")) {
		t.Errorf("spooled %.40q, %v", spooled, err)
	}
	if _, err := p.client.Push(t.Context(), p.tag, packed); err != nil {
		t.Fatal(err)
	}
	got, err := p.fetch(t, "")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	watching := func(ctx context.Context) (*secrets.Identities, error) {
		seen++
		return k.keys(ctx)
	}
	// A work directory in which nothing can be made but empty directories would be noticed: Render has
	// to leave no plain file in it.
	stop := lookFor(t, p.work, canary)
	objs, _, err := deploy.Render(t.Context(), p.store, got.Layer, deploy.View{Keys: watching}, p.work)
	stop()
	if err != nil || len(objs) != 1 || seen != 1 {
		t.Errorf("rendered %v, %v; asked %d times for keys", objs, err, seen)
	}
	pulled, err := deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), Keys: k.keys, Dir: filepath.Join(t.TempDir(), "out")})
	if diff := cmp.Diff([]string{"a/noise", "a/notes.txt", "a/s.yaml", "kustomization.yaml"}, pulled.Files); diff != "" || err != nil {
		t.Errorf("pulled: %v\n%s", err, diff)
	}
}

func yamlOf(t *testing.T) string {
	t.Helper()
	yaml, err := object.EncodeYAML([]*unstructured.Unstructured{secretObject()})
	if err != nil {
		t.Fatal(err)
	}
	return string(yaml)
}

// lookFor looks through a directory again and again until it is stopped, for a file with a text in it.
func lookFor(t *testing.T, dir, text string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return nil
				}
				if raw, err := os.ReadFile(name); err == nil && bytes.Contains(raw, []byte(text)) {
					t.Errorf("%s holds the plaintext", name)
				}
				return nil
			})
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() { cancel(); <-done }
}

func TestADamagedEncryptedLayerIsRefusedWhole(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	p := newPlace(t)
	p.publishEncrypted(t, k.recipients)
	got, err := p.fetch(t, "")
	if err != nil {
		t.Fatal(err)
	}
	good := storedBlob(t, p, got.Layer)
	asEncrypted := func(m *artifact.Manifest) { m.Layers[0].MediaType = artifact.MediaTypeEncryptedLayer }
	for name, layer := range map[string]string{"cut": good[:len(good)-1], "more": good + "x", "changed": good[:len(good)-20] + "xxxx" + good[len(good)-16:]} {
		p.push(t, []byte(layer), asEncrypted)
		_, err := deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), Keys: k.keys})
		var failed *secrets.DecryptError
		if !errors.As(err, &failed) || failed.Failure != secrets.Damaged {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is in it is looked at as closely as what is not encrypted.
	var sealed bytes.Buffer
	w, err := k.recipients.Encrypt(&sealed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(tgz(t, tar.Header{Name: "../a.yaml", Typeflag: tar.TypeReg})); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p.push(t, sealed.Bytes(), asEncrypted)
	_, err = deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), Keys: k.keys})
	var refused *artifact.RefusedError
	if !errors.As(err, &refused) || refused.Reason != artifact.PathEscapes {
		t.Errorf("hostile inside: %v", err)
	}
}

func TestACopyOfAnEncryptedArtifactIsTheSame(t *testing.T) {
	t.Parallel()
	p, k := newPlace(t), newKey(t)
	published := p.publishEncrypted(t, k.recipients)
	layout := filepath.Join(t.TempDir(), "layout")
	request := deploy.CopyRequest{
		Client: p.client, From: deploy.CopyPlace{Reference: p.tag.Reference()}, To: deploy.CopyPlace{Layout: layout, Tag: "copy"},
	}
	got, err := deploy.CopyArtifact(t.Context(), request)
	if err != nil || got.Digest != published.Pinned.Digest() {
		t.Errorf("copied %s, %v", got.Digest, err)
	}
	err = filepath.WalkDir(layout, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(name)
		if bytes.Contains(raw, []byte(canary)) {
			t.Errorf("%s holds the plaintext", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// Which images it names can't be known without the key; to copy none of them would be wrong.
	request.Images = true
	_, err = deploy.CopyArtifact(t.Context(), request)
	var failed *secrets.DecryptError
	if !errors.As(err, &failed) {
		t.Errorf("with images, without the key: %v", err)
	}
	request.Keys = k.keys
	if _, err := deploy.CopyArtifact(t.Context(), request); err != nil {
		t.Errorf("with images, with the key: %v", err)
	}
}
