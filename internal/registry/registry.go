// SPDX-License-Identifier: Apache-2.0

// Package registry talks to OCI registries: it finds credentials, resolves tags, pulls, pushes, tags
// and lists.
//
// A [Client] keeps its connections, the registry's challenge and the token, so that looking whether a
// tag has moved costs one HEAD request. Whatever a registry answers is bounded and checked: bodies
// have limits, bytes have the digest that was asked for, redirects are few and never carry
// credentials to another host. Errors are of type [Error], with a [Code] that says what went wrong.
package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// Options describe how a client reaches registries. The zero value is anonymous, with TLS and the
// system's roots.
type Options struct {
	Credentials Credentials      // nil for none
	Insecure    bool             // plain HTTP is allowed to any host, not only to loopback
	SkipVerify  bool             // the server's certificate is not checked
	CA          []byte           // PEM of roots to trust beside the system's
	Certificate *tls.Certificate // shown to registries that ask for one
	UserAgent   string
	Throttle    *Throttle     // shared by clients that should wait together; nil for one of its own
	Timeout     time.Duration // of one call; zero for the context's only
	Pause       time.Duration // between attempts, doubled each time; zero for half a second
	IdleTimeout time.Duration // without a byte; zero for 30 seconds
}

// Client talks to registries. It is safe for use by several goroutines.
type Client struct {
	options Options
	base    *transportLimits

	mu       sync.Mutex
	sessions map[sessionKey]*session
}

type sessionKey struct {
	repository artifact.Repository
	purpose    purpose
}

// purpose is what a session asks the registry to be allowed.
type purpose int

const (
	toPull purpose = iota
	toPush
	toDelete
)

func purposeOf(push bool) purpose {
	if push {
		return toPush
	}
	return toPull
}

// session is what is kept of a repository: the authenticated transport.
type session struct {
	mu     sync.Mutex
	client *http.Client
}

// New makes a client. It does not contact any registry.
func New(o Options) (*Client, error) {
	if o.Credentials == nil {
		o.Credentials = Anonymous{}
	}
	if o.Throttle == nil {
		o.Throttle = NewThrottle()
	}
	roots, err := rootsWith(o.CA)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, InsecureSkipVerify: o.SkipVerify} //nolint:gosec // on request
	if o.Certificate != nil {
		config.Certificates = []tls.Certificate{*o.Certificate}
	}
	return &Client{options: o, base: newTransport(o, config), sessions: map[sessionKey]*session{}}, nil
}

func rootsWith(pem []byte) (*x509.CertPool, error) {
	if len(pem) == 0 {
		return nil, nil //nolint:nilnil // nil is crypto/tls' word for the system's roots
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("reading the CA: no certificate in PEM form")
	}
	return roots, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.base.inner.CloseIdleConnections() }

// limit applies the client's timeout to a call.
func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.options.Timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.options.Timeout)
}

// session returns the HTTP client for a repository, after the registry's challenge has been answered.
func (c *Client) session(ctx context.Context, repo artifact.Repository, p purpose) (*http.Client, error) {
	key := sessionKey{repo, p}
	c.mu.Lock()
	s := c.sessions[key]
	if s == nil {
		s = &session{}
		c.sessions[key] = s
	}
	c.mu.Unlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	client, err := c.handshake(ctx, repo, p)
	if err != nil {
		return nil, err
	}
	s.client = client
	return client, nil
}

// forget drops what is kept of a repository, so that the next call looks for credentials again.
func (c *Client) forget(repo artifact.Repository) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range []purpose{toPull, toPush, toDelete} {
		delete(c.sessions, sessionKey{repo, p})
	}
}

func (c *Client) handshake(ctx context.Context, repo artifact.Repository, p purpose) (*http.Client, error) {
	target, err := c.target(repo)
	if err != nil {
		return nil, err
	}
	credential, err := c.options.Credentials.Lookup(ctx, repo)
	if err != nil {
		return nil, err
	}
	tr, err := transport.NewWithContext(ctx, target.Registry, credential.authenticator(), c.base, []string{target.Scope(p.scope())})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: tr}, nil
}

// scope is what a token is asked for.
func (p purpose) scope() string {
	switch p {
	case toPush:
		return transport.PushScope
	case toDelete:
		return transport.DeleteScope // with push and pull
	default:
		return transport.PullScope
	}
}

// target names a repository as go-containerregistry does.
func (c *Client) target(repo artifact.Repository) (name.Repository, error) {
	options := []name.Option{}
	if c.options.Insecure {
		options = append(options, name.Insecure)
	}
	return name.NewRepository(repo.String(), options...)
}

// authenticator is the form in which go-containerregistry takes credentials.
func (c Credential) authenticator() authn.Authenticator {
	if c.IsZero() {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
	})
}
