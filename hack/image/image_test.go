// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestLayerIsReproducible(t *testing.T) {
	t.Parallel()
	first, err := newLayer([]byte("a binary"), time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	second, err := newLayer([]byte("a binary"), time.Unix(0, 0).In(time.FixedZone("elsewhere", 3600)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mustHash(t, first.DiffID), mustHash(t, second.DiffID)); diff != "" {
		t.Errorf("the same input gave another archive (-first +second):\n%s", diff)
	}
	if diff := cmp.Diff(mustHash(t, first.Digest), mustHash(t, second.Digest)); diff != "" {
		t.Errorf("the same input gave another layer (-first +second):\n%s", diff)
	}
}

func mustHash(t *testing.T, hash func() (v1.Hash, error)) v1.Hash {
	t.Helper()
	h, err := hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestLayerHoldsWhatTheBinaryNeeds(t *testing.T) {
	t.Parallel()
	layer, err := newLayer([]byte("a binary"), time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	modes, bodies := read(t, layer)
	want := map[string]int64{
		"etc/": 0o755, "etc/group": 0o644, "etc/passwd": 0o644, "etc/ssl/": 0o755, "etc/ssl/certs/": 0o755,
		rootsPath: 0o644, "tmp/": 0o1777, "usr/": 0o755, "usr/local/": 0o755, "usr/local/bin/": 0o755, binaryPath: 0o755,
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("entries and modes (-want +got):\n%s", diff)
	}
	if got := bodies[binaryPath]; got != "a binary" {
		t.Errorf("binary is %q", got)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM([]byte(bodies[rootsPath])) {
		t.Error("the CA roots are not certificates")
	}
	if n := strings.Count(bodies[rootsPath], "BEGIN CERTIFICATE"); n < 100 {
		t.Errorf("%d CA roots, want at least 100", n)
	}
	if !strings.Contains(bodies["etc/passwd"], "nonroot:x:65532:65532:") {
		t.Error("passwd doesn't name the user")
	}
}

// read returns the modes and contents of a layer's entries, each of which has to belong to root.
func read(t *testing.T, layer v1.Layer) (map[string]int64, map[string]string) {
	t.Helper()
	rc, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	modes, bodies := map[string]int64{}, map[string]string{}
	archive := tar.NewReader(rc)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return modes, bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: uid %d, gid %d, time %s", header.Name, header.Uid, header.Gid, header.ModTime)
		}
		body, err := io.ReadAll(io.LimitReader(archive, 16<<20))
		if err != nil {
			t.Fatal(err)
		}
		modes[header.Name], bodies[header.Name] = header.Mode, string(body)
	}
}

func TestImageRunsTheBinaryAsNonRoot(t *testing.T) {
	t.Parallel()
	req := request{version: "1.2.3", revision: "abc", created: time.Unix(0, 0).UTC()}
	img, err := newImage([]byte("a binary"), &v1.Platform{OS: "linux", Architecture: "arm64"}, req)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		User:       "65532:65532",
		Entrypoint: []string{"/usr/local/bin/kustomizer"},
		Env:        []string{"PATH=/usr/local/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		WorkingDir: "/tmp",
		Labels:     labels(req),
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if config.OS != "linux" || config.Architecture != "arm64" || len(config.RootFS.DiffIDs) != 1 {
		t.Errorf("platform %s/%s with %d layers", config.OS, config.Architecture, len(config.RootFS.DiffIDs))
	}
}

// fake is a program small enough to be compiled in a test.
const fake = `package main

var version = "unknown"

func main() { println(version) }
`

// TestRunPublishesBothPlatformsUnderOneDigest compiles, pushes and writes twice: the registry, the
// layout and a second run from elsewhere agree on the digest.
func TestRunPublishesBothPlatformsUnderOneDigest(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New())
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/team/kustomizer:1.2.3"

	out := t.TempDir()
	args := []string{"--package", fakePackage(t), "--version", "1.2.3", "--revision", "abc"}
	printed := runTool(t, append(args, "--push", ref, "--output", out)...)
	again := runTool(t, append(args, "--package", fakePackage(t), "--output", t.TempDir())...)

	repo, digest, found := strings.Cut(printed, "@")
	if !found || repo != strings.TrimSuffix(ref, ":1.2.3") {
		t.Fatalf("printed %q, want the reference by digest", printed)
	}
	if digest != again {
		t.Errorf("a second run gave %s, the first %s", again, digest)
	}
	index := pulled(t, ref)
	if got := mustHash(t, index.Digest).String(); got != digest {
		t.Errorf("the registry has %s, printed was %s", got, digest)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	stored, err := layout.ImageIndexFromPath(out)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := stored.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(listed.Manifests) != 1 || listed.Manifests[0].Digest.String() != digest {
		t.Errorf("the layout lists %v, want %s", listed.Manifests, digest)
	}
	runPulled(t, index)
}

// fakePackage writes the fake program into a module of its own and returns its file.
func fakePackage(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(fake), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func runTool(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), args, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

func pulled(t *testing.T, ref string) v1.ImageIndex {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(parsed, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// runPulled runs the binary that came out of the registry, where the machine can.
func runPulled(t *testing.T, index v1.ImageIndex) {
	t.Helper()
	if runtime.GOOS != "linux" || (runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64") {
		t.Logf("no image for %s/%s to run", runtime.GOOS, runtime.GOARCH)
		return
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifest.Manifests {
		if m.Platform.Architecture != runtime.GOARCH {
			continue
		}
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if got := runLayer(t, img); got != "1.2.3" {
			t.Errorf("the image's binary says version %q", got)
		}
	}
}

func runLayer(t *testing.T, img v1.Image) string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	_, bodies := read(t, layers[0])
	file := filepath.Join(t.TempDir(), "kustomizer")
	if err := os.WriteFile(file, []byte(bodies[binaryPath]), 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), file).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestRunRefusesFlagsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"nowhere to put the image":           {},
		"no such flag":                       {"--pull", "x"},
		"a platform without an architecture": {"--output", "x", "--platform", "linux"},
		"a reference that is none":           {"--push", "not a reference"},
		"an argument":                        {"--output", "x", "y"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
				t.Error("accepted")
			}
		})
	}
}
