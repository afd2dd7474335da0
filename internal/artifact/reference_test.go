// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestReferencesAreRead(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"oci://ghcr.io/org/app:1.0.0":             "ghcr.io/org/app:1.0.0",
		"ghcr.io/org/app":                         "ghcr.io/org/app",
		"oci://me/app:latest":                     "docker.io/me/app:latest",
		"oci://app":                               "docker.io/library/app",
		"oci://docker.io/me/app":                  "docker.io/me/app",
		"oci://index.docker.io/me/app":            "docker.io/me/app",
		"oci://localhost/app:1":                   "localhost/app:1",
		"oci://localhost:5000/a/b/c":              "localhost:5000/a/b/c",
		"oci://127.0.0.1:5000/app:v1":             "127.0.0.1:5000/app:v1",
		"oci://[::1]:5000/app:v1":                 "[::1]:5000/app:v1",
		"oci://GHCR.io/org/app":                   "ghcr.io/org/app",
		"oci://ghcr.io/o/a@" + someDigest:         "ghcr.io/o/a@" + someDigest,
		"oci://r.example/a-b/c_d/e__f/g.h---i:_x": "r.example/a-b/c_d/e__f/g.h---i:_x",
	} {
		t.Run(given, func(t *testing.T) {
			t.Parallel()
			ref, err := artifact.ParseReference(given)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, ref.String()); diff != "" {
				t.Error(diff)
			}
			again, err := artifact.ParseURL(ref.URL())
			if err != nil || again != ref {
				t.Errorf("%s read again is %v, %v", ref.URL(), again, err)
			}
		})
	}
}

