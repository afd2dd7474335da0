// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// Internet is a proxy on loopback behind which hosts with well-known names are served by a test, with
// certificates that a program accepts which runs with [Internet.Env]. There are no other hosts.
type Internet struct {
	hosts     map[string]http.Handler
	authority *Authority
	file      string
	proxy     *httptest.Server
	server    *httptest.Server
}

// NewInternet serves hosts until the test ends.
func NewInternet(t testing.TB, hosts map[string]http.Handler) *Internet {
	t.Helper()
	authority, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	n := &Internet{hosts: hosts, authority: authority, file: filepath.Join(t.TempDir(), "internet-ca.pem")}
	if err := os.WriteFile(n.file, authority.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0)
	n.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler := n.hosts[r.Host]; handler != nil {
			handler.ServeHTTP(w, r)
			return
		}
		http.Error(w, "no such host", http.StatusMisdirectedRequest)
	}))
	n.server.Config.ErrorLog = quiet
	n.server.TLS = &tls.Config{GetCertificate: n.certificate, MinVersion: tls.VersionTLS12}
	n.server.StartTLS()
	t.Cleanup(n.server.Close)
	n.proxy = httptest.NewUnstartedServer(http.HandlerFunc(n.connect))
	n.proxy.Config.ErrorLog = quiet
	n.proxy.Start()
	t.Cleanup(n.proxy.Close)
	return n
}

// Env is what a program's environment needs, for it to see these hosts.
func (n *Internet) Env() map[string]string {
	return map[string]string{
		"HTTPS_PROXY": n.proxy.URL, "https_proxy": n.proxy.URL, "NO_PROXY": "", "no_proxy": "", "SSL_CERT_FILE": n.file, "SSL_CERT_DIR": filepath.Dir(n.file),
	}
}

// connect leads a tunnel to a known host to the server, and refuses all others.
func (n *Internet) connect(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil || n.hosts[host] == nil {
		http.Error(w, "no such host", http.StatusBadGateway)
		return
	}
	there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", n.server.Listener.Addr().String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = there.Close() }()
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = here.Close() }()
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		defer func() { _ = there.Close() }()
		_, _ = io.Copy(there, here)
	}()
	_, _ = io.Copy(here, there)
}

// certificate makes one for the host that is asked for.
func (n *Internet) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	pair, err := n.authority.Serve(hello.ServerName)
	return &pair, err
}
