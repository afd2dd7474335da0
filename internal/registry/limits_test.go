// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// What the limits are, in numbers: a test that took them from the code would follow a slip in it.
const (
	manifestLimit = 4 << 20
	smallLimit    = 64 << 10
	hopLimit      = 5
	entryLimit    = 10_000
	pageLimit     = 50
)

// around has a limit's neighbours, and the limit, tried: what is beyond it is refused with a code.
func around(limit int, refused registry.Code, try func(t *testing.T, n int) error) func(t *testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		for _, n := range []int{limit - 1, limit, limit + 1} {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				err := try(t, n)
				if n > limit {
					wantCode(t, err, refused)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// filled is JSON of a size, with spaces at its end.
func filled(t *testing.T, text string, size int) []byte {
	t.Helper()
	if len(text) > size {
		t.Fatalf("%d bytes are more than %d", len(text), size)
	}
	return []byte(text + strings.Repeat(" ", size-len(text)))
}

// says has a registry answer all requests whose path has a part with some bytes, and returns a client and a
// tag for it. Other requests find nothing.
func says(t *testing.T, part string, status int, body []byte, headers ...string) (*registry.Client, artifact.Tag) {
	t.Helper()
	reg := testkit.MemRegistry(t)
	reg.Wrap(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/v2/":
			case !strings.Contains(r.URL.Path, part) || r.Method == http.MethodHead:
				w.WriteHeader(http.StatusNotFound)
			default:
				for i := 0; i+1 < len(headers); i += 2 {
					w.Header().Set(headers[i], headers[i+1])
				}
				w.WriteHeader(status)
				_, _ = w.Write(body)
			}
		})
	})
	return newClient(t, registry.Options{}), tagOf(t, reg.Host, "org/app:1")
}

const emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

func TestManifestsAndListsAreReadUpToALimit(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]func(t *testing.T, n int) error{
		"manifest": func(t *testing.T, n int) error {
			body := filled(t, `{}`, n)
			c, tag := says(t, "/manifests/", http.StatusOK, body)
			raw, _, err := c.Manifest(t.Context(), tag.Repository().At(artifact.DigestOf(body)))
			if err == nil && len(raw) != n {
				t.Errorf("read %d bytes of %d", len(raw), n)
			}
			return err
		},
		"manifest of a tag": func(t *testing.T, n int) error {
			c, tag := says(t, "/manifests/1", http.StatusOK, filled(t, `{}`, n))
			_, _, err := c.TagManifest(t.Context(), tag)
			return err
		},
		"manifest of a tag without a HEAD": func(t *testing.T, n int) error {
			c, tag := says(t, "/manifests/1", http.StatusOK, filled(t, `{}`, n))
			_, err := c.Resolve(t.Context(), tag)
			return err
		},
		"index": func(t *testing.T, n int) error {
			body := filled(t, emptyIndex, n)
			c, tag := says(t, "/manifests/", http.StatusOK, body, "Content-Type", artifact.MediaTypeIndex)
			raw, mediaType, err := c.Manifest(t.Context(), tag.Repository().At(artifact.DigestOf(body)))
			if err == nil {
				_, err = artifact.ParseManifest(raw, mediaType)
			}
			return err
		},
		"referrers": func(t *testing.T, n int) error {
			c, tag := says(t, "/referrers/", http.StatusOK, filled(t, emptyIndex, n))
			_, err := c.Referrers(t.Context(), tag.Repository().At(artifact.DigestOf(nil)))
			return err
		},
		"referrers under a tag": func(t *testing.T, n int) error {
			c, tag := says(t, "/manifests/sha256-", http.StatusOK, filled(t, emptyIndex, n))
			_, err := c.Referrers(t.Context(), tag.Repository().At(artifact.DigestOf(nil)))
			return err
		},
		"tags": func(t *testing.T, n int) error {
			c, tag := says(t, "/tags/list", http.StatusOK, filled(t, `{"tags":[]}`, n))
			_, err := c.Tags(t.Context(), tag.Repository())
			return err
		},
	} {
		t.Run(name, around(manifestLimit, registry.TooLarge, try))
	}
}

