// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// RegistryRequest is one request to a registry.
type RegistryRequest struct {
	Method string
	Path   string
	Status int
	// User is set where the request carried basic authentication.
	User      string
	UserAgent string
}

// String is one line for a failing test's message.
func (r RegistryRequest) String() string {
	return fmt.Sprintf("%s %s -> %d", r.Method, r.Path, r.Status)
}

// Repositories are a place in the sandbox's registry that no other test uses.
type Repositories struct {
	// Host is the registry's address; it speaks plain HTTP.
	Host string
	// Prefix is the first part of the test's repository names.
	Prefix string
	// Username and Password are empty for the anonymous registry.
	Username string
	Password string

	log    string
	offset int64
}

// Registry gives the test a place in the sandbox's anonymous registry.
func Registry(t testing.TB) *Repositories {
	t.Helper()
	s := sandbox(t)
	return newRepositories(t, s.Registry, s.RegistryLog)
}

// PrivateRegistry gives the test a place in the sandbox's registry that asks
// for a user and a password.
func PrivateRegistry(t testing.TB) *Repositories {
	t.Helper()
	s := sandbox(t)
	r := newRepositories(t, s.PrivateRegistry, s.PrivateRegistryLog)
	r.Username, r.Password = "flux", "sandbox-password"
	return r
}

func newRepositories(t testing.TB, host, log string) *Repositories {
	t.Helper()
	info, err := os.Stat(log)
	if err != nil {
		t.Fatalf("reading the registry's log: %v", err)
	}
	return &Repositories{Host: host, Prefix: Unique(t), log: log, offset: info.Size()}
}

// Repository returns the full name of one of the test's repositories.
func (r *Repositories) Repository(name string) string {
	return r.Host + "/" + r.Prefix + "/" + name
}

// DockerConfig writes the registry's credentials as `docker login` does and
// returns the folder, which DOCKER_CONFIG is to name.
func (r *Repositories) DockerConfig(t testing.TB) string {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(r.Username + ":" + r.Password))
	dir := t.TempDir()
	data := fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, r.Host, auth)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// accessLine is Apache's combined log format, as the registry writes it.
var accessLine = regexp.MustCompile(`^\S+ - (\S+) \[[^\]]*\] "(\S+) (\S+) [^"]*" (\d+) \d+ "(?:[^"\\]|\\.)*" "((?:[^"\\]|\\.)*)"$`)

// Requests returns all requests for the test's repositories, in the order in
// which they were answered, up to now.
func (r *Repositories) Requests(t testing.TB) []RegistryRequest {
	t.Helper()
	marker := "/v2/?marker=" + rand.Text()
	resp, err := http.Get("http://" + r.Host + marker)
	if err != nil {
		t.Fatalf("marking the registry's log: %v", err)
	}
	resp.Body.Close()
	var data []byte
	Eventually(t, "reading the registry's log up to now", 10*time.Second, func() error {
		if data, err = readFrom(r.log, r.offset); err == nil && !strings.Contains(string(data), marker) {
			err = fmt.Errorf("%s is not there yet", marker)
		}
		return err
	})
	var out []RegistryRequest
	for line := range strings.Lines(string(data)) {
		m := accessLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil || !strings.HasPrefix(m[3], "/v2/"+r.Prefix+"/") {
			continue
		}
		status, _ := strconv.Atoi(m[4])
		out = append(out, RegistryRequest{
			Method: m[2], Path: m[3], Status: status, User: strings.TrimPrefix(m[1], "-"), UserAgent: m[5],
		})
	}
	return out
}

// MemoryRegistry is a registry inside the test, for tests without a sandbox, or
// what stands before the sandbox's, see [Repositories.Front].
type MemoryRegistry struct {
	// Host is its address on loopback; it speaks plain HTTP.
	Host string

	mu       sync.Mutex
	requests []RegistryRequest
	wrap     func(http.Handler) http.Handler
}

// MemRegistry starts an empty registry that ends with the test.
func MemRegistry(t testing.TB) *MemoryRegistry {
	t.Helper()
	return memRegistry(t)
}

// MemRegistryWithReferrers starts one that has the API for what refers to an
// artifact, which [MemRegistry] has not.
func MemRegistryWithReferrers(t testing.TB) *MemoryRegistry {
	t.Helper()
	return memRegistry(t, registry.WithReferrersSupport(true))
}

func memRegistry(t testing.TB, options ...registry.Option) *MemoryRegistry {
	return serve(t, registry.New(append(options, registry.Logger(log.New(io.Discard, "", 0)))...))
}

// Front starts what hands on all requests to the registry, where faults can be put before it as before
// one in memory. It is the registry to whoever talks to it: its own address is in what the registry says.
func (r *Repositories) Front(t testing.TB) *MemoryRegistry {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: r.Host}
	return serve(t, &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	})
}

// serve starts a registry on loopback that ends with the test.
func serve(t testing.TB, inner http.Handler) *MemoryRegistry {
	m := &MemoryRegistry{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		m.mu.Lock()
		handler := inner
		if m.wrap != nil {
			handler = m.wrap(inner)
		}
		m.mu.Unlock()
		m.record(w, req, handler)
	}))
	t.Cleanup(server.Close)
	m.Host = strings.TrimPrefix(server.URL, "http://")
	return m
}

// Wrap puts a handler before the registry from now on: to ask for a password,
// to answer 429, to cut a body short. Nil takes it away.
func (m *MemoryRegistry) Wrap(wrap func(next http.Handler) http.Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrap = wrap
}

// RequireBasicAuth is a wrapper for [MemoryRegistry.Wrap].
func RequireBasicAuth(username, password string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if u, p, ok := req.BasicAuth(); !ok || u != username || p != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="testkit"`)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
				return
			}
			next.ServeHTTP(w, req)
		})
	}
}

// Requests returns all requests that were answered, in that order.
func (m *MemoryRegistry) Requests() []RegistryRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.requests)
}

func (m *MemoryRegistry) record(w http.ResponseWriter, req *http.Request, handler http.Handler) {
	user, _, _ := req.BasicAuth()
	seen := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.requests = append(m.requests, RegistryRequest{
			Method: req.Method, Path: req.URL.Path, Status: seen.status, User: user, UserAgent: req.UserAgent(),
		})
	}()
	handler.ServeHTTP(seen, req)
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets handlers hijack or flush the connection.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }
