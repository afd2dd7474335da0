// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto/tls"

	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/registry"
)

// connectionFlags is the group of flags that say how a connection to a registry is made and trusted.
type connectionFlags struct {
	insecure                 bool
	caFile                   string
	certificateFile, keyFile string
}

// AddFlags adds the group to a command.
func (f *connectionFlags) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.insecure, "insecure-registry", false, "allow plain HTTP to registries that are not on this machine")
	fs.StringVar(&f.caFile, "registry-ca-file", "", "file with certificates of authorities that registries are trusted by, beside the system's")
	fs.StringVar(&f.certificateFile, "registry-cert-file", "", "file with the client certificate for registries that ask for one")
	fs.StringVar(&f.keyFile, "registry-key-file", "", "file with the private key of --registry-cert-file")
}

// connect makes a client.
func (f *connectionFlags) connect(a *app, credentials registry.Credentials) (*registry.Client, error) {
	o := registry.Options{Credentials: credentials, Insecure: f.insecure, UserAgent: a.userAgent()}
	if f.caFile != "" {
		pem, err := readSmallFile(f.caFile)
		if err != nil {
			return nil, err
		}
		o.CA = pem
	}
	if err := f.addCertificate(&o); err != nil {
		return nil, err
	}
	client, err := registry.New(o)
	if err != nil {
		return nil, badUsage("give a file with certificates in PEM form", "--registry-ca-file %s: no certificate in PEM form", f.caFile)
	}
	return client, nil
}

func (f *connectionFlags) addCertificate(o *registry.Options) error {
	switch {
	case f.certificateFile == "" && f.keyFile == "":
		return nil
	case f.certificateFile == "" || f.keyFile == "":
		return badUsage("", "--registry-cert-file and --registry-key-file belong together")
	}
	certificate, err := readSmallFile(f.certificateFile)
	if err != nil {
		return err
	}
	key, err := readSmallFile(f.keyFile)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return badUsage("give a certificate and its private key, both in PEM form", "%s and %s are not a certificate and its private key", f.certificateFile, f.keyFile)
	}
	o.Certificate = &pair
	return nil
}
