// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// TestTLSScripts runs what needs a registry whose certificate is from an authority of its own, and which
// wants one of its clients: TLS_REGISTRY, with the files ca.pem, client.pem and client.key.
func TestTLSScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "testdata/tls/*.txtar", func(env *testscript.Env) error {
		authority, err := testkit.NewAuthority()
		if err != nil {
			return err
		}
		server, err := authority.Serve()
		if err != nil {
			return err
		}
		client, clientKey, err := authority.Issue(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			return err
		}
		registry := httptest.NewUnstartedServer(startRegistry())
		registry.Config.ErrorLog = log.New(io.Discard, "", 0)
		registry.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: authority.Pool(), ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
		registry.StartTLS()
		env.Defer(registry.Close)
		env.Setenv("TLS_REGISTRY", strings.TrimPrefix(registry.URL, "https://"))
		for name, content := range map[string][]byte{"ca.pem": authority.PEM, "client.pem": client, "client.key": clientKey} {
			if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o600); err != nil {
				return err
			}
		}
		return nil
	})
}
