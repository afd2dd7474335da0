// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Internet is a proxy on loopback behind which hosts with well-known names are served by a test, with
// certificates that a program accepts which runs with [Internet.Env]. There are no other hosts.
type Internet struct {
	hosts     map[string]http.Handler
	authority *x509.Certificate
	key       *ecdsa.PrivateKey
	file      string
	proxy     *httptest.Server
	server    *httptest.Server
}

// NewInternet serves hosts until the test ends.
func NewInternet(t testing.TB, hosts map[string]http.Handler) *Internet {
	t.Helper()
	n := &Internet{hosts: hosts, file: filepath.Join(t.TempDir(), "internet-ca.pem")}
	n.makeAuthority(t)
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

func (n *Internet) makeAuthority(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if n.authority, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	n.key = key
	if err := os.WriteFile(n.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// certificate makes one for the host that is asked for.
func (n *Internet) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "host of a test"}, DNSNames: []string{hello.ServerName},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, n.authority, &n.key.PublicKey, n.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: n.key}, nil
}