func TestReferencesAreRefusedWithTheirReason(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"":                               "names no repository",
		"oci://":                         "names no repository",
		"oci://ghcr.io/":                 "names a registry but no repository",
		"oci:///app":                     "is not a host name",
		"oci://ghcr.io/Org/app":          "upper-case letters",
		"oci://Me/app":                   "upper-case letters",
		"oci://ghcr.io:/me/app":          `the port ""`,
		"oci://ghcr.io:port/me/app":      `the port "port"`,
		"oci://ghcr.io:70000/me/app":     `the port "70000"`,
		"oci://ghcr.io/me//app":          "empty part",
		"oci://ghcr.io/me/../app":        `part ".."`,
		"oci://ghcr.io/me/app:":          "tag is empty",
		"oci://ghcr.io/me/app:a b":       "must be letters",
		"oci://ghcr.io/me/app:-x":        "begin with",
		"oci://me/app:1@" + someDigest:   "both a tag and a digest",
		"oci://me/app@sha256:abc":        "has 3 hexadecimal digits",
		"oci://me/app@md5:abc":           "not supported",
		"oci://me/app@":                  "want sha256",
		"https://ghcr.io/me/app":         "the scheme https://",
		"docker://ghcr.io/me/app":        "the scheme docker://",
		"oci://[::1/app":                 "brackets",
		"oci://exa_mple.com/app":         "not a host name",
		"oci://me/app?x=y":               "separated by",
		"oci://jane:canary@ghcr.io/app":  "must not hold credentials",
		"oci://me/" + long('a', 300):     "more than 255",
		"oci://me/app:" + long('1', 129): "more than 128",
	} {
		t.Run(given, func(t *testing.T) {
			t.Parallel()
			_, err := artifact.ParseReference(given)
			var bad *artifact.ReferenceError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

func long(c byte, n int) string { return strings.Repeat(string(c), n) }

func TestKindsOfReferencesAreToldApart(t *testing.T) {
	t.Parallel()
	if _, err := artifact.ParseURL("ghcr.io/me/app:1"); err == nil || !strings.Contains(err.Error(), "must begin with oci://") {
		t.Errorf("no scheme: %v", err)
	}
	if _, err := artifact.ParseTag("oci://me/app"); err == nil {
		t.Error("a repository was taken for a tag")
	}
	if _, err := artifact.ParsePinned("oci://me/app:1"); err == nil {
		t.Error("a tag was taken for a digest")
	}
	if _, err := artifact.ParseRepository("oci://me/app:1"); err == nil {
		t.Error("a tag was taken for a repository")
	}
	tag, err := artifact.ParseTag("me/app:1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	pinned := tag.Repository().At(someDigest)
	got := []string{tag.String(), tag.URL(), tag.Name(), pinned.String(), pinned.URL(), pinned.Digest().Short()}
	want := []string{
		"docker.io/me/app:1.0.0", "oci://docker.io/me/app:1.0.0", "1.0.0",
		"docker.io/me/app@" + someDigest, "oci://docker.io/me/app@" + someDigest, "sha256:e3b0c44298fc",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestManifestsAreCheckedBeforeUse(t *testing.T) {
	t.Parallel()
	layer := `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + someDigest + `","size":1}`
	good := `{"schemaVersion":2,"mediaType":"` + artifact.MediaTypeManifest + `","config":` + layer + `,"layers":[` + layer + `]}`
	if _, err := artifact.ParseManifest([]byte(good), artifact.MediaTypeManifest); err != nil {
		t.Fatalf("the benign twin is refused: %v", err)
	}
	replace := func(old, replacement string) string { return strings.Replace(good, old, replacement, 1) }
	for name, c := range map[string]struct{ raw, want string }{
		"not JSON":             {"<html>", "not valid JSON"},
		"other schema":         {replace(`"schemaVersion":2`, `"schemaVersion":1`), "schema version 1"},
		"duplicate key":        {replace(`"schemaVersion":2`, `"schemaVersion":2,"schemaVersion":2`), "ambiguous"},
		"other media type":     {replace(artifact.MediaTypeManifest, artifact.MediaTypeDockerManifest), "the registry says"},
		"bad digest":           {replace(someDigest, "sha256:xyz"), "hexadecimal digits"},
		"negative size":        {replace(`"size":1`, `"size":-1`), "the size -1"},
		"index in a manifest":  {replace(`"layers"`, `"manifests":[`+layer+`],"layers"`), "as an index does"},
		"too many layers":      {replace(`"layers":[`, `"layers":[`+strings.Repeat(layer+",", 1000)), "more than 1000"},
		"larger than is read":  {good + strings.Repeat(" ", artifact.MaxManifestBytes), "more than 4194304"},
		"deeply nested":        {strings.Repeat("[", 200_000), "not valid JSON"},
		"trailing second JSON": {good + good, "not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := artifact.ParseManifest([]byte(c.raw), artifact.MediaTypeManifest)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestManifestsListEntriesUpToALimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mediaType, key string
		limit          int
	}{
		"layers":    {artifact.MediaTypeManifest, "layers", 1000},
		"manifests": {artifact.MediaTypeIndex, "manifests", 10_000},
	} {
		entry := `{"mediaType":"x","digest":"` + someDigest + `","size":1}`
		for _, n := range []int{c.limit - 1, c.limit, c.limit + 1} {
			raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,%q:[%s]}`, c.mediaType, c.key, strings.Repeat(entry+",", n-1)+entry)
			m, err := artifact.ParseManifest([]byte(raw), c.mediaType)
			switch {
			case n > c.limit && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("more than %d", c.limit))):
				t.Errorf("%d %s: %v", n, name, err)
			case n <= c.limit && (err != nil || len(m.Layers)+len(m.Manifests) != n):
				t.Errorf("%d %s are refused: %v", n, name, err)
			}
		}
	}
}

func TestFormatsOfTheFutureAreRefused(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{"3": true, "3.1": true, "2.2.1": true, "v1.0.0": true, "0.0.0-dev.0": true, "4": false, "next": false, "": false} {
		err := artifact.CheckFormat(map[string]string{artifact.AnnotationVersion: version})
		if (err == nil) != ok {
			t.Errorf("version %q: %v", version, err)
		}
	}
	if err := artifact.CheckFormat(nil); err != nil {
		t.Errorf("no version: %v", err)
	}
}
