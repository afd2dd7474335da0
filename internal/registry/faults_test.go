// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// answer gives every request the same answer, but those of the handshake.
func answer(status int, body string, headers ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if isHandshake(r) {
				next.ServeHTTP(w, r)
				return
			}
			for i := 0; i+1 < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
}

// isHandshake says whether a request is for no repository, but the question how to authenticate, or that
// for a token.
func isHandshake(r *http.Request) bool { return r.URL.Path == "/v2/" || r.URL.Path == "/token" }

func TestAnswersOfARegistryHaveTheirCode(t *testing.T) {
	t.Parallel()
	const code = `{"errors":[{"code":"%s","message":"said\u001b[31m so"}]}`
	for name, c := range map[string]struct {
		wrap func(http.Handler) http.Handler
		want registry.Code
		most int // requests, beside the handshake
	}{
		"no such tag":          {nil, registry.NotFound, 2},
		"not authorised":       {answer(401, fmt.Sprintf(code, "UNAUTHORIZED")), registry.Unauthorized, 1},
		"wrong password":       {testkit.RequireBasicAuth(user, "another"), registry.Unauthorized, 1},
		"forbidden":            {answer(403, fmt.Sprintf(code, "DENIED")), registry.Forbidden, 1},
		"always 500":           {answer(500, ""), registry.ServerError, 3},
		"always 503":           {answer(503, "", "Retry-After", "garbage"), registry.ServerError, 3},
		"throttled for long":   {answer(429, "", "Retry-After", "120"), registry.Throttled, 1},
		"throttled for a year": {answer(429, "", "Retry-After", "31536000"), registry.Throttled, 1},
		"throttled, unclear":   {answer(429, "", "Retry-After", "-5"), registry.Throttled, 3},
		"teapot":               {answer(418, "<html>"), registry.Rejected, 1},
		"page of 206":          {answer(206, "part"), registry.Invalid, 1},
	} {
		t.Run(name, onEach(func(t *testing.T, reg *backend) {
			reg.Wrap(c.wrap)
			client := reg.client(t, registry.Options{})
			tag := reg.tag(t, "app:none")
			_, err := client.Resolve(t.Context(), tag)
			e := wantCode(t, err, c.want)
			if !strings.HasPrefix(err.Error(), "resolving "+tag.String()+": ") || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("message %q", err)
			}
			if n := reg.asked(); n > c.most {
				t.Errorf("%d requests, more than %d", n, c.most)
			}
			if e.Code == registry.Unauthorized && (len(e.LookedIn) == 0 || e.LookedIn[0] != "the test" || !e.Found) {
				t.Errorf("it does not say where it looked: %+v", e)
			}
		}))
	}
}

func TestAWrongPasswordIsNotTaken(t *testing.T) {
	onEach(func(t *testing.T, reg *backend) {
		tag := reg.tag(t, "app:1")
		push(t, reg.client(t, registry.Options{}), tag, "kind: A\n")
		reg.credentials.Credential.Password = "canary-of-another"
		_, err := reg.client(t, registry.Options{}).Resolve(t.Context(), tag)
		if !reg.private {
			if err != nil {
				t.Errorf("a registry that asks nobody: %v", err)
			}
			return
		}
		if e := wantCode(t, err, registry.Unauthorized); !e.Found || len(e.LookedIn) == 0 {
			t.Errorf("it does not say where it looked: %+v", e)
		}
	})(t)
}

func TestAPassingFailureOfAPollIsOvercome(t *testing.T) {
	onEach(func(t *testing.T, reg *backend) {
		tag := reg.tag(t, "app:1")
		push(t, reg.client(t, registry.Options{}), tag, "kind: A\n")
		for _, status := range []int{500, 502, 503, 429} {
			reg.Wrap(failing(2, status, is(http.MethodHead, "/manifests/")))
			if _, err := reg.client(t, registry.Options{}).Resolve(t.Context(), tag); err != nil {
				t.Errorf("status %d twice: %v", status, err)
			}
		}
	})(t)
}

