// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/client-go/rest"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/report"
)

// connect makes the connection that the global flags and the kubeconfig describe.
func (a *app) connect() (*cluster.Cluster, error) {
	cfg, err := a.restConfig()
	if err != nil {
		return nil, err
	}
	return cluster.Connect(cfg)
}

// restConfig reads the kubeconfig. Where there is none, and we are not in a pod either, it says so
// in place of client-go's default, a server on localhost that is not there.
func (a *app) restConfig() (*rest.Config, error) {
	raw, err := a.kube.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, &report.KubeconfigError{Err: err}
	}
	if len(raw.Clusters) == 0 && *a.kube.APIServer == "" && !inCluster() {
		return nil, &report.NoClusterError{}
	}
	cfg, err := a.kube.ToRESTConfig()
	if err != nil {
		return nil, &report.KubeconfigError{Err: err}
	}
	cfg.UserAgent = "kustomizer/" + a.program.Version
	cfg.WarningHandler = serverWarnings{a.ui}
	return cfg, nil
}

func inCluster() bool {
	_, err := rest.InClusterConfig()
	return err == nil
}

// serverWarnings shows the warnings that an API server sends with its answers.
type serverWarnings struct{ ui *printer }

// HandleWarningHeader implements rest.WarningHandler.
func (w serverWarnings) HandleWarningHeader(code int, _ string, text string) {
	if code == 299 && text != "" {
		w.ui.Warn("%s", text)
	}
}

// deliveryNamespace returns the namespace of sources, Kustomizations and what belongs to them: of
// the flag, of the environment, or Flux's own.
func (a *app) deliveryNamespace() (string, error) {
	ns := cmp.Or(a.namespace, a.getenv("KUSTOMIZER_NAMESPACE"), a.getenv("FLUX_SYSTEM_NAMESPACE"), fluxNamespace)
	return ns, checkNamespace(ns)
}

// inventoryNamespace returns the namespace of inventories: of the flag, of the environment, or of
// the kubeconfig's context.
func (a *app) inventoryNamespace() (string, error) {
	ns := cmp.Or(a.namespace, a.getenv("KUSTOMIZER_NAMESPACE"), a.getenv("FLUX_SYSTEM_NAMESPACE"))
	if ns == "" {
		var err error
		if ns, _, err = a.kube.ToRawKubeConfigLoader().Namespace(); err != nil {
			return "", &report.KubeconfigError{Err: err}
		}
	}
	return ns, checkNamespace(ns)
}

func checkNamespace(ns string) error {
	if wrong := validation.ValidateNamespaceName(ns, false); len(wrong) > 0 {
		return badUsage("", "the namespace %q is not a valid name: %s", ns, strings.Join(wrong, "; "))
	}
	return nil
}

// checkName says whether a resource can have that name.
func checkName(what, name string) error {
	if wrong := validation.NameIsDNSSubdomain(name, false); len(wrong) > 0 {
		return badUsage("", "%q can't be the name of %s: %s", name, what, strings.Join(wrong, "; "))
	}
	return nil
}
