// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// goldenDigest is the digest of goldenPack on every machine. It may change only together with
// artifact.FormatVersion.
const goldenDigest = "sha256:b84242144881406aae8c1172c99f9a44eaceb75a2f84af528c4226536f0d8af5"

const printVariable = "KUSTOMIZER_TEST_PRINT_DIGEST"

// TestMain lets the test binary be run again, elsewhere, to print the golden digest.
func TestMain(m *testing.M) {
	if os.Getenv(printVariable) != "" {
		packed, err := goldenPack()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(packed.Digest)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func goldenPack() (*artifact.Packed, error) {
	var yaml strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&yaml, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-%d\ndata:\n  key: %q\n---\n", i, strings.Repeat("ab<&>ü", i%40))
	}
	return artifact.PackYAML([]byte(yaml.String()), artifact.Metadata{
		Created:  time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("somewhere", 9*60*60)),
		Source:   "https://example.com/org/repo?a=1&b=2",
		Revision: "main@sha1:0123456789abcdef0123456789abcdef01234567",
		Annotations: map[string]string{
			"example.com/b": "2", "example.com/a": "1", artifact.AnnotationVersion: "forged",
		},
	}, artifact.PackOptions{})
}

func TestTheGoldenDigestStaysTheSame(t *testing.T) {
	t.Parallel()
	packed, err := goldenPack()
	if err != nil {
		t.Fatal(err)
	}
	if packed.Digest != goldenDigest {
		t.Errorf("the digest is %s, not %s: what is pushed is no longer reproducible across versions", packed.Digest, goldenDigest)
	}
}

func TestTheDigestDoesNotDependOnTheSurroundings(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, environment := range map[string][]string{
		"Tokyo":      {"TZ=Asia/Tokyo", "LANG=tr_TR.UTF-8"},
		"Newfoundl":  {"TZ=America/St_Johns", "LANG=C"},
		"other user": {"TZ=UTC", "USER=nobody", "HOME=/nonexistent"},
		"one core":   {"GOMAXPROCS=1", "GOGC=10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := exec.CommandContext(t.Context(), self)
			command.Dir = t.TempDir()
			command.Env = append(environment, printVariable+"=1")
			out, err := command.Output()
			if err != nil {
				t.Fatal(err)
			}
			if string(out) != goldenDigest {
				t.Errorf("the digest is %s, not %s", out, goldenDigest)
			}
		})
	}
}

func TestAPackedLayerSaysNothingOfItsMaker(t *testing.T) {
	t.Parallel()
	packed, err := artifact.PackYAML([]byte("kind: A\n"), artifact.Metadata{}, artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := packed.Layers[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(blob)
	if err != nil {
		t.Fatal(err)
	}
	if zr.Name != "" || zr.OS != 255 || !zr.ModTime.IsZero() {
		t.Errorf("gzip header %+v", zr.Header)
	}
	tr := tar.NewReader(zr)
	h, err := tr.Next()
	if err != nil {
		t.Fatal(err)
	}
	got := []any{h.Name, h.Mode, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime.Unix(), h.Size}
	want := []any{"all.yaml", int64(0o644), 0, 0, "", "", int64(0), int64(8)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAPackedManifestHasTheFormatsAnnotations(t *testing.T) {
	t.Parallel()
	packed, err := artifact.PackYAML([]byte("kind: A\n"), artifact.Metadata{Source: "https://example.com"}, artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.ParseManifest(packed.Manifest, artifact.MediaTypeManifest)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		artifact.AnnotationVersion:  "3",
		artifact.AnnotationChecksum: artifact.DigestOf([]byte("kind: A\n")).Hex(),
		artifact.AnnotationSource:   "https://example.com",
	}
	if diff := cmp.Diff(want, m.Annotations); diff != "" {
		t.Error(diff)
	}
	layer, err := m.Layer("")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{m.Config.MediaType, layer.MediaType, layer.Annotations[artifact.AnnotationTitle]}
	if diff := cmp.Diff([]string{artifact.MediaTypeConfig, artifact.MediaTypeLayer, "artifact.tar.gz"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsPackedIsExtracted(t *testing.T) {
	t.Parallel()
	yaml := []byte("kind: A\n---\nkind: B\n")
	packed, err := artifact.PackYAML(yaml, artifact.Metadata{}, artifact.PackOptions{LayerMediaType: artifact.MediaTypeFluxLayer})
	if err != nil {
		t.Fatal(err)
	}
	layer := packed.Layers[0]
	blob, err := layer.Open()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(blob)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new", "tree")
	result, err := artifact.Extract(t.Context(), bytes.NewReader(content), layer.MediaType, dir, artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if result.Files != 1 || result.Bytes != int64(len(yaml)) {
		t.Errorf("extracted %+v", result)
	}
	got, err := os.ReadFile(filepath.Join(dir, artifact.YAMLFile))
	if err != nil || !bytes.Equal(got, yaml) {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestALayerMediaTypeThatIsNoArchiveIsRefused(t *testing.T) {
	t.Parallel()
	_, err := artifact.PackYAML(nil, artifact.Metadata{}, artifact.PackOptions{LayerMediaType: "text/plain"})
	if err == nil {
		t.Error("accepted")
	}
}

// Argo CD takes an artifact with exactly one layer of the types that its repo-server allows by default
// (--oci-layer-media-types), and refuses any other: also one that is encrypted.
func TestArgoCDTakesWhatIsPackedByDefault(t *testing.T) {
	t.Parallel()
	allowed := []string{
		"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
	}
	unsealed := func(w io.Writer) (io.WriteCloser, error) { return closing{w}, nil }
	for name, c := range map[string]struct {
		opts artifact.PackOptions
		want bool
	}{"default": {artifact.PackOptions{}, true}, "encrypted": {artifact.PackOptions{Encrypt: unsealed}, false}} {
		packed, err := artifact.PackYAML([]byte("kind: A\n"), artifact.Metadata{}, c.opts)
		if err != nil {
			t.Fatal(err)
		}
		if len(packed.Layers) != 1 || slices.Contains(allowed, packed.Layers[0].MediaType) != c.want {
			t.Errorf("%s: layers %v", name, packed.Layers)
		}
	}
}

type closing struct{ io.Writer }

func (closing) Close() error { return nil }
