// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kustomizer/kustomizer/config"
	"github.com/kustomizer/kustomizer/internal/object"
)

// Names that the embedded configuration uses.
const (
	AgentName          = "kustomizer"  // of the agent's Deployment, ServiceAccount, Service and inventory
	AgentNamespace     = "flux-system" // where it is installed unless something else is asked for
	AgentRegistry      = "ghcr.io/kustomizer"
	AgentClusterDomain = "cluster.local"

	// PartOfLabel with the value [AgentName] marks what install brought.
	PartOfLabel = "app.kubernetes.io/part-of"
)

// InstallOptions say how the agent is installed. An empty string stands for the default.
type InstallOptions struct {
	Namespace          string   // [AgentNamespace]
	Image              string   // reference of the agent's image; required: see [DefaultImage]
	ImagePullSecret    string   // name of the Secret in Namespace with which the image is pulled
	LogLevel           string   // debug, info or error
	OneNamespace       bool     // watch the resources in Namespace only, not in all
	NoNetworkPolicy    bool     // leave the NetworkPolicies out
	ClusterDomain      string   // [AgentClusterDomain]
	TolerationKeys     []string // keys of taints on which the agent may run
	RegistryCredential []byte   // a Docker config with which ImagePullSecret is created; a secret
}

// LogLevels lists what InstallOptions.LogLevel may be.
func LogLevels() []string { return []string{"debug", "info", "error"} }

// DefaultImage returns the reference of the image that belongs to a version of the program.
func DefaultImage(registry, version string) string {
	if version == "" {
		version = "latest"
	}
	// Semantic versions may hold a plus, tags may not.
	return strings.TrimSuffix(registry, "/") + "/" + AgentName + ":" + strings.ReplaceAll(version, "+", "-")
}

// Manifests returns what install applies, in the order of [object.Sort]: the definitions, the
// agent's rights, and the agent with its namespace.
func Manifests(opts InstallOptions) ([]*unstructured.Unstructured, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	objs, err := embedded()
	if err != nil {
		return nil, err
	}
	if opts.NoNetworkPolicy {
		objs = slices.DeleteFunc(objs, func(u *unstructured.Unstructured) bool { return u.GetKind() == "NetworkPolicy" })
	}
	if len(opts.RegistryCredential) > 0 {
		objs = append(objs, pullSecret(opts))
	}
	for _, u := range objs {
		if err := opts.edit(u); err != nil {
			return nil, fmt.Errorf("preparing %s: %w", object.Of(u), err)
		}
	}
	object.Sort(objs)
	return objs, nil
}

func (o InstallOptions) withDefaults() InstallOptions {
	o.Namespace = cmp.Or(o.Namespace, AgentNamespace)
	o.LogLevel = cmp.Or(o.LogLevel, "info")
	o.ClusterDomain = cmp.Or(o.ClusterDomain, AgentClusterDomain)
	return o
}

func (o InstallOptions) validate() error {
	if problems := validation.IsDNS1123Label(o.Namespace); len(problems) > 0 {
		return fmt.Errorf("namespace %q: %s", o.Namespace, problems[0])
	}
	if problems := validation.IsDNS1123Subdomain(strings.TrimSuffix(o.ClusterDomain, ".")); len(problems) > 0 {
		return fmt.Errorf("cluster domain %q: %s", o.ClusterDomain, problems[0])
	}
	if o.Image == "" {
		return errors.New("the agent's image has no reference")
	}
	if !slices.Contains(LogLevels(), o.LogLevel) {
		return fmt.Errorf("log level %q: want one of %s", o.LogLevel, strings.Join(LogLevels(), ", "))
	}
	if len(o.RegistryCredential) > 0 && o.ImagePullSecret == "" {
		return errors.New("credentials for the registry need the name of the Secret that will hold them")
	}
	for _, key := range o.TolerationKeys {
		if problems := validation.IsQualifiedName(key); len(problems) > 0 {
			return fmt.Errorf("toleration key %q: %s", key, problems[0])
		}
	}
	return nil
}

