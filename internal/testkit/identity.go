// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Identity is a user of the cluster.
type Identity struct {
	UserName string
	Groups   []string
	// Kubeconfig is the path of a file in the test's temporary directory. Its
	// context's namespace is "default".
	Kubeconfig string
	// Config is the same without client-side throttling.
	Config *rest.Config
}

// User makes a further user with a client certificate of its own. Without a
// group like system:masters it may do what the test grants it by RBAC.
func (e *Env) User(t testing.TB, name string, groups ...string) Identity {
	t.Helper()
	cert, key, err := e.authority.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		t.Fatalf("issuing a certificate for %s: %v", name, err)
	}
	user := &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	id := e.identity(t, name, e.Server, user)
	id.Groups = groups
	return id
}

// identity writes a kubeconfig for a server that the sandbox's authority vouches for.
func (e *Env) identity(t testing.TB, name, server string, user *clientcmdapi.AuthInfo) Identity {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["sandbox"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: e.authority.pem}
	config.AuthInfos[name] = user
	config.Contexts["sandbox"] = &clientcmdapi.Context{Cluster: "sandbox", AuthInfo: name}
	config.CurrentContext = "sandbox"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatalf("writing a kubeconfig: %v", err)
	}
	restConfig, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
	if err != nil {
		t.Fatalf("reading a kubeconfig: %v", err)
	}
	restConfig.QPS = -1
	return Identity{UserName: name, Kubeconfig: path, Config: restConfig}
}

// authority issues certificates that the API server trusts.
type authority struct {
	cert *x509.Certificate
	key  crypto.PrivateKey
	pem  []byte
}

func readAuthority(certFile, keyFile string) (*authority, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	return &authority{cert: pair.Leaf, key: pair.PrivateKey, pem: data}, nil
}

// issue completes a template and returns the certificate and its key as PEM.
func (a *authority) issue(template *x509.Certificate) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, err
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), nil
}

// serve issues a certificate for a server on loopback.
func (a *authority) serve() (tls.Certificate, error) {
	cert, key, err := a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "testkit"},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}
