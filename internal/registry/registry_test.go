// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

const user, password = "jane", "canary-of-the-password"

func newClient(t *testing.T, o registry.Options) *registry.Client {
	t.Helper()
	if o.Pause == 0 {
		o.Pause = time.Millisecond
	}
	c, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func static(host string) registry.Credentials {
	return registry.Static{Host: host, Source: "the test", Credential: registry.Credential{Username: user, Password: password}}
}

func tagOf(t *testing.T, host, rest string) artifact.Tag {
	t.Helper()
	tag, err := artifact.ParseTag(host + "/" + rest)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

func pack(t *testing.T, yaml string) *artifact.Packed {
	t.Helper()
	p, err := artifact.PackYAML([]byte(yaml), artifact.Metadata{}, artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func push(t *testing.T, c *registry.Client, tag artifact.Tag, yaml string) registry.Pushed {
	t.Helper()
	pushed, err := c.Push(t.Context(), tag, pack(t, yaml))
	if err != nil {
		t.Fatal(err)
	}
	return pushed
}

// buffer is a sink that keeps what it verified.
type buffer struct{ bytes.Buffer }

func (b *buffer) Put(_ context.Context, d artifact.Descriptor, content io.Reader) error {
	b.Reset()
	_, err := b.ReadFrom(artifact.Verify(content, d))
	return err
}

func wantCode(t *testing.T, err error, want registry.Code) *registry.Error {
	t.Helper()
	var e *registry.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Fatalf("got %v, want %s", err, want)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", err, e, e), "canary") {
		t.Errorf("the error shows a credential: %+v", e)
	}
	return e
}

// methods lists requests as METHOD path, without the repository's part of it.
func methods(requests []testkit.RegistryRequest) []string {
	out := []string{}
	for _, r := range requests {
		_, at, _ := strings.Cut(r.Path, "/app/")
		if strings.HasPrefix(at, "blobs/") {
			at = strings.Split(at, ":")[0]
			at = strings.Join(strings.Split(at, "/")[:2], "/")
		}
		out = append(out, r.Method+" "+at)
	}
	return out
}

func TestAPollCostsOneHeadRequest(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"anonymous": nil,
		"basic":     testkit.RequireBasicAuth(user, password),
		"bearer":    (&tokenService{}).wrap,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := testkit.MemRegistry(t)
			tag := tagOf(t, reg.Host, "org/app:latest")
			push(t, newClient(t, registry.Options{}), tag, "kind: A\n")
			reg.Wrap(wrap)
			c := newClient(t, registry.Options{Credentials: static(reg.Host)})
			if _, err := c.Resolve(t.Context(), tag); err != nil {
				t.Fatal(err)
			}
			before := len(reg.Requests())
			for range 5 {
				if _, err := c.Resolve(t.Context(), tag); err != nil {
					t.Fatal(err)
				}
			}
			want := slices.Repeat([]string{"HEAD manifests/latest"}, 5)
			if diff := cmp.Diff(want, methods(reg.Requests()[before:])); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// tokenService asks for bearer tokens, and gives them to whoever has the password.
type tokenService struct {
	tokens  atomic.Int32 // given so far; the newest one counts
	lasting bool         // all of them count
	revoked atomic.Bool  // no token counts
}

func (s *tokenService) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprintf(w, `{"token":"canary-token-%d"}`, s.tokens.Add(1))
			return
		}
		if s.revoked.Load() || !s.counts(r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *tokenService) counts(header string) bool {
	number, found := strings.CutPrefix(header, "Bearer canary-token-")
	n, err := strconv.Atoi(number)
	newest := int(s.tokens.Load())
	return found && err == nil && (n == newest || s.lasting && 0 < n && n < newest)
}

func TestAnExpiredTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	reg := testkit.MemRegistry(t)
	tag := tagOf(t, reg.Host, "org/app:latest")
	push(t, newClient(t, registry.Options{}), tag, "kind: A\n")
	service := &tokenService{}
	reg.Wrap(service.wrap)
	c := newClient(t, registry.Options{Credentials: static(reg.Host)})
	for range 3 {
		if _, err := c.Resolve(t.Context(), tag); err != nil {
			t.Fatal(err)
		}
		service.tokens.Add(1) // the client's token is an old one now
	}
	if n := service.tokens.Load(); n != 6 {
		t.Errorf("%d tokens, want three given and three skipped", n)
	}
	service.revoked.Store(true)
	before := service.tokens.Load()
	_, err := c.Resolve(t.Context(), tag)
	wantCode(t, err, registry.Unauthorized)
	if n := service.tokens.Load() - before; n > 2 {
		t.Errorf("%d tokens were asked for in vain", n)
	}
}

func TestWhatIsPushedIsPulled(t *testing.T) {
	t.Parallel()
	reg := testkit.MemRegistry(t)
	reg.Wrap(testkit.RequireBasicAuth(user, password))
	c := newClient(t, registry.Options{Credentials: static(reg.Host), UserAgent: "kustomizer/test"})
	tag := tagOf(t, reg.Host, "org/app:1.0.0")
	p := pack(t, "kind: A\n")
	pushed, err := c.Push(t.Context(), tag, p)
	if err != nil {
		t.Fatal(err)
	}
	if want := (registry.Pushed{Pinned: tag.Repository().At(p.Digest), Sent: true}); pushed != want {
		t.Errorf("pushed %+v, want %+v", pushed, want)
	}
	pinned, err := c.Resolve(t.Context(), tag)
	if err != nil || pinned.Digest() != p.Digest {
		t.Fatalf("resolved %v, %v", pinned, err)
	}
	raw, mediaType, err := c.Manifest(t.Context(), pinned)
	if err != nil || !bytes.Equal(raw, p.Manifest) || mediaType != artifact.MediaTypeManifest {
		t.Fatalf("manifest %q of %q, %v", raw, mediaType, err)
	}
	var layer buffer
	if err := c.PullBlob(t.Context(), tag.Repository(), p.Layers[0].Descriptor, &layer); err != nil {
		t.Fatal(err)
	}
	if artifact.DigestOf(layer.Bytes()) != p.Layers[0].Digest {
		t.Error("the layer is another one")
	}
	for _, r := range reg.Requests() {
		if r.UserAgent != "kustomizer/test" {
			t.Errorf("%s %s by %q", r.Method, r.Path, r.UserAgent)
		}
	}
}

func TestAPushSendsTheTagLast(t *testing.T) {
	t.Parallel()
	reg := testkit.MemRegistry(t)
	c := newClient(t, registry.Options{})
	tag := tagOf(t, reg.Host, "org/app:1.0.0")
	push(t, c, tag, "kind: A\n")
	digest := pack(t, "kind: A\n").Digest.String()
	want := []string{
		"GET ", "HEAD manifests/1.0.0",
		"HEAD blobs/sha256", "HEAD blobs/sha256", "POST blobs/uploads", "POST blobs/uploads", "PUT blobs/uploads", "PUT blobs/uploads",
		"PUT manifests/" + digest, "PUT manifests/1.0.0",
	}
	got := methods(reg.Requests())
	const before, after = 2, 2 // the blobs between may be asked about side by side
	if len(got) == len(want) {
		slices.Sort(got[before : len(got)-after])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestKnownContentIsNotSentAgain pushes what is there already, with another revision and without a change.
func TestKnownContentIsNotSentAgain(t *testing.T) {
	t.Parallel()
	reg := testkit.MemRegistry(t)
	c := newClient(t, registry.Options{})
	tag := tagOf(t, reg.Host, "org/app:1.0.0")
	push(t, c, tag, "kind: A\n")
	later, err := artifact.PackYAML([]byte("kind: A\n"), artifact.Metadata{Revision: "main@sha1:2"}, artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	manifest := "manifests/" + later.Digest.String()
	for _, want := range [][]string{
		{"HEAD blobs/sha256", "HEAD blobs/sha256", "HEAD " + manifest, "PUT " + manifest},
		{"HEAD blobs/sha256", "HEAD blobs/sha256", "HEAD " + manifest},
	} {
		before := len(reg.Requests())
		sent, err := c.Upload(t.Context(), tag.Repository(), later)
		if err != nil || sent != slices.Contains(want, "PUT "+manifest) {
			t.Errorf("sent: %t, %v", sent, err)
		}
		if diff := cmp.Diff(want, methods(reg.Requests()[before:])); diff != "" {
			t.Error(diff)
		}
	}
}

// TestTheConfigIsSentWhileTheLayerIsStored has a registry that takes its time to store the layer: it is asked
// for a place for the config meanwhile, and gets the config when it has all bytes of the layer.
func TestTheConfigIsSentWhileTheLayerIsStored(t *testing.T) {
	t.Parallel()
	p := pack(t, "kind: A\n")
	layer, config := p.Layers[0].Digest.String(), p.Config.Digest.String()
	var stored atomic.Int32
	begun, got := make(chan struct{}, 2), make(chan struct{})
	reg := testkit.MemRegistry(t)
	reg.Wrap(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			digest := r.URL.Query().Get("digest")
			switch {
			case digest == layer: // without a second upload begun, and the config sent, this waits for ever
				<-begun
				<-begun
				content, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				r.Body = io.NopCloser(bytes.NewReader(content))
				<-got
			case digest == config:
				close(got)
			case r.Method == http.MethodPut && stored.Load() != 2:
				t.Errorf("%s is sent when %d of 2 blobs are stored", r.URL, stored.Load())
			}
			next.ServeHTTP(w, r)
			switch {
			case r.Method == http.MethodPost:
				begun <- struct{}{}
			case digest != "":
				stored.Add(1)
			}
		})
	})
	if _, err := newClient(t, registry.Options{}).Push(t.Context(), tagOf(t, reg.Host, "org/app:1.0.0"), p); err != nil {
		t.Fatal(err)
	}
}

func TestPushingWhatIsThereSendsNothing(t *testing.T) {
	t.Parallel()
	reg := testkit.MemRegistry(t)
	c := newClient(t, registry.Options{})
	tag := tagOf(t, reg.Host, "org/app:1.0.0")
	first := push(t, c, tag, "kind: A\n")
	before := len(reg.Requests())
	again := push(t, c, tag, "kind: A\n")
	if again.Sent || again.Previous != first.Pinned.Digest() {
		t.Errorf("pushed %+v", again)
	}
	if diff := cmp.Diff([]string{"HEAD manifests/1.0.0"}, methods(reg.Requests()[before:])); diff != "" {
		t.Error(diff)
	}
	moved := push(t, c, tag, "kind: B\n")
	if !moved.Sent || moved.Previous != first.Pinned.Digest() {
		t.Errorf("pushed %+v", moved)
	}
	back := push(t, c, tag, "kind: A\n")
	if back.Sent || back.Previous != moved.Pinned.Digest() {
		t.Errorf("moving a tag back to what is there gave %+v", back)
	}
}

func TestAPushThatBreaksOffLeavesTheTagWhole(t *testing.T) {
	t.Parallel()
	for name, start := range backends() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for cut := 1; breaksOff(t, start(t), cut); cut++ {
			}
		})
	}
}