func TestARegistryThatAsksToBeLeftAloneIs(t *testing.T) {
	onEach(func(t *testing.T, reg *backend) {
		reg.Wrap(answer(429, "", "Retry-After", "120"))
		shared := registry.NewThrottle()
		one, two := reg.client(t, registry.Options{Throttle: shared}), reg.client(t, registry.Options{Throttle: shared})
		tag := reg.tag(t, "app:1")
		_, err := one.Resolve(t.Context(), tag)
		if e := wantCode(t, err, registry.Throttled); e.RetryAfter < 100*time.Second || e.RetryAfter > 2*time.Minute {
			t.Errorf("retry after %s", e.RetryAfter)
		}
		before := reg.asked()
		for _, c := range []*registry.Client{one, two} {
			_, err := c.Resolve(t.Context(), tag)
			if e := wantCode(t, err, registry.Throttled); e.RetryAfter == 0 {
				t.Error("it does not say when to come back")
			}
		}
		if n := reg.asked() - before; n != 0 {
			t.Errorf("%d requests before the time", n)
		}
	})(t)
}

func TestRegistriesWithoutHeadAreAskedWithGet(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"not found": 404, "not allowed": 405, "no digest": 200} {
		t.Run(name, onEach(func(t *testing.T, reg *backend) {
			tag := reg.tag(t, "app:1")
			pushed := push(t, reg.client(t, registry.Options{}), tag, "kind: A\n")
			reg.Wrap(failing(1<<30, status, is(http.MethodHead, "/manifests/")))
			got, err := reg.client(t, registry.Options{}).Resolve(t.Context(), tag)
			if err != nil || got != pushed.Pinned {
				t.Errorf("resolved %v, %v", got, err)
			}
		}))
	}
}

// substitute answers GET by a function, from what the registry would have answered. That the registry
// refuses is passed on.
func substitute(part string, with func(w http.ResponseWriter, body []byte)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !is(http.MethodGet, part)(r) {
				next.ServeHTTP(w, r)
				return
			}
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			if recorded.Code != http.StatusOK {
				maps.Copy(w.Header(), recorded.Header())
				w.WriteHeader(recorded.Code)
				return
			}
			w.Header().Set("Content-Type", recorded.Header().Get("Content-Type"))
			with(w, recorded.Body.Bytes())
		})
	}
}

