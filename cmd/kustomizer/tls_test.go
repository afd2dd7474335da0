// SPDX-License-Identifier: Apache-2.0

package main

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
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestTLSScripts runs what needs a registry whose certificate is from an authority of its own, and which
// wants one of its clients: TLS_REGISTRY, with the files ca.pem, client.pem and client.key.
func TestTLSScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "testdata/tls/*.txtar", func(env *testscript.Env) error {
		authority, err := newAuthority()
		if err != nil {
			return err
		}
		server, err := authority.issue(net.IPv4(127, 0, 0, 1))
		if err != nil {
			return err
		}
		client, err := authority.issue(nil)
		if err != nil {
			return err
		}
		registry := httptest.NewUnstartedServer(startRegistry())
		registry.Config.ErrorLog = log.New(io.Discard, "", 0)
		roots := x509.NewCertPool()
		roots.AddCert(authority.certificate)
		registry.TLS = &tls.Config{Certificates: []tls.Certificate{server.pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
		registry.StartTLS()
		env.Defer(registry.Close)
		env.Setenv("TLS_REGISTRY", strings.TrimPrefix(registry.URL, "https://"))
		for name, content := range map[string][]byte{"ca.pem": authority.pem, "client.pem": client.pem, "client.key": client.key} {
			if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o600); err != nil {
				return err
			}
		}
		return nil
	})
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// issued is a certificate with its key.
type issued struct {
	pair     tls.Certificate
	pem, key []byte
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tests"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, err
}

// issue makes a certificate for a server with that address, or without one for a client.
func (a *authority) issue(address net.IP) (issued, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return issued{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if address != nil {
		template.IPAddresses = []net.IP{address}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return issued{}, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return issued{}, err
	}
	out := issued{
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
	}
	out.pair, err = tls.X509KeyPair(out.pem, out.key)
	return out, err
}