// breaksOff pushes with a connection that is lost at a request, and says whether it was lost before the
// push was done. Whatever happened, the tag is whole, and pushing again works.
func breaksOff(t *testing.T, reg *backend, cut int) bool {
	t.Helper()
	tag := reg.tag(t, "app:latest")
	old := push(t, reg.client(t, registry.Options{}), tag, "kind: Old\n")
	wanted := pack(t, "kind: New\n")
	var n atomic.Int32
	reg.Wrap(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch at := n.Add(1); {
			case at == int32(cut): // it arrives, its answer does not
				next.ServeHTTP(&deaf{}, r)
				panic(http.ErrAbortHandler)
			case at > int32(cut):
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
	})
	_, err := reg.client(t, registry.Options{}).Push(t.Context(), tag, wanted)
	reg.Wrap(nil)
	c := reg.client(t, registry.Options{})
	now, resolveErr := c.Resolve(t.Context(), tag)
	if resolveErr != nil {
		t.Fatal(resolveErr)
	}
	if now.Digest() != old.Pinned.Digest() && now.Digest() != wanted.Digest {
		t.Errorf("cut at request %d: the tag points to %s", cut, now)
	}
	wantWhole(t, c, now)
	if again, againErr := c.Push(t.Context(), tag, wanted); againErr != nil || again.Pinned.Digest() != wanted.Digest {
		t.Errorf("cut at request %d: pushing again: %+v, %v", cut, again, againErr)
	}
	if err == nil && cut < 9 {
		t.Errorf("cut at request %d: the push says it worked", cut)
	}
	return err != nil
}

