// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// referring makes a manifest that names another one as its subject.
func referring(t *testing.T, subject artifact.Descriptor, kind string) (*artifact.Packed, artifact.Descriptor) {
	t.Helper()
	p := pack(t, "kind: "+kind)
	raw, err := json.Marshal(artifact.Manifest{
		SchemaVersion: 2, MediaType: artifact.MediaTypeManifest, ArtifactType: kind,
		Config: &p.Config.Descriptor, Layers: []artifact.Descriptor{p.Layers[0].Descriptor}, Subject: &subject,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Manifest, p.Digest = raw, artifact.DigestOf(raw)
	return p, artifact.Descriptor{MediaType: p.MediaType, Digest: p.Digest, Size: int64(len(raw)), ArtifactType: kind}
}

func TestReferrersAreFoundWithAndWithoutTheAPI(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) *testkit.MemoryRegistry{
		"api": testkit.MemRegistryWithReferrers, "tag": testkit.MemRegistry,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := start(t)
			c := newClient(t, registry.Options{})
			tag := tagOf(t, reg.Host, "org/app:1")
			pinned := push(t, c, tag, "a").Pinned
			subject := artifact.Descriptor{MediaType: artifact.MediaTypeManifest, Digest: pinned.Digest(), Size: int64(len(pack(t, "a").Manifest))}
			if got, err := c.Referrers(t.Context(), pinned); err != nil || len(got) != 0 {
				t.Fatalf("before: %v, %v", got, err)
			}
			var want []artifact.Digest
			for _, kind := range []string{"application/x-one", "application/x-two"} {
				p, d := referring(t, subject, kind)
				if _, err := c.Upload(t.Context(), tag.Repository(), p); err != nil {
					t.Fatal(err)
				}
				for range 2 { // the second time it is there already
					if err := c.Refer(t.Context(), pinned, d); err != nil {
						t.Fatal(err)
					}
				}
				want = append(want, d.Digest)
			}
			got, err := c.Referrers(t.Context(), pinned)
			if err != nil || len(got) != len(want) {
				t.Fatalf("got %v, %v", got, err)
			}
			for _, d := range got {
				if (d.Digest != want[0] && d.Digest != want[1]) || !strings.HasPrefix(d.ArtifactType, "application/") {
					t.Errorf("unexpected %+v", d)
				}
			}
			fallback := 0
			for _, r := range reg.Requests() {
				if r.Method == http.MethodPut && strings.HasSuffix(r.Path, "/"+artifact.ReferrersTag(pinned.Digest())) {
					fallback++
				}
			}
			if wanted := map[string]int{"api": 0, "tag": 2}[name]; fallback != wanted {
				t.Errorf("the index under the tag was written %d times, want %d", fallback, wanted)
			}
		})
	}
}

func TestReferrersAreListedOverPages(t *testing.T) {
	t.Parallel()
	reg := testkit.MemRegistry(t)
	pinned := tagOf(t, reg.Host, "org/app:x").Repository().At(artifact.DigestOf(nil))
	digest := func(page int) artifact.Digest { return artifact.DigestOf(fmt.Append(nil, page)) }
	pages := func(n, broken int) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					next.ServeHTTP(w, r)
					return
				}
				var page int
				_, _ = fmt.Sscan(r.URL.Query().Get("next"), &page)
				if page == broken {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				if page+1 < n {
					w.Header().Set("Link", fmt.Sprintf(`<https://evil.example/v2/x/referrers/y?next=%d>; rel="next"`, page+1))
				}
				raw, err := artifact.Index([]artifact.Descriptor{{MediaType: artifact.MediaTypeManifest, Digest: digest(page)}})
				if err != nil {
					t.Error(err)
				}
				w.Header().Set("Content-Type", artifact.MediaTypeIndex)
				_, _ = w.Write(raw)
			})
		}
	}
	c := newClient(t, registry.Options{})
	reg.Wrap(pages(3, -1))
	got, err := c.Referrers(t.Context(), pinned)
	if err != nil {
		t.Fatal(err)
	}
	digests := []artifact.Digest{}
	for _, d := range got {
		digests = append(digests, d.Digest)
	}
	if diff := cmp.Diff([]artifact.Digest{digest(0), digest(1), digest(2)}, digests); diff != "" {
		t.Error(diff)
	}
	reg.Wrap(pages(1<<30, -1))
	_, err = c.Referrers(t.Context(), pinned)
	wantCode(t, err, registry.TooLarge)
	reg.Wrap(pages(3, 1)) // half a list is none: what is missing may be the signature
	_, err = c.Referrers(t.Context(), pinned)
	wantCode(t, err, registry.Invalid)
}

// TestAListOfReferrersThatCannotBeReadIsNotNone guards against taking an index with something wrong in it for
// the answer of a registry that has no API: the signatures in it would not be there.
func TestAListOfReferrersThatCannotBeReadIsNotNone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mediaType, body string
		known           bool
	}{
		"an entry without digest": {artifact.MediaTypeIndex, `{"schemaVersion":2,"manifests":[{"digest":"x"}]}`, true},
		"half of it":              {artifact.MediaTypeIndex + "; charset=utf-8", `{"schemaVersion":2,"manifests":[`, true},
		"a page":                  {"text/html", "<html>", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, tag := says(t, "/referrers/", http.StatusOK, []byte(c.body), "Content-Type", c.mediaType)
			found, err := client.Referrers(t.Context(), tag.Repository().At(artifact.DigestOf(nil)))
			if c.known {
				wantCode(t, err, registry.Invalid)
			} else if err != nil || len(found) != 0 {
				t.Errorf("got %v, %v", found, err)
			}
		})
	}
}
