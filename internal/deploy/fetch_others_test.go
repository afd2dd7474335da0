// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
)

func plainTar(t *testing.T) []byte {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(tgz(t, tar.Header{Name: "a.yaml", Typeflag: tar.TypeReg, Mode: 0o600, Size: 5})))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func zstdOf(t *testing.T, content []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(content, nil)
}

// TestLayersAreReadByTheirDeclaredType takes what Flux, Argo CD and oras push or accept, in each packing,
// and refuses the same bytes under the name of another.
func TestLayersAreReadByTheirDeclaredType(t *testing.T) {
	t.Parallel()
	plain := plainTar(t)
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	if _, err := zw.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{"tar": plain, "gzip": zipped.Bytes(), "zstd": zstdOf(t, plain)}
	for mediaType, packed := range map[string]string{
		"application/vnd.oci.image.layer.v1.tar":              "tar",
		"application/vnd.oci.image.layer.v1.tar+gzip":         "gzip",
		"application/vnd.oci.image.layer.v1.tar+zstd":         "zstd",
		"application/vnd.cncf.helm.chart.content.v1.tar+gzip": "gzip",
		"application/vnd.cncf.flux.content.v1.tar+gzip":       "gzip",
		"application/vnd.docker.image.rootfs.diff.tar.gzip":   "gzip",
		"application/vnd.docker.image.rootfs.diff.tar.zstd":   "zstd",
		"application/vnd.acme.config.tar+gzip":                "gzip",
	} {
		for actual, layer := range content {
			t.Run(mediaType+" with "+actual, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				p.push(t, layer, func(m *artifact.Manifest) { m.Layers[0].MediaType = mediaType })
				got, err := deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference()})
				var refused *artifact.RefusedError
				switch {
				case actual == packed && (err != nil || string(got.YAML) != "xxxxx"):
					t.Errorf("got %q, %v", got.YAML, err)
				case actual != packed && !errors.As(err, &refused):
					t.Errorf("accepted, or refused otherwise: %v", err)
				}
			})
		}
	}
}

func TestTheLayerThatIsAnArchiveIsTaken(t *testing.T) {
	t.Parallel()
	blob := func(mediaType string, content []byte) artifact.Blob {
		return artifact.Blob{
			Descriptor: artifact.Descriptor{MediaType: mediaType, Digest: artifact.DigestOf(content), Size: int64(len(content))},
			Open:       artifact.BytesOpener(content),
		}
	}
	config, readme := blob("application/vnd.oci.empty.v1+json", []byte("{}")), blob("text/markdown", []byte("# About"))
	first := blob(artifact.MediaTypeLayer, tgz(t, tar.Header{Name: "a.yaml", Typeflag: tar.TypeReg, Size: 1}))
	second := blob("application/vnd.acme.other.tar+gzip", tgz(t, tar.Header{Name: "b.yaml", Typeflag: tar.TypeReg, Size: 2}))
	p := newPlace(t)
	d := p.pushManifest(t, p.tag, artifact.Manifest{
		SchemaVersion: 2, MediaType: artifact.MediaTypeManifest, ArtifactType: "application/vnd.acme.config", Config: &config.Descriptor,
		Layers: []artifact.Descriptor{readme.Descriptor, first.Descriptor, second.Descriptor},
	}, config, readme, first, second)
	for name, c := range map[string]struct{ mediaType, want string }{
		"by default": {"", "x"}, "by its type": {"application/vnd.acme.other.tar+gzip", "xx"},
	} {
		got, err := deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), LayerMediaType: c.mediaType})
		if err != nil || string(got.YAML) != c.want {
			t.Errorf("%s: %q, %v", name, got.YAML, err)
		}
	}
	var missing *artifact.LayerError
	_, err := deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference(), LayerMediaType: "text/html"})
	if !errors.As(err, &missing) {
		t.Errorf("a layer that is not there: %v", err)
	}

	// An index of one manifest without a platform, as oras makes it, stands for that manifest.
	p.pushManifest(t, p.tag, artifact.Manifest{SchemaVersion: 2, MediaType: artifact.MediaTypeIndex, Manifests: []artifact.Descriptor{d}}, config)
	got, err := deploy.PullArtifact(t.Context(), deploy.PullRequest{Client: p.client, Reference: p.tag.Reference()})
	if err != nil || string(got.YAML) != "x" {
		t.Errorf("by way of an index: %q, %v", got.YAML, err)
	}
}