// wantWhole sees that an artifact is there with its layer.
func wantWhole(t *testing.T, c *registry.Client, pinned artifact.Pinned) {
	t.Helper()
	raw, mediaType, err := c.Manifest(t.Context(), pinned)
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.ParseManifest(raw, mediaType)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PullBlob(t.Context(), pinned.Repository(), m.Layers[0], &buffer{}); err != nil {
		t.Errorf("the layer of %s is not there: %v", pinned, err)
	}
}

// deaf takes an answer and passes nothing on.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}
func (d *deaf) Write(p []byte) (int, error) { return len(p), nil }
func (d *deaf) WriteHeader(int)             {}

// failing answers requests that match with a status, n times.
func failing(n, status int, match func(*http.Request) bool) func(http.Handler) http.Handler {
	var seen atomic.Int32
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if match(r) && seen.Add(1) <= int32(n) {
				w.WriteHeader(status)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func is(method, part string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, part) }
}

func TestAPassingFailureOfAnUploadIsOvercome(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct {
		times, status int
		of            func(*http.Request) bool
	}{
		"session":       {2, http.StatusServiceUnavailable, is(http.MethodPost, "/uploads/")},
		"blob":          {2, http.StatusInternalServerError, is(http.MethodPut, "/uploads/")},
		"blob range":    {1, http.StatusRequestedRangeNotSatisfiable, is(http.MethodPut, "/uploads/")},
		"manifest":      {2, http.StatusBadGateway, is(http.MethodPut, "/manifests/sha256")},
		"tag":           {2, http.StatusGatewayTimeout, is(http.MethodPut, "/manifests/1.0.0")},
		"blob presence": {2, http.StatusInternalServerError, is(http.MethodHead, "/blobs/")},
	} {
		t.Run(name, onEach(func(t *testing.T, reg *backend) {
			reg.Wrap(failing(f.times, f.status, f.of))
			push(t, reg.client(t, registry.Options{}), reg.tag(t, "app:1.0.0"), "kind: A\n")
		}))
	}
}

