// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

const (
	maxRedirects  = 5
	maxAttempts   = 3
	maxSmallBody  = 64 << 10
	maxPatience   = 10 * time.Second // for which a call waits by itself when told to come back later
	headerTimeout = 30 * time.Second
	defaultIdle   = 30 * time.Second
	defaultPause  = 500 * time.Millisecond
	rateWindow    = time.Minute
	minPerWindow  = (10 << 10) * 60 // bytes
)

// transportLimits is the transport below authentication. It decides which requests go out at all,
// repeats those that may be repeated, and bounds what comes back.
type transportLimits struct {
	inner     *http.Transport
	insecure  bool
	userAgent string
	throttle  *Throttle
	pause     time.Duration
	idle      time.Duration
}

func newTransport(o Options, config *tls.Config) *transportLimits {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: refuseMetadata}
	t := &transportLimits{
		inner: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           dialer.DialContext,
			TLSClientConfig:       config,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: headerTimeout,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   8,
			IdleConnTimeout:       5 * time.Minute,
			DisableCompression:    true, // a digest is of the bytes as they are sent
		},
		insecure: o.Insecure, userAgent: o.UserAgent, throttle: o.Throttle, pause: o.Pause, idle: o.IdleTimeout,
	}
	if t.userAgent == "" {
		t.userAgent = "kustomizer"
	}
	if t.pause <= 0 {
		t.pause = defaultPause
	}
	if t.idle <= 0 {
		t.idle = defaultIdle
	}
	return t
}

// refuseMetadata keeps connections away from link-local addresses, where clouds serve credentials,
// whatever name led there.
func refuseMetadata(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil //nolint:nilerr // not an IP network
	}
	ip := at.Addr().Unmap()
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip == netip.MustParseAddr("fd00:ec2::254") {
		return &refusedError{code: Unreachable, detail: fmt.Sprintf("the address %s is link-local", ip)}
	}
	return nil
}

// RoundTrip implements http.RoundTripper.
func (t *transportLimits) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.check(req); err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", t.userAgent)
	repeatable := (req.Method == http.MethodGet || req.Method == http.MethodHead) && req.Body == nil
	for attempt := 1; ; attempt++ {
		if err := t.awaitTurn(req); err != nil {
			return nil, err
		}
		resp, err := t.once(req)
		last := !repeatable || attempt == maxAttempts
		if err != nil {
			if last || !worthRepeating(req.Context(), err) {
				return nil, err
			}
		} else {
			wait := t.throttle.hold(req.URL.Host, resp, time.Now())
			if last || wait > maxPatience || !temporary(resp.StatusCode) {
				return resp, nil
			}
			drain(resp)
		}
		if err := sleep(req.Context(), jitter(t.pause<<(attempt-1))); err != nil {
			return nil, err
		}
	}
}

// awaitTurn waits a short while for a registry that wants to be left alone, and gives up on a long one.
func (t *transportLimits) awaitTurn(req *http.Request) error {
	left := t.throttle.left(req.URL.Host, time.Now())
	if left == 0 {
		return nil
	}
	if deadline, ok := req.Context().Deadline(); left > maxPatience || ok && time.Until(deadline) < left {
		return throttled(req.URL.Host, left)
	}
	return sleep(req.Context(), left)
}

func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

func worthRepeating(ctx context.Context, err error) bool {
	var refused *refusedError
	var dns *net.DNSError
	if ctx.Err() != nil || errors.As(err, &refused) || isTLS(err) {
		return false
	}
	if errors.As(err, &dns) && dns.IsNotFound {
		return false
	}
	return !errors.Is(err, syscall.ECONNREFUSED)
}

