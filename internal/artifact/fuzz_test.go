// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// FuzzExtract: whatever an archive holds, nothing is written beside its directory, nothing is left of what is
// refused, the limits hold, and unpacking in memory comes to the same as on disk.
func FuzzExtract(f *testing.F) {
	for _, c := range hostileArchives() {
		for _, seed := range []struct {
			layer     []byte
			mediaType string
		}{{c.hostile, c.mediaType}, {c.twin, c.twinType}} {
			if len(seed.layer) < 64<<10 {
				f.Add(seed.layer, seed.mediaType)
			}
		}
	}
	f.Fuzz(func(t *testing.T, layer []byte, mediaType string) {
		if mediaType == "" {
			mediaType = gzipType
		}
		parent := t.TempDir()
		out := filepath.Join(parent, "out")
		got, err := artifact.Extract(t.Context(), bytes.NewReader(layer), mediaType, out, limits())
		files, loaded, loadErr := artifact.Load(t.Context(), bytes.NewReader(layer), mediaType, limits())
		if err != nil {
			if left, readErr := os.ReadDir(parent); readErr != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, readErr)
			}
			if strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("the message has control characters: %q", err)
			}
			var refused *artifact.RefusedError
			if errors.As(err, &refused) && (loadErr == nil || loadErr.Error() != err.Error()) {
				t.Errorf("on disk: %v; in memory: %v", err, loadErr)
			}
			return
		}
		if loadErr != nil || got != loaded {
			t.Fatalf("on disk: %+v; in memory: %+v, %v", got, loaded, loadErr)
		}
		if got.Bytes > limits().Extracted || got.Files > limits().Entries {
			t.Errorf("more than the limits: %+v", got)
		}
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
			t.Errorf("written beside it: %v, %v", entries, err)
		}
		sameTree(t, os.DirFS(out), files)
	})
}

// sameTree compares the files of two trees, and sees that they are plain.
func sameTree(t *testing.T, disk, memory fs.FS) {
	t.Helper()
	list := func(tree fs.FS) map[string]string {
		out := map[string]string{}
		err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir():
				out[name] = "directory"
				return nil
			case !entry.Type().IsRegular():
				t.Errorf("%q is no plain file", name)
				return nil
			}
			content, err := fs.ReadFile(tree, name)
			out[name] = "file " + string(content)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return out
	}
	a, b := list(disk), list(memory)
	if len(a) != len(b) {
		t.Errorf("%d entries on disk, %d in memory", len(a), len(b))
	}
	for name, content := range a {
		if b[name] != content {
			t.Errorf("%q differs", name)
		}
	}
}

// FuzzParseReference: what is read is written the same and read again as the same, and its parts can't
// change the request that they become a part of.
func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{
		"oci://ghcr.io/org/app:1.0.0", "me/app", "oci://[::1]:5000/app:v1", "oci://ghcr.io/o/a@" + someDigest, "oci://ghcr.io/o/a:b@" + someDigest,
		"oci://ghcr.io/../x", "oci://a@b/c", "oci://ghcr.io:/me/app", "oci://gh cr.io/x", "oci://host/app?x=y#z", "oci://\x00/x", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		ref, err := artifact.ParseReference(given)
		if err != nil {
			return
		}
		again, err := artifact.ParseReference(ref.String())
		if err != nil || again != ref {
			t.Errorf("%q became %q, which is read as %v, %v", given, ref.String(), again, err)
		}
		repo := ref.Repository()
		if strings.ContainsAny(repo.Host(), "/@?# \t\r\n%\x00") || strings.ContainsAny(repo.Path(), "@?# \t\r\n%\\:\x00") {
			t.Errorf("%q has the host %q and the path %q", given, repo.Host(), repo.Path())
		}
		for part := range strings.SplitSeq(repo.Path(), "/") {
			if part == "" || part == "." || part == ".." {
				t.Errorf("%q has the path %q", given, repo.Path())
			}
		}
		if tag, ok := ref.Tag(); ok && artifact.CheckTagName(tag.Name()) != nil {
			t.Errorf("%q has the tag %q", given, tag.Name())
		}
	})
}

// FuzzParseManifest: what is accepted has only digests and sizes that later steps can rely on, whatever the
// choice of layer or child.
func FuzzParseManifest(f *testing.F) {
	layer := `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + someDigest + `","size":1}`
	for _, seed := range []string{
		`{"schemaVersion":2,"mediaType":"` + artifact.MediaTypeManifest + `","config":` + layer + `,"layers":[` + layer + `],"annotations":{"a":"b"}}`,
		`{"schemaVersion":2,"mediaType":"` + artifact.MediaTypeIndex + `","manifests":[` + strings.Replace(layer, `"size"`, `"platform":{"os":"linux","architecture":"amd64"},"size"`, 1) + `]}`,
		`{"schemaVersion":1}`, `{"schemaVersion":2,"schemaVersion":2}`, `[[[[`, `{"schemaVersion":2,"layers":[{"digest":"sha256:x","size":-1}]}`, `null`, ``,
	} {
		f.Add([]byte(seed), artifact.MediaTypeManifest)
		f.Add([]byte(seed), artifact.MediaTypeIndex)
		f.Add([]byte(seed), "")
	}
	f.Fuzz(func(t *testing.T, raw []byte, declared string) {
		m, err := artifact.ParseManifest(raw, declared)
		if err != nil {
			return
		}
		if declared != "" && m.MediaType != declared {
			t.Errorf("declared as %q, read as %q", declared, m.MediaType)
		}
		chosen, layerErr := m.Layer("")
		child, childErr := m.Child()
		for _, c := range []struct {
			descriptor artifact.Descriptor
			err        error
		}{{chosen, layerErr}, {child, childErr}} {
			if c.err != nil {
				continue
			}
			if _, err := artifact.ParseDigest(c.descriptor.Digest.String()); err != nil || c.descriptor.Size < 0 {
				t.Errorf("chosen: %+v, %v", c.descriptor, err)
			}
		}
	})
}
