// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"path/filepath"
	"testing"

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
	cert, key, err := e.authority.Issue(&x509.Certificate{
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
	config.Clusters["sandbox"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: e.authority.PEM}
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
