// SPDX-License-Identifier: Apache-2.0

//go:build unix

package artifact_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// goldenTree is the digest of a small tree. If it changes, so does the format: every artifact gets
// another digest, and every agent rolls out what it runs already.
const goldenTree = "sha256:e97533809763bbeafe38e28259c47941aa2dee24905c700350601ca755925da5"

func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func smallTree() map[string]string {
	return map[string]string{
		"app/deployment.yaml": "kind: Deployment\n", "app-config.yaml": "kind: ConfigMap\n", "app/sub/x.yaml": "x: 1\n",
	}
}

func packTree(t *testing.T, tree artifact.Tree) (*artifact.Packed, []string, error) {
	t.Helper()
	return artifact.PackTree(t.Context(), tree, artifact.Metadata{Created: time.Unix(1767323045, 0)}, artifact.PackOptions{}, t.TempDir())
}

func TestATreeHasTheSameDigestEverywhere(t *testing.T) {
	t.Parallel()
	for range 2 {
		dir := t.TempDir()
		writeTree(t, dir, smallTree())
		if err := errors.Join(
			os.Chtimes(filepath.Join(dir, "app"), time.Now(), time.Unix(-5, 0)),
			os.Chmod(filepath.Join(dir, "app-config.yaml"), 0o777), os.Mkdir(filepath.Join(dir, "empty"), 0o700)); err != nil {
			t.Fatal(err)
		}
		packed, files, err := packTree(t, artifact.Tree{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if packed.Digest != goldenTree {
			t.Errorf("digest %s, want %s", packed.Digest, goldenTree)
		}
		if diff := cmp.Diff([]string{"app-config.yaml", "app/deployment.yaml", "app/sub/x.yaml"}, files); diff != "" {
			t.Error(diff)
		}
	}
}

// TestATreeIsPackedInTheOrderOfItsPaths: also where directories have the beginning of others' names, and
// where they hold no file.
func TestATreeIsPackedInTheOrderOfItsPaths(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same trees each time
	names := []string{"a", "a-", "a-b", "a.b", "a0", "aa", "b", "a b", "a-b.c", "-", "a.b-"}
	for range 60 {
		dir := t.TempDir()
		want := map[string]bool{}
		for range 1 + random.IntN(25) {
			var parts []string
			for range 1 + random.IntN(4) {
				parts = append(parts, names[random.IntN(len(names))])
			}
			name := path.Join(parts...)
			if random.IntN(4) == 0 {
				_ = os.MkdirAll(filepath.Join(dir, filepath.FromSlash(name)), 0o755) // where a file is, it stays
				continue
			}
			if os.MkdirAll(filepath.Join(dir, filepath.FromSlash(path.Dir(name))), 0o755) != nil ||
				os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), nil, 0o600) != nil {
				continue // a file is where there should be a directory, or the other way round
			}
			for at := name; at != "."; at = path.Dir(at) {
				want[at] = true
			}
		}
		packed, files, err := packTree(t, artifact.Tree{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		got, gotFiles := namesInLayer(t, packed)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if diff := cmp.Diff(gotFiles, files, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("-packed +listed:\n%s", diff)
		}
	}
}

// namesInLayer lists the paths in a layer, in their order, and those of the files among them.
func namesInLayer(t *testing.T, packed *artifact.Packed) (all, files []string) {
	t.Helper()
	blob, err := packed.Layers[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	zr, err := gzip.NewReader(blob)
	if err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all, files
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimSuffix(h.Name, "/"))
		if h.Typeflag == tar.TypeReg {
			files = append(files, h.Name)
		}
	}
}

func TestPackingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeTree(t, dir, smallTree())
	ctx, cancel := context.WithCancel(t.Context())
	tree := artifact.Tree{Dir: dir, Ignored: func(at string, _ bool) (bool, error) {
		if at == "app/sub" {
			cancel()
		}
		return false, nil
	}}
	_, _, err := artifact.PackTree(ctx, tree, artifact.Metadata{}, artifact.PackOptions{}, t.TempDir())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestWhatIsWrongWithATreeIsToldFirst: a file that can't be packed does not hide what is wrong further on.
func TestWhatIsWrongWithATreeIsToldFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"a.yaml": "a", "b/c.yaml": "c"})
	if err := os.Symlink("a.yaml", filepath.Join(dir, "z.yaml")); err != nil {
		t.Fatal(err)
	}
	tree := artifact.Tree{Dir: dir, Ignored: func(at string, _ bool) (bool, error) {
		if at != "b" {
			return false, nil
		}
		return false, os.Remove(filepath.Join(dir, "a.yaml")) // it was listed, and maybe packed
	}}
	var refused *artifact.RefusedError
	if _, _, err := packTree(t, tree); !errors.As(err, &refused) || refused.Reason != artifact.SymlinkNotAllowed {
		t.Errorf("got %v", err)
	}
}