func TestATagThatWasSetInSpiteOfItsAnswerCounts(t *testing.T) {
	onEach(func(t *testing.T, reg *backend) {
		reg.Wrap(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if is(http.MethodPut, "/manifests/1.0.0")(r) {
					next.ServeHTTP(&deaf{}, r)
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				next.ServeHTTP(w, r)
			})
		})
		push(t, reg.client(t, registry.Options{}), reg.tag(t, "app:1.0.0"), "kind: A\n")
	})(t)
}

func TestADigestThatIsEchoedDifferentlyIsAnError(t *testing.T) {
	onEach(func(t *testing.T, reg *backend) {
		reg.Wrap(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if is(http.MethodPut, "/manifests/sha256")(r) {
					w.Header().Set("Docker-Content-Digest", string(artifact.DigestOf(nil)))
					w.WriteHeader(http.StatusCreated)
					return
				}
				next.ServeHTTP(w, r)
			})
		})
		tag := reg.tag(t, "app:1.0.0")
		c := reg.client(t, registry.Options{})
		_, err := c.Push(t.Context(), tag, pack(t, "kind: A\n"))
		wantCode(t, err, registry.DigestMismatch)
		_, err = c.Resolve(t.Context(), tag)
		wantCode(t, err, registry.NotFound)
	})(t)
}

