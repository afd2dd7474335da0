// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

const (
	serviceRange = "10.96.0.0/16"
	serviceIP    = "10.96.0.1"
	nodeName     = "sandbox-node"

	registryUser = "flux"
	// registryHash is the bcrypt hash of "sandbox-password".
	registryHash = "$2a$04$XjPa3AvUzJIe2EP4M3hHgeOIyNT1XPr5C7kvCqEszyE2ne4E3ETOu"
)

//go:embed assets/audit-policy.yaml
var auditPolicy string

//go:embed assets/stages.yaml
var stages string

//go:embed assets/registry.yaml
var registryConfig string

// layout is where one sandbox listens and keeps its files.
type layout struct {
	source, dir                                        string
	etcd, etcdPeer, apiserver, registry, private, kwok string // host:port
}

func newLayout(source, dir string) (layout, error) {
	l := layout{source: source, dir: dir}
	taken := map[int]bool{}
	for _, addr := range []*string{&l.etcd, &l.etcdPeer, &l.apiserver, &l.registry, &l.private, &l.kwok} {
		port, err := freePort(taken)
		if err != nil {
			return l, err
		}
		*addr = fmt.Sprintf("127.0.0.1:%d", port)
	}
	return l, nil
}

// freePort picks from a range that systems don't hand out to outgoing
// connections, so that a port found free is still free when its process binds it.
func freePort(taken map[int]bool) (int, error) {
	for range 200 {
		port := 20000 + rand.IntN(10000)
		if taken[port] {
			continue
		}
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		listener.Close()
		taken[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port on 127.0.0.1 between 20000 and 29999")
}

func (l layout) bin(name string) string  { return binary(l.source, name) }
func (l layout) path(name string) string { return filepath.Join(l.dir, name) }
func (l layout) cert(name string) string { return filepath.Join(l.dir, "pki", name) }
func (l layout) server() string          { return "https://" + l.apiserver }

func (l layout) state(o options) State {
	s := State{Dir: l.dir, Launcher: l.bin("sandbox")}
	if o.controlPlane() {
		s.Server, s.Etcd, s.Kubeconfig = l.server(), l.etcd, l.path("admin.kubeconfig")
		s.CACert, s.CAKey, s.AuditLog = l.cert("ca.crt"), l.cert("ca.key"), l.path("audit.log")
		s.Kubectl, s.Controllers = l.bin("kubectl"), o.controllers
	}
	if o.registries() {
		s.Registry, s.RegistryLog = l.registry, l.path("registry.log")
		s.PrivateRegistry, s.PrivateRegistryLog = l.private, l.path("private-registry.log")
	}
	return s
}

// write fills the state directory with all that the components read.
func (l layout) write() error {
	for _, dir := range []string{"logs", "home"} {
		if err := os.MkdirAll(l.path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := l.writePKI(); err != nil {
		return err
	}
	for user, file := range map[string]string{
		"admin": "admin.kubeconfig", "controller-manager": "controller-manager.kubeconfig",
		"scheduler": "scheduler.kubeconfig", "kwok": "kwok.kubeconfig",
	} {
		if err := l.writeKubeconfig(user, file); err != nil {
			return err
		}
	}
	for file, content := range map[string]string{
		"audit-policy.yaml": auditPolicy, "audit.log": "", "stages.yaml": stages,
		"htpasswd": registryUser + ":" + registryHash + "\n",
	} {
		if err := os.WriteFile(l.path(file), []byte(content), 0o600); err != nil {
			return err
		}
	}
	if err := l.writeRegistry("registry", l.registry, ""); err != nil {
		return err
	}
	return l.writeRegistry("private-registry", l.private, l.path("htpasswd"))
}

func (l layout) writePKI() error {
	ca, err := newPKI(l.path("pki"), "ca")
	if err != nil {
		return err
	}
	if err := ca.server("apiserver"); err != nil {
		return err
	}
	if err := ca.signingKey("service-account"); err != nil {
		return err
	}
	for name, user := range map[string][]string{
		"admin":              {"sandbox-admin", "system:masters"},
		"controller-manager": {"system:kube-controller-manager"},
		"scheduler":          {"system:kube-scheduler"},
		"kwok":               {"sandbox-kwok", "system:masters"},
	} {
		if err := ca.client(name, user[0], user[1:]...); err != nil {
			return err
		}
	}
	// Requests that the API server passes on to other API servers are vouched
	// for by an authority of their own.
	proxy, err := newPKI(l.path("pki"), "front-proxy-ca")
	if err != nil {
		return err
	}
	return proxy.client("front-proxy", "front-proxy")
}

func (l layout) writeKubeconfig(name, file string) error {
	var encoded [3]string
	for i, path := range []string{"ca.crt", name + ".crt", name + ".key"} {
		data, err := os.ReadFile(l.cert(path))
		if err != nil {
			return err
		}
		encoded[i] = base64.StdEncoding.EncodeToString(data)
	}
	config := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: sandbox
clusters:
- name: sandbox
  cluster:
    server: %s
    certificate-authority-data: %s
contexts:
- name: sandbox
  context:
    cluster: sandbox
    user: %s
users:
- name: %s
  user:
    client-certificate-data: %s
    client-key-data: %s
`, l.server(), encoded[0], name, name, encoded[1], encoded[2])
	return os.WriteFile(l.path(file), []byte(config), 0o600)
}

func (l layout) writeRegistry(name, addr, htpasswd string) error {
	t, err := template.New(name).Parse(registryConfig)
	if err != nil {
		return err
	}
	var config strings.Builder
	data := map[string]string{"Root": l.path(name), "Addr": addr, "Htpasswd": htpasswd}
	if err := t.Execute(&config, data); err != nil {
		return err
	}
	return os.WriteFile(l.path(name+".yaml"), []byte(config.String()), 0o600)
}

func (l layout) etcdChild() child {
	client, peer := "http://"+l.etcd, "http://"+l.etcdPeer
	return child{name: "etcd", bin: l.bin("etcd"), args: []string{
		"--name=sandbox", "--data-dir=" + l.path("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=sandbox=" + peer,
		"--quota-backend-bytes=2147483648", "--log-level=warn",
	}}
}

func (l layout) apiserverChild() child {
	host, port, _ := net.SplitHostPort(l.apiserver)
	return child{name: "kube-apiserver", bin: l.bin("kube-apiserver"), args: []string{
		"--etcd-servers=http://" + l.etcd,
		"--bind-address=" + host, "--secure-port=" + port, "--advertise-address=" + host,
		"--endpoint-reconciler-type=none", // nothing inside the cluster could connect to loopback
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=RBAC", "--allow-privileged=true",
		// The simulated node is ready from the start, and no controller would take the taint away.
		"--disable-admission-plugins=TaintNodesByCondition",
		"--client-ca-file=" + l.cert("ca.crt"),
		"--tls-cert-file=" + l.cert("apiserver.crt"), "--tls-private-key-file=" + l.cert("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + l.cert("service-account.pub"),
		"--service-account-signing-key-file=" + l.cert("service-account.key"),
		"--requestheader-client-ca-file=" + l.cert("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + l.cert("front-proxy.crt"), "--proxy-client-key-file=" + l.cert("front-proxy.key"),
		"--audit-policy-file=" + l.path("audit-policy.yaml"), "--audit-log-path=" + l.path("audit.log"),
		"--audit-log-mode=blocking",   // each line is written before the next request of its client
		"--audit-log-maxsize=1000000", // in MB: into one file, as 0 means that it is rotated at 100
	}}
}

// allControllers are those that find something to do here: there is no cloud, and the simulated node gives
// no sign of life.
const allControllers = "*,-node-lifecycle-controller,-node-ipam-controller,-service-lb-controller,-node-route-controller"

func (l layout) managerChild(controllers string) child {
	config := l.path("controller-manager.kubeconfig")
	return child{name: "kube-controller-manager", bin: l.bin("kube-controller-manager"), args: []string{
		"--kubeconfig=" + config, "--secure-port=0", "--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + l.cert("service-account.key"),
		"--root-ca-file=" + l.cert("ca.crt"),
		"--kube-api-qps=400", "--kube-api-burst=800",
		"--horizontal-pod-autoscaler-sync-period=5s",
		"--controllers=" + controllers,
	}}
}

func (l layout) schedulerChild() child {
	return child{name: "kube-scheduler", bin: l.bin("kube-scheduler"), args: []string{
		"--kubeconfig=" + l.path("scheduler.kubeconfig"), "--secure-port=0", "--leader-elect=false",
		"--kube-api-qps=400", "--kube-api-burst=800",
	}}
}

func (l layout) kwokChild() child {
	return child{name: "kwok", bin: l.bin("kwok"), args: []string{
		"--kubeconfig=" + l.path("kwok.kubeconfig"), "--config=" + l.path("stages.yaml"),
		"--manage-all-nodes=true", "--node-lease-duration-seconds=0", "--server-address=" + l.kwok, "--node-ip=10.1.0.1",
	}}
}

func (l layout) registryChild(name string) child {
	return child{name: name, bin: l.bin("registry"), stdout: l.path(name + ".log"),
		args: []string{"serve", l.path(name + ".yaml")}}
}