// TestErrorsAreReadUpToALimit has a registry say what is wrong at length: up to the limit the error is what
// it says, beyond it the error is that it is too long.
func TestErrorsAreReadUpToALimit(t *testing.T) {
	t.Parallel()
	const text = `{"errors":[{"code":"DENIED","message":"said so"}]}`
	for name, call := range map[string]func(t *testing.T, c *registry.Client, tag artifact.Tag) error{
		"manifest": func(t *testing.T, c *registry.Client, tag artifact.Tag) error {
			_, _, err := c.TagManifest(t.Context(), tag)
			return err
		},
		"blob": func(t *testing.T, c *registry.Client, tag artifact.Tag) error {
			return c.PullBlob(t.Context(), tag.Repository(), pack(t, "kind: A\n").Layers[0].Descriptor, &buffer{})
		},
		"tags": func(t *testing.T, c *registry.Client, tag artifact.Tag) error {
			_, err := c.Tags(t.Context(), tag.Repository())
			return err
		},
		"referrers": func(t *testing.T, c *registry.Client, tag artifact.Tag) error {
			_, err := c.Referrers(t.Context(), tag.Repository().At(artifact.DigestOf(nil)))
			return err
		},
	} {
		t.Run(name, around(smallLimit, registry.TooLarge, func(t *testing.T, n int) error {
			c, tag := says(t, "/", http.StatusForbidden, filled(t, text, n))
			err := call(t, c, tag)
			if n > smallLimit {
				return err
			}
			if e := wantCode(t, err, registry.Forbidden); !strings.Contains(e.Detail, "said so") {
				t.Errorf("the error does not say what the registry said: %q", e.Detail)
			}
			return nil
		}))
	}
}

func TestTokensAreReadUpToALimit(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{
		"at a place of their own": "/token",
		"where a blob would be":   "/v2/org/app/blobs/sha256:token", // blobs are bounded by their descriptors
		"where a manifest is":     "/v2/org/app/manifests/token",
	} {
		t.Run(name, around(smallLimit, registry.TooLarge, func(t *testing.T, n int) error {
			reg := testkit.MemRegistry(t)
			pinned := push(t, newClient(t, registry.Options{}), tagOf(t, reg.Host, "org/app:1"), "kind: A\n").Pinned
			reg.Wrap(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.URL.Path == at:
						_, _ = w.Write(filled(t, `{"token":"x"}`, n))
					case r.Header.Get("Authorization") != "Bearer x":
						w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s%s",service="test"`, r.Host, at))
						w.WriteHeader(http.StatusUnauthorized)
					default:
						next.ServeHTTP(w, r)
					}
				})
			})
			_, _, err := newClient(t, registry.Options{}).Manifest(t.Context(), pinned)
			return err
		}))
	}
}

// listed has a registry list entries, in pages of some size. The body of a page is made of the first entry's
// number and the number of the entry after the last.
func listed(t *testing.T, part string, entries, perPage int, page func(from, to int) any) (*registry.Client, artifact.Repository) {
	t.Helper()
	reg := testkit.MemRegistry(t)
	reg.Wrap(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, part) {
				next.ServeHTTP(w, r)
				return
			}
			from := 0
			_, _ = fmt.Sscan(r.URL.Query().Get("last"), &from)
			to := min(from+perPage, entries)
			if to < entries {
				w.Header().Set("Link", fmt.Sprintf(`<%s?last=%d>; rel="next"`, r.URL.Path, to))
			}
			w.Header().Set("Content-Type", artifact.MediaTypeIndex)
			if err := json.NewEncoder(w).Encode(page(from, to)); err != nil {
				t.Error(err)
			}
		})
	})
	return newClient(t, registry.Options{}), tagOf(t, reg.Host, "org/app:1").Repository()
}

func tagsFrom(from, to int) any {
	tags := []string{}
	for i := from; i < to; i++ {
		tags = append(tags, fmt.Sprintf("v%d", i))
	}
	return map[string]any{"tags": tags}
}

func referrersFrom(from, to int) any {
	found := []artifact.Descriptor{}
	for i := from; i < to; i++ {
		found = append(found, artifact.Descriptor{MediaType: artifact.MediaTypeManifest, Digest: artifact.DigestOf(fmt.Append(nil, i)), Size: 1})
	}
	return map[string]any{"schemaVersion": 2, "mediaType": artifact.MediaTypeIndex, "manifests": found}
}