func TestATagIsMovedAndSaysSo(t *testing.T) {
	t.Parallel()
	reg := testkit.MemRegistry(t)
	c := newClient(t, registry.Options{})
	one := push(t, c, tagOf(t, reg.Host, "org/app:1"), "kind: A\n").Pinned
	two := push(t, c, tagOf(t, reg.Host, "org/app:2"), "kind: B\n").Pinned
	latest := tagOf(t, reg.Host, "org/app:latest")
	got := []registry.Tagged{}
	for _, pinned := range []artifact.Pinned{one, one, two} {
		tagged, err := c.Tag(t.Context(), pinned, "latest")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, tagged)
	}
	want := []registry.Tagged{
		{Tag: latest, Pinned: one},
		{Tag: latest, Pinned: one, Previous: one.Digest()},
		{Tag: latest, Pinned: two, Previous: one.Digest()},
	}
	if !slices.Equal(want, got) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got[0].Moved() || got[1].Moved() || !got[2].Moved() {
		t.Error("what was moved is not what says so")
	}
	if now, err := c.Resolve(t.Context(), latest); err != nil || now != two {
		t.Errorf("resolved %v, %v", now, err)
	}
	_, err := c.Tag(t.Context(), one.Repository().At(artifact.DigestOf(nil)), "latest")
	wantCode(t, err, registry.NotFound)
}

func TestTagsAreListedOverPages(t *testing.T) {
	t.Parallel()
	reg := testkit.MemRegistry(t)
	repo := tagOf(t, reg.Host, "org/app:x").Repository()
	pages := func(n int) func(http.Handler) http.Handler {
		return func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var page int
				_, _ = fmt.Sscan(r.URL.Query().Get("last"), &page)
				if page+1 < n {
					w.Header().Set("Link", fmt.Sprintf(`<https://evil.example/v2/x/tags/list?last=%d>; rel="next"`, page+1))
				}
				_ = json.NewEncoder(w).Encode(map[string]any{"tags": []string{fmt.Sprintf("v%d", page)}})
			})
		}
	}
	reg.Wrap(pages(3))
	c := newClient(t, registry.Options{})
	got, err := c.Tags(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"v0", "v1", "v2"}, got); diff != "" {
		t.Error(diff)
	}
	reg.Wrap(pages(1 << 30))
	_, err = c.Tags(t.Context(), repo)
	wantCode(t, err, registry.TooLarge)
}

func TestClientsAreSafeForUseByMany(t *testing.T) {
	t.Parallel()
	reg := testkit.MemRegistry(t)
	reg.Wrap(testkit.RequireBasicAuth(user, password))
	c := newClient(t, registry.Options{Credentials: static(reg.Host)})
	tag := tagOf(t, reg.Host, "org/app:1")
	push(t, c, tag, "kind: A\n")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := c.Resolve(t.Context(), tag); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestARealRegistrySeesTheSameRequests(t *testing.T) {
	t.Parallel()
	reg := testkit.PrivateRegistry(t)
	credentials := registry.Static{Host: reg.Host, Credential: registry.Credential{Username: reg.Username, Password: reg.Password}}
	tag, err := artifact.ParseTag(reg.Repository("app") + ":latest")
	if err != nil {
		t.Fatal(err)
	}
	pushed := push(t, newClient(t, registry.Options{Credentials: credentials}), tag, "kind: A\n")
	before := len(reg.Requests(t))
	c := newClient(t, registry.Options{Credentials: credentials})
	for range 5 {
		if got, err := c.Resolve(t.Context(), tag); err != nil || got != pushed.Pinned {
			t.Fatalf("resolved %v, %v", got, err)
		}
	}
	want := slices.Repeat([]string{"HEAD manifests/latest"}, 5)
	if diff := cmp.Diff(want, methods(reg.Requests(t)[before:])); diff != "" {
		t.Error(diff)
	}
	var layer buffer
	if err := c.PullBlob(t.Context(), tag.Repository(), pack(t, "kind: A\n").Layers[0].Descriptor, &layer); err != nil {
		t.Error(err)
	}
	_, err = newClient(t, registry.Options{}).Resolve(t.Context(), tag)
	wantCode(t, err, registry.Unauthorized)
}