// check refuses plain HTTP where it is not allowed, and redirects that are not followed. It sees the
// requests of the handshake as well, whose HTTP client is not ours.
func (t *transportLimits) check(req *http.Request) error {
	if req.URL.Scheme == "http" && !t.insecure && !isLoopback(req.URL.Hostname()) {
		return &refusedError{code: PlainHTTP, detail: fmt.Sprintf("%s is asked for over plain HTTP, which was not allowed", req.URL.Host)}
	}
	if req.Response == nil || req.Response.Request == nil {
		return nil
	}
	hops := 0
	for r := req; r.Response != nil && r.Response.Request != nil; r = r.Response.Request {
		hops++
	}
	from := req.Response.Request.URL
	switch {
	case hops > maxRedirects:
		return &refusedError{code: Redirected, detail: fmt.Sprintf("more than %d redirects", maxRedirects)}
	case from.Scheme == "https" && req.URL.Scheme != "https":
		return &refusedError{code: Redirected, detail: fmt.Sprintf("a redirect leads to %s without TLS", artifact.OneLine(req.URL.Host))}
	case hostOf(from) != hostOf(req.URL) && !isLoopback(from.Hostname()) && isInternal(req.URL.Hostname()):
		return &refusedError{code: Redirected, detail: fmt.Sprintf("a redirect leads to the internal address %s", artifact.OneLine(req.URL.Host))}
	default:
		return nil
	}
}

// isInternal says whether a host is an address within this machine or its network.
func isInternal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return isLoopback(host) || err == nil && (ip.Unmap().IsPrivate() || ip.Unmap().IsLinkLocalUnicast() || ip.IsUnspecified())
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func hostOf(u *url.URL) string { return strings.ToLower(u.Host) }

// apiHost returns the host that serves the API of a registry.
func apiHost(host string) string {
	if host == artifact.DefaultHost {
		return "index." + artifact.DefaultHost
	}
	return host
}

// once sends a request, and bounds the body of its response in size and in time.
func (t *transportLimits) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := t.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Body = &boundedBody{body: resp.Body, ctx: ctx, cancel: cancel, left: maxBody(resp), idle: t.idle, windowStart: time.Now()}
	return resp, nil
}

// maxBody returns how much of a response is read. Blobs are bounded by their descriptors. Where tokens are
// to be had is the registry's choice, and may look like a blob or a manifest; but whoever asks for a token
// says what for in the query, which requests for those two don't have.
func maxBody(resp *http.Response) int64 {
	first := resp.Request
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	plain := first.URL.RawQuery == ""
	switch path := first.URL.Path; {
	case resp.StatusCode >= 300:
		return maxSmallBody
	case plain && strings.Contains(path, "/blobs/") && first.Method == http.MethodGet:
		return -1
	case plain && strings.Contains(path, "/manifests/"), strings.HasSuffix(path, "/tags/list"), strings.Contains(path, "/referrers/"):
		return artifact.MaxManifestBytes
	default:
		return maxSmallBody
	}
}

// boundedBody ends a body that is too long, that stalls, or that drips.
type boundedBody struct {
	body   io.ReadCloser
	ctx    context.Context //nolint:containedctx // of the request that this body belongs to
	cancel context.CancelCauseFunc
	left   int64 // negative for no bound
	idle   time.Duration

	windowStart time.Time
	windowBytes int64
	closeOnce   sync.Once
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.idle, func() {
		b.cancel(&refusedError{code: TimedOut, detail: fmt.Sprintf("no byte for %s", b.idle)})
	})
	n, err := b.body.Read(p)
	timer.Stop()
	if cause := context.Cause(b.ctx); err != nil && cause != nil {
		var refused *refusedError
		if errors.As(cause, &refused) {
			err = refused
		}
	}
	if b.left >= 0 {
		if int64(n) > b.left {
			return int(b.left), &refusedError{code: TooLarge, detail: "the answer is larger than what is read of its kind"}
		}
		b.left -= int64(n)
	}
	b.windowBytes += int64(n)
	if err == nil && time.Since(b.windowStart) > rateWindow {
		if b.windowBytes < minPerWindow {
			return n, &refusedError{code: TimedOut, detail: "the answer comes too slowly"}
		}
		b.windowStart, b.windowBytes = time.Now(), 0
	}
	return n, err
}

// Close implements io.Closer.
func (b *boundedBody) Close() error {
	err := b.body.Close()
	b.closeOnce.Do(func() { b.cancel(nil) })
	return err
}

// drain reads the rest of a small body, so that its connection can be used again.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxSmallBody))
	resp.Body.Close()
}

func jitter(d time.Duration) time.Duration { return d + rand.N(d/5+1) } //nolint:gosec // not for secrets

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
