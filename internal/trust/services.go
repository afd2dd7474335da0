// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	"github.com/sigstore/rekor/pkg/generated/client/entries"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// Services are where signatures are certified, logged and timed. An empty URL stands for none.
type Services struct {
	Fulcio    string // issues certificates to identities
	Rekor     string // logs signatures
	Timestamp string // times signatures
	UserAgent string
	// rekor2 says that the log has the second version of its API.
	rekor2 bool
}

// ParseServices reads a signing configuration as Sigstore writes it, signing_config.json. What is
// signed in the layout [Tag] can be logged with the first version of the log's API only.
func ParseServices(text []byte, layouts []Layout) (Services, error) {
	config, err := root.NewSigningConfigFromJSON(text)
	if err != nil {
		return Services{}, badPolicy("the signing configuration can't be read: %s", artifact.OneLine(err.Error()))
	}
	return servicesOf(config, layouts, time.Now())
}

func servicesOf(config *root.SigningConfig, layouts []Layout, now time.Time) (Services, error) {
	versions := sign.RekorAPIVersions
	for _, l := range layouts {
		if l == Tag {
			versions = []uint32{1}
		}
	}
	var out Services
	if all := config.FulcioCertificateAuthorityURLs(); len(all) > 0 {
		one, err := root.SelectService(all, sign.FulcioAPIVersions, now)
		if err != nil {
			return out, badPolicy("the signing configuration names no certificate authority for now")
		}
		out.Fulcio = one.URL
	}
	if all := config.RekorLogURLs(); len(all) > 0 {
		one, err := root.SelectService(all, versions, now)
		if err != nil {
			return out, badPolicy("the signing configuration names no log for now that the layout can do with")
		}
		out.Rekor, out.rekor2 = one.URL, one.MajorAPIVersion > 1
	}
	if all := config.TimestampAuthorityURLs(); len(all) > 0 {
		one, err := root.SelectService(all, sign.TimestampAuthorityAPIVersions, now)
		if err != nil {
			return out, badPolicy("the signing configuration names no time stamp authority for now")
		}
		out.Timestamp = one.URL
	}
	return out, nil
}

func (s Services) any() bool { return s.Rekor != "" || s.Timestamp != "" }

// check refuses services that a token or a signature must not be sent to.
func (s Services) check() error {
	for _, given := range []string{s.Fulcio, s.Rekor, s.Timestamp} {
		if given == "" {
			continue
		}
		u, err := url.Parse(given)
		switch {
		case err != nil, u.Host == "", u.Scheme != "https" && u.Scheme != "http":
			return badPolicy("%q is not the URL of a service", given)
		case u.Scheme == "http" && !isLoopback(u.Hostname()):
			return badPolicy("%s is without TLS", given)
		}
	}
	return nil
}

// prepare says where a signature is logged and timed.
func (s Services) prepare(ctx context.Context, layout Layout, opts *sign.BundleOptions) error {
	if err := s.check(); err != nil {
		return err
	}
	if s.rekor2 && layout == Tag {
		return badPolicy("the log %s can't be used for the layout %s: its answers have no place there", s.Rekor, Tag)
	}
	transport := s.transport(ctx)
	if s.Timestamp != "" {
		opts.TimestampAuthorities = []*sign.TimestampAuthority{sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{
			URL: s.Timestamp, Retries: retries, Transport: transport,
		})}
	}
	if s.Rekor == "" {
		return nil
	}
	log := &sign.RekorOptions{BaseURL: s.Rekor, Retries: retries, Version: 1}
	if s.rekor2 {
		log.Version = 2
	} else {
		u, err := url.Parse(s.Rekor)
		if err != nil {
			return badPolicy("%q is not the URL of a service", s.Rekor)
		}
		api := client.NewWithClient(u.Host, cmp.Or(u.Path, "/"), []string{u.Scheme}, &http.Client{Transport: transport})
		log.Client = entries.New(api, strfmt.Default)
	}
	opts.TransparencyLogs = []sign.Transparency{sign.NewRekor(log)}
	return nil
}

const (
	retries        = 2
	maxAnswer      = 1 << 20
	serviceTimeout = 30 * time.Second
)

// transport is for the services: it follows no redirects, since what is sent may hold a token, ends
// with the context, and bounds what is read.
func (s Services) transport(ctx context.Context) http.RoundTripper {
	inner := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DialContext:           (&net.Dialer{Timeout: serviceTimeout}).DialContext,
		TLSHandshakeTimeout:   serviceTimeout,
		ResponseHeaderTimeout: serviceTimeout,
	}
	return &serviceTransport{ctx: ctx, inner: inner, userAgent: s.UserAgent}
}

type serviceTransport struct {
	ctx       context.Context //nolint:containedctx // the library makes its requests without one
	inner     http.RoundTripper
	userAgent string
}

// RoundTrip implements http.RoundTripper.
func (t *serviceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Response != nil {
		return nil, errors.New("a redirect is not followed")
	}
	ctx, cancel := context.WithCancel(req.Context())
	stop := context.AfterFunc(t.ctx, cancel)
	req = req.Clone(ctx)
	if t.userAgent != "" {
		req.Header.Set("User-Agent", t.userAgent)
	}
	resp, err := t.inner.RoundTrip(req)
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	resp.Body = &answer{Reader: io.LimitReader(resp.Body, maxAnswer), body: resp.Body, done: func() { stop(); cancel() }}
	return resp, nil
}

// answer is the body of a response, cut where it is too long: then it is no valid answer.
type answer struct {
	io.Reader
	body io.Closer
	done func()
}

// Close implements io.Closer.
func (a *answer) Close() error {
	defer a.done()
	return a.body.Close()
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// ServiceError says that a signature could not be certified, logged or timed.
type ServiceError struct {
	Detail string // holds no token
	Err    error  // of the context, or nil
}

// Error implements error.
func (e *ServiceError) Error() string { return "asking the signing services: " + e.Detail }

// Unwrap returns the cause.
func (e *ServiceError) Unwrap() error { return e.Err }

// failed words what a library says about a service, without the token that it may quote.
func (s Signer) failed(ctx context.Context, err error) error {
	if s.Keyless == nil && !s.Services.any() {
		return fmt.Errorf("making the signature: %s", artifact.OneLine(err.Error()))
	}
	said := err.Error()
	if s.Keyless != nil && s.Keyless.Token != "" {
		for part := range strings.SplitSeq(s.Keyless.Token, ".") {
			if len(part) > 0 {
				said = strings.ReplaceAll(said, part, "***")
			}
		}
	}
	return &ServiceError{Detail: artifact.OneLine(said), Err: ctx.Err()}
}
