// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"os"
	"runtime"
	"slices"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// bundles are where distributions of Linux keep the authorities that they trust, as crypto/x509 looks
// for them in root_linux.go.
var bundles = [...]string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// trustSomebody gives a system that has no certificate authorities, as the smallest images have none,
// those that Mozilla trusts. To parse them takes as long as all else before a short command begins, so
// they are left alone where there are others. Of those in other places, crypto/x509 sees to it itself
// that they come first. Systems that are not Linux verify certificates themselves.
func trustSomebody() {
	if runtime.GOOS == "linux" && !slices.ContainsFunc(candidates(), hasContent) {
		x509.SetFallbackRoots(builtIn())
	}
}

// candidates are the files that crypto/x509 would read.
func candidates() []string {
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		return []string{file}
	}
	return bundles[:]
}

func hasContent(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Size() > 0
}

// builtIn returns the authorities that are compiled in.
func builtIn() *x509.CertPool {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			panic(err) // not input: a test reads them all
		}
		if root.Constraint == nil {
			pool.AddCert(certificate)
		} else {
			pool.AddCertWithConstraint(certificate, root.Constraint)
		}
	}
	return pool
}