func TestBlobsThatAreNotWhatTheirDigestSaysAreRefused(t *testing.T) {
	t.Parallel()
	changed := func(body []byte) []byte {
		body[len(body)/2] ^= 1
		return body
	}
	chunk := func(w http.ResponseWriter, body []byte) {
		_, _ = w.Write(body[:1])
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(body[1:])
	}
	cut := func(w http.ResponseWriter, body []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, c := range map[string]struct {
		with func(w http.ResponseWriter, body []byte)
		want registry.Code
		most int
	}{
		"other bytes":              {func(w http.ResponseWriter, b []byte) { _, _ = w.Write(changed(b)) }, registry.DigestMismatch, 2},
		"other bytes, chunked":     {func(w http.ResponseWriter, b []byte) { chunk(w, changed(b)) }, registry.DigestMismatch, 2},
		"more bytes, chunked":      {func(w http.ResponseWriter, b []byte) { chunk(w, append(b, b...)) }, registry.DigestMismatch, 2},
		"more bytes":               {func(w http.ResponseWriter, b []byte) { _, _ = w.Write(append(b, 0)) }, registry.DigestMismatch, 2},
		"fewer bytes":              {func(w http.ResponseWriter, b []byte) { _, _ = w.Write(b[:1]) }, registry.DigestMismatch, 2},
		"fewer bytes, chunked":     {func(w http.ResponseWriter, b []byte) { chunk(w, b[:len(b)-1]) }, registry.Unreachable, 3},
		"cut":                      {cut, registry.Unreachable, 3},
		"cut at once":              {func(http.ResponseWriter, []byte) { panic(http.ErrAbortHandler) }, registry.Unreachable, 5}, // net/http tries idle connections as well
		"page of a captive portal": {func(w http.ResponseWriter, _ []byte) { _, _ = w.Write([]byte("<html>sign in</html>")) }, registry.DigestMismatch, 2},
		"part of it":               {func(w http.ResponseWriter, b []byte) { w.WriteHeader(206); _, _ = w.Write(b) }, registry.Invalid, 1},
		"not there":                {func(w http.ResponseWriter, _ []byte) { w.WriteHeader(404) }, registry.NotFound, 1},
		"an error of 1 MiB":        {func(w http.ResponseWriter, _ []byte) { w.WriteHeader(400); _, _ = w.Write(make([]byte, 1<<20)) }, registry.TooLarge, 1},
	} {
		t.Run(name, onEach(func(t *testing.T, reg *backend) {
			client := reg.client(t, registry.Options{})
			tag := reg.tag(t, "app:1")
			push(t, client, tag, "kind: A\n")
			if _, err := client.Resolve(t.Context(), tag); err != nil {
				t.Fatal(err)
			}
			client.Close() // how many connections a push leaves idle is another number each time
			reg.Wrap(substitute("/blobs/", c.with))
			before := reg.asked()
			err := client.PullBlob(t.Context(), tag.Repository(), pack(t, "kind: A\n").Layers[0].Descriptor, &buffer{})
			wantCode(t, err, c.want)
			if n := reg.asked() - before; n > c.most {
				t.Errorf("%d requests, more than %d", n, c.most)
			}
		}))
	}
}

func TestABlobThatBreaksOffOnceIsPulledAgain(t *testing.T) {
	onEach(func(t *testing.T, reg *backend) {
		client := reg.client(t, registry.Options{})
		tag := reg.tag(t, "app:1")
		push(t, client, tag, "kind: A\n")
		var n atomic.Int32
		reg.Wrap(substitute("/blobs/", func(w http.ResponseWriter, body []byte) {
			if n.Add(1) <= 2 {
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				_, _ = w.Write(body[:int(n.Load())])
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(body)
		}))
		if err := client.PullBlob(t.Context(), tag.Repository(), pack(t, "kind: A\n").Layers[0].Descriptor, &buffer{}); err != nil {
			t.Error(err)
		}
	})(t)
}

func TestManifestsThatAreNotWhatTheirDigestSaysAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		want registry.Code
	}{
		"other bytes": {`{"schemaVersion":2}`, registry.DigestMismatch},
		"100 MB":      {strings.Repeat(" ", artifact.MaxManifestBytes+1), registry.TooLarge},
	} {
		t.Run(name, onEach(func(t *testing.T, reg *backend) {
			client := reg.client(t, registry.Options{})
			pushed := push(t, client, reg.tag(t, "app:1"), "kind: A\n")
			reg.Wrap(substitute("/manifests/", func(w http.ResponseWriter, _ []byte) { _, _ = w.Write([]byte(c.body)) }))
			_, _, err := client.Manifest(t.Context(), pushed.Pinned)
			wantCode(t, err, c.want)
		}))
	}
}

func TestAnAnswerThatStallsIsGivenUp(t *testing.T) {
	onEach(func(t *testing.T, reg *backend) {
		client := reg.client(t, registry.Options{IdleTimeout: 50 * time.Millisecond})
		tag := reg.tag(t, "app:1")
		push(t, client, tag, "kind: A\n")
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		reg.Wrap(substitute("/blobs/", func(w http.ResponseWriter, body []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			_, _ = w.Write(body[:1])
			_ = http.NewResponseController(w).Flush()
			<-release
		}))
		err := client.PullBlob(t.Context(), tag.Repository(), pack(t, "kind: A\n").Layers[0].Descriptor, &buffer{})
		wantCode(t, err, registry.TimedOut)
	})(t)
}

func TestACallEndsWithItsTime(t *testing.T) {
	onEach(func(t *testing.T, reg *backend) {
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		reg.Wrap(func(http.Handler) http.Handler {
			return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })
		})
		_, err := reg.client(t, registry.Options{Timeout: 50 * time.Millisecond}).Resolve(t.Context(), reg.tag(t, "app:1"))
		wantCode(t, err, registry.TimedOut)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is no deadline's error", err)
		}
	})(t)
}

func TestRegistriesThatAreNotThereAreUnreachable(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	listener.Close()
	_, err = newClient(t, registry.Options{}).Resolve(t.Context(), tagOf(t, host, "org/app:1"))
	wantCode(t, err, registry.Unreachable)
	_, err = newClient(t, registry.Options{}).Resolve(t.Context(), tagOf(t, "registry.invalid", "org/app:1"))
	if e := wantCode(t, err, registry.Unreachable); !strings.Contains(e.Detail, "registry.invalid") {
		t.Errorf("detail %q", e.Detail)
	}
	_, err = newClient(t, registry.Options{Insecure: true}).Resolve(t.Context(), tagOf(t, "169.254.169.254", "org/app:1"))
	wantCode(t, err, registry.Unreachable)
}

