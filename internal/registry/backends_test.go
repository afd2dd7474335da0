// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// backend is a registry of some kind, with a place in it that no other test has and the password for it.
// Faults come before it, and before the question for the password.
type backend struct {
	*testkit.MemoryRegistry
	prefix      string
	private     bool // asks for the password
	credentials registry.Static
	gate        func(http.Handler) http.Handler
}

// backends are the kinds of registry that a fault is tried on: one in this process, and with a sandbox
// CNCF Distribution; each open, with basic authentication and with tokens. Each call of one starts another.
func backends() map[string]func(t *testing.T) *backend {
	basic := func(*testing.T) func(http.Handler) http.Handler { return testkit.RequireBasicAuth(user, password) }
	bearer := func(*testing.T) func(http.Handler) http.Handler { return (&tokenService{lasting: true}).wrap }
	out := map[string]func(*testing.T) *backend{
		"in process":             func(t *testing.T) *backend { return newBackend(testkit.MemRegistry(t), "org", nil) },
		"in process with basic":  func(t *testing.T) *backend { return newBackend(testkit.MemRegistry(t), "org", basic(t)) },
		"in process with tokens": func(t *testing.T) *backend { return newBackend(testkit.MemRegistry(t), "org", bearer(t)) },
	}
	if os.Getenv(testkit.SandboxVariable) == "" {
		return out
	}
	out["Distribution"] = func(t *testing.T) *backend {
		r := testkit.Registry(t)
		return newBackend(r.Front(t), r.Prefix, nil)
	}
	out["Distribution with tokens"] = func(t *testing.T) *backend {
		r := testkit.Registry(t)
		return newBackend(r.Front(t), r.Prefix, bearer(t))
	}
	out["Distribution with basic"] = func(t *testing.T) *backend {
		r := testkit.PrivateRegistry(t)
		b := newBackend(r.Front(t), r.Prefix, nil)
		b.private = true
		b.credentials.Credential = registry.Credential{Username: r.Username, Password: r.Password}
		return b
	}
	return out
}

func newBackend(at *testkit.MemoryRegistry, prefix string, gate func(http.Handler) http.Handler) *backend {
	b := &backend{MemoryRegistry: at, prefix: prefix, private: gate != nil, gate: gate}
	b.credentials = registry.Static{Host: at.Host, Source: "the test", Credential: registry.Credential{Username: user, Password: password}}
	b.Wrap(nil)
	return b
}

// onEach is a test on each kind of registry.
func onEach(do func(t *testing.T, reg *backend)) func(t *testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		for name, start := range backends() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				do(t, start(t))
			})
		}
	}
}

// Wrap puts a fault before the registry. Nil takes it away.
func (b *backend) Wrap(fault func(http.Handler) http.Handler) {
	b.MemoryRegistry.Wrap(func(next http.Handler) http.Handler {
		if b.gate != nil {
			next = b.gate(next)
		}
		if fault != nil {
			next = fault(next)
		}
		return next
	})
}

// client has the password for the registry.
func (b *backend) client(t *testing.T, o registry.Options) *registry.Client {
	t.Helper()
	o.Credentials = b.credentials
	return newClient(t, o)
}

func (b *backend) tag(t *testing.T, rest string) artifact.Tag {
	t.Helper()
	return tagOf(t, b.Host, b.prefix+"/"+rest)
}

// asked counts the requests for the place in the registry: those of the handshake are another number
// with each way to authenticate.
func (b *backend) asked() int {
	n := 0
	for _, r := range b.Requests() {
		if strings.HasPrefix(r.Path, "/v2/"+b.prefix+"/") {
			n++
		}
	}
	return n
}