func TestListsAreReadUpToALimit(t *testing.T) {
	t.Parallel()
	tags := func(perPage int) func(t *testing.T, n int) error {
		return func(t *testing.T, n int) error {
			c, repo := listed(t, "/tags/list", n, perPage, tagsFrom)
			got, err := c.Tags(t.Context(), repo)
			if err == nil && len(got) != n {
				t.Errorf("got %d of %d tags", len(got), n)
			}
			return err
		}
	}
	referrers := func(perPage int) func(t *testing.T, n int) error {
		return func(t *testing.T, n int) error {
			c, repo := listed(t, "/referrers/", n, perPage, referrersFrom)
			got, err := c.Referrers(t.Context(), repo.At(artifact.DigestOf(nil)))
			if err == nil && len(got) != n {
				t.Errorf("got %d of %d referrers", len(got), n)
			}
			return err
		}
	}
	t.Run("tags", around(entryLimit, registry.TooLarge, tags(1000)))
	t.Run("tags on one page", around(entryLimit, registry.TooLarge, tags(1<<20)))
	t.Run("pages of tags", around(pageLimit, registry.TooLarge, tags(1)))
	t.Run("referrers", around(entryLimit, registry.TooLarge, referrers(1000)))
	t.Run("referrers on one page", around(entryLimit, registry.Invalid, referrers(1<<20)))
	t.Run("pages of referrers", around(pageLimit, registry.TooLarge, referrers(1)))
}

// redirecting sends requests on, some times, before they are answered.
func redirecting(times int) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hop := 0
			_, _ = fmt.Sscan(r.URL.Query().Get("hop"), &hop)
			if isHandshake(r) || hop == times {
				next.ServeHTTP(w, r)
				return
			}
			http.Redirect(w, r, fmt.Sprintf("%s?hop=%d", r.URL.Path, hop+1), http.StatusTemporaryRedirect)
		})
	}
}

func TestRedirectsAreFew(t *testing.T) {
	onEach(func(t *testing.T, reg *backend) {
		tag := reg.tag(t, "app:1")
		pinned := push(t, reg.client(t, registry.Options{}), tag, "kind: A\n").Pinned
		layer := pack(t, "kind: A\n").Layers[0].Descriptor
		for _, hops := range []int{hopLimit - 1, hopLimit, hopLimit + 1, 1 << 20} {
			reg.Wrap(redirecting(hops))
			client := reg.client(t, registry.Options{})
			for name, call := range map[string]func() error{
				"resolve":  func() error { _, err := client.Resolve(t.Context(), tag); return err },
				"manifest": func() error { _, _, err := client.Manifest(t.Context(), pinned); return err },
				"blob":     func() error { return client.PullBlob(t.Context(), tag.Repository(), layer, &buffer{}) },
			} {
				before := reg.asked()
				err := call()
				if hops <= hopLimit && err != nil {
					t.Errorf("%s with %d redirects: %v", name, hops, err)
				} else if hops > hopLimit {
					wantCode(t, err, registry.Redirected)
				}
				if n := reg.asked() - before; n != min(hops, hopLimit)+1 {
					t.Errorf("%s with %d redirects took %d requests", name, hops, n)
				}
			}
		}
	})(t)
}

// TestRedirectsStayWithTLS leads from a registry with TLS to another host, with TLS and without.
func TestRedirectsStayWithTLS(t *testing.T) {
	t.Parallel()
	body := []byte(`{}`)
	serve := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }
	for name, c := range map[string]struct {
		start    func(http.Handler) *httptest.Server
		followed bool
	}{
		"with TLS":    {httptest.NewTLSServer, true},
		"without TLS": {httptest.NewServer, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := newElsewhereWith(t, c.start, serve)
			secure := tlsServer(t, testkit.RequireBasicAuth(user, password)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v2/" {
					http.Redirect(w, r, other.URL+"/there", http.StatusTemporaryRedirect)
				}
			})))
			host := secure.Listener.Addr().String()
			client := newClient(t, registry.Options{SkipVerify: true, Credentials: static(host)})
			_, _, err := client.Manifest(t.Context(), tagOf(t, host, "org/app:1").Repository().At(artifact.DigestOf(body)))
			shown := other.authorization.Load()
			if !c.followed {
				wantCode(t, err, registry.Redirected)
				if shown != nil {
					t.Error("the redirect to plain HTTP was followed")
				}
				return
			}
			if err != nil || shown != "" {
				t.Errorf("got %v; the other host was shown %q", err, shown)
			}
		})
	}
}