func TestCertificatesAreChecked(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			requests.Add(1)
			w.Header().Set("Docker-Content-Digest", string(artifact.DigestOf(nil)))
		}
	}))
	tag := tagOf(t, server.Listener.Addr().String(), "org/app:1")
	_, err := newClient(t, registry.Options{}).Resolve(t.Context(), tag)
	wantCode(t, err, registry.TLS)
	if requests.Load() != 0 {
		t.Error("it went on without TLS")
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, o := range map[string]registry.Options{"own CA": {CA: ca}, "on request not": {SkipVerify: true}} {
		if _, err := newClient(t, o).Resolve(t.Context(), tag); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := registry.New(registry.Options{CA: []byte("no PEM")}); err == nil {
		t.Error("a CA that is none was accepted")
	}
}

// tlsServer is a registry with a certificate of its own, that does not log handshakes that fail.
func tlsServer(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// elsewhere is a server that remembers what credentials it was shown.
type elsewhere struct {
	*httptest.Server
	authorization atomic.Value
}

func newElsewhere(t *testing.T, handler http.HandlerFunc) *elsewhere {
	t.Helper()
	return newElsewhereWith(t, httptest.NewServer, handler)
}

func newElsewhereWith(t *testing.T, start func(http.Handler) *httptest.Server, handler http.HandlerFunc) *elsewhere {
	t.Helper()
	e := &elsewhere{}
	e.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.authorization.Store(r.Header.Get("Authorization"))
		handler(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func TestCredentialsDoNotFollowARedirect(t *testing.T) {
	onEach(func(t *testing.T, reg *backend) {
		tag := reg.tag(t, "app:1")
		push(t, reg.client(t, registry.Options{}), tag, "kind: A\n")
		layer := pack(t, "kind: A\n").Layers[0]
		cdn := newElsewhere(t, func(w http.ResponseWriter, _ *http.Request) {
			var content buffer
			body, _ := layer.Open()
			_, _ = content.ReadFrom(body)
			_, _ = w.Write(content.Bytes())
		})
		reg.Wrap(substitute("/blobs/", func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Location", cdn.URL+"/somewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}))
		if err := reg.client(t, registry.Options{}).PullBlob(t.Context(), tag.Repository(), layer.Descriptor, &buffer{}); err != nil {
			t.Fatal(err)
		}
		if got := cdn.authorization.Load(); got != "" {
			t.Errorf("the other host was shown %q", got)
		}
	})(t)
}

func TestPlainHTTPNeedsPermissionBeyondLoopback(t *testing.T) {
	t.Parallel()
	// Nothing listens there: what matters is which error comes first.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := newClient(t, registry.Options{}).Resolve(ctx, tagOf(t, "10.255.255.1:1", "org/app:1"))
	if err == nil {
		t.Fatal("resolved")
	}
	var e *registry.Error
	if errors.As(err, &e) && e.Code == registry.Invalid {
		t.Errorf("got %v", err)
	}
}

func TestATokenServiceElsewhereMustUseTLS(t *testing.T) {
	t.Parallel()
	thief := newElsewhere(t, func(http.ResponseWriter, *http.Request) {})
	secure := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, thief.URL))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	host := secure.Listener.Addr().String()
	_, err := newClient(t, registry.Options{SkipVerify: true, Credentials: static(host)}).Resolve(t.Context(), tagOf(t, host, "org/app:1"))
	if err == nil || thief.authorization.Load() != nil {
		t.Errorf("got %v; the other service was shown %v", err, thief.authorization.Load())
	}
}

func TestATokenServiceIsNotReadWithoutBound(t *testing.T) {
	t.Parallel()
	reg := testkit.MemRegistry(t)
	reg.Wrap(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				_, _ = w.Write([]byte(`{"token":"` + strings.Repeat("x", 10<<20) + `"}`))
				return
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		})
	})
	_, err := newClient(t, registry.Options{}).Resolve(t.Context(), tagOf(t, reg.Host, "org/app:1"))
	wantCode(t, err, registry.TooLarge)
}