// embedded decodes the configuration that the binary carries.
func embedded() ([]*unstructured.Unstructured, error) {
	var objs []*unstructured.Unstructured
	err := fs.WalkDir(config.Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Base(name) == "kustomization.yaml" {
			return err
		}
		raw, err := config.Files.ReadFile(name)
		if err != nil {
			return err
		}
		found, err := object.Decode(raw, name)
		if err != nil {
			return fmt.Errorf("reading the embedded configuration: %w", err)
		}
		for _, located := range found {
			objs = append(objs, located.Object)
		}
		return nil
	})
	return objs, err
}

// edit changes what the options ask for in one object.
func (o InstallOptions) edit(u *unstructured.Unstructured) error {
	switch {
	case u.GetKind() == "Namespace":
		u.SetName(o.Namespace)
	case u.GetNamespace() != "":
		u.SetNamespace(o.Namespace)
	}
	switch u.GetKind() {
	case "ClusterRoleBinding", "RoleBinding":
		return o.editSubjects(u)
	case "ServiceAccount":
		return o.editPullSecrets(u)
	case "Deployment":
		return o.editDeployment(u)
	}
	return nil
}

func (o InstallOptions) editSubjects(u *unstructured.Unstructured) error {
	subjects, _, err := unstructured.NestedSlice(u.Object, "subjects")
	if err != nil {
		return err
	}
	for _, s := range subjects {
		if err := unstructured.SetNestedField(s.(map[string]any), o.Namespace, "namespace"); err != nil {
			return err
		}
	}
	return unstructured.SetNestedSlice(u.Object, subjects, "subjects")
}

func (o InstallOptions) editPullSecrets(u *unstructured.Unstructured) error {
	if o.ImagePullSecret == "" {
		return nil
	}
	return unstructured.SetNestedSlice(u.Object, []any{map[string]any{"name": o.ImagePullSecret}}, "imagePullSecrets")
}

func (o InstallOptions) editDeployment(u *unstructured.Unstructured) error {
	pod, _, err := unstructured.NestedMap(u.Object, "spec", "template", "spec")
	if err != nil {
		return err
	}
	containers, _, err := unstructured.NestedSlice(pod, "containers")
	if err != nil {
		return err
	}
	if len(containers) != 1 {
		return fmt.Errorf("want one container, got %d", len(containers))
	}
	container := containers[0].(map[string]any)
	container["image"] = o.Image
	args, _, err := unstructured.NestedStringSlice(container, "args")
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedStringSlice(container, o.editArgs(args), "args"); err != nil {
		return err
	}
	pod["containers"] = containers
	if len(o.TolerationKeys) > 0 {
		pod["tolerations"] = o.tolerations()
	}
	return unstructured.SetNestedMap(u.Object, pod, "spec", "template", "spec")
}

func (o InstallOptions) tolerations() []any {
	var tolerations []any
	for _, key := range o.TolerationKeys {
		tolerations = append(tolerations, map[string]any{"key": key, "operator": "Exists"})
	}
	return tolerations
}

// editArgs sets those of the agent's arguments that the options decide.
func (o InstallOptions) editArgs(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		switch flag {
		case "--watch-all-namespaces":
			args[i] = fmt.Sprintf("%s=%t", flag, !o.OneNamespace)
		case "--log-level":
			args[i] = flag + "=" + o.LogLevel
		case "--storage-adv-addr":
			args[i] = fmt.Sprintf("%s=%s.$(RUNTIME_NAMESPACE).svc.%s.", flag, AgentName, strings.TrimSuffix(o.ClusterDomain, "."))
		}
	}
	return args
}

// pullSecret returns the Secret with which the agent's image is pulled.
func pullSecret(opts InstallOptions) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Secret",
		"metadata": map[string]any{
			"name":      opts.ImagePullSecret,
			"namespace": opts.Namespace,
			"labels":    map[string]any{"app.kubernetes.io/name": AgentName, PartOfLabel: AgentName},
		},
		"type": "kubernetes.io/dockerconfigjson",
		"data": map[string]any{".dockerconfigjson": base64.StdEncoding.EncodeToString(opts.RegistryCredential)},
	}}
}