func TestAPackedTreeIsExtractedAsItWas(t *testing.T) {
	t.Parallel()
	source := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // content for a test
	large := make([]byte, 5<<20)
	for i := range large {
		large[i] = "abcdefgh\n"[source.IntN(9)]
	}
	files := smallTree()
	files["large.txt"] = string(large)
	files[strings.Repeat("long-name/", 20)+"x"] = "in a form that the oldest tar does not know"
	dir := t.TempDir()
	writeTree(t, dir, files)
	packed, _, err := packTree(t, artifact.Tree{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	layer, err := packed.Layers[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	raw, err := io.ReadAll(artifact.Verify(layer, packed.Layers[0].Descriptor))
	if err != nil {
		t.Fatal(err)
	}
	reference, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, reference); err != nil {
		t.Errorf("another decompressor: %v", err)
	}
	out := filepath.Join(t.TempDir(), "out")
	got, err := artifact.Extract(t.Context(), bytes.NewReader(raw), packed.Layers[0].MediaType, out, artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := artifact.ParseManifest(packed.Manifest, packed.MediaType)
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Annotations[artifact.AnnotationChecksum] != got.Checksum {
		t.Errorf("checksum %s, annotation %s", got.Checksum, manifest.Annotations[artifact.AnnotationChecksum])
	}
	for name, content := range files {
		if text, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(text) != content {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
}

func TestATreeThatCanNotBeReadIsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"a.yaml": "a", "B.yaml": "b", "b.yaml": "c", "big": strings.Repeat("x", 200)})
	if err := errors.Join(
		os.Symlink("a.yaml", filepath.Join(dir, "link.yaml")), os.Symlink("..", filepath.Join(dir, "up")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, _, err := packTree(t, artifact.Tree{Dir: dir, Limits: artifact.Limits{File: 100}})
	if err == nil {
		t.Fatal("packed")
	}
	for _, want := range []string{
		`PathCollides "b.yaml"`, `FileTooLarge "big"`, `SymlinkNotAllowed "link.yaml"`, `SymlinkNotAllowed "up"`, `DeviceNotAllowed "pipe"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestLinksAreResolvedWithinTheTreeOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"sub/a.yaml": "a"})
	if err := errors.Join(
		os.Symlink(filepath.Join("sub", "a.yaml"), filepath.Join(dir, "link.yaml")), os.Symlink("sub", filepath.Join(dir, "twin"))); err != nil {
		t.Fatal(err)
	}
	_, files, err := packTree(t, artifact.Tree{Dir: dir, ResolveSymlinks: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"link.yaml", "sub/a.yaml", "twin/a.yaml"}, files); diff != "" {
		t.Error(diff)
	}
	for name, target := range map[string]string{"out": "/etc/passwd", "gone": "nothing", "circle": "."} {
		link := filepath.Join(dir, name)
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		var refused *artifact.RefusedError
		if _, _, err := packTree(t, artifact.Tree{Dir: dir, ResolveSymlinks: true}); !errors.As(err, &refused) || refused.Reason != artifact.SymlinkNotAllowed {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
}

// TestALinkIntoAnotherDirectoryIsPackedAsACopy guards the way to files by the directory that they are in: a
// link may lead out of that one.
func TestALinkIntoAnotherDirectoryIsPackedAsACopy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ links, copies map[string]string }{
		"beside":         {map[string]string{"a/link": "../b/file"}, map[string]string{"a/link": "b"}},
		"up and down":    {map[string]string{"a/deep/link": "../../b/../b/file"}, map[string]string{"a/deep/link": "b"}},
		"to the top":     {map[string]string{"a/link": "../top"}, map[string]string{"a/link": "top"}},
		"from the top":   {map[string]string{"link": "b/file"}, map[string]string{"link": "b"}},
		"over a link":    {map[string]string{"a/link": "../c/link", "c/link": "../b/file"}, map[string]string{"a/link": "b", "c/link": "b"}},
		"within as well": {map[string]string{"a/link": "../b/file", "a/other": "z"}, map[string]string{"a/link": "b", "a/other": "z"}},
		"linked itself":  {map[string]string{"c": "b/sub", "b/sub/link": "../file"}, map[string]string{"b/sub/link": "b", "c/link": "b", "c/x": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			linked, plain := t.TempDir(), t.TempDir()
			for _, dir := range []string{linked, plain} {
				writeTree(t, dir, map[string]string{"a/z": "z", "b/file": "b", "b/sub/x": "x", "top": "top"})
			}
			for at, target := range c.links {
				full := filepath.Join(linked, at)
				if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.Symlink(target, full)); err != nil {
					t.Fatal(err)
				}
			}
			writeTree(t, plain, c.copies)
			got, files, err := packTree(t, artifact.Tree{Dir: linked, ResolveSymlinks: true})
			if err != nil {
				t.Fatal(err)
			}
			want, copied, err := packTree(t, artifact.Tree{Dir: plain})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(copied, files); diff != "" || got.Layers[0].Digest != want.Layers[0].Digest {
				t.Errorf("%s, want %s: %s", got.Layers[0].Digest, want.Layers[0].Digest, diff)
			}
		})
	}
}

func TestAFileThatCanNotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, _, err := packTree(t, artifact.Tree{Dir: dir, Only: "gone"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
