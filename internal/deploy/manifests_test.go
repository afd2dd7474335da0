// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/object"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

func TestManifestsAreAsReviewed(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]InstallOptions{
		"default": {Image: DefaultImage(AgentRegistry, "1.2.3")},
		"all options": {
			Namespace: "delivery", Image: "registry.example/kustomizer@sha256:" + strings.Repeat("a", 64),
			ImagePullSecret: "pull", RegistryCredential: []byte(`{"auths":{}}`), LogLevel: "debug", OneNamespace: true,
			NoNetworkPolicy: true, ClusterDomain: "example.internal", TolerationKeys: []string{"node-role.kubernetes.io/control-plane"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objs, err := Manifests(opts)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "manifests-"+strings.ReplaceAll(name, " ", "-")+".yaml", withoutSchemas(t, objs))
		})
	}
}

// withoutSchemas prints objects as YAML. The schemas of the definitions are left out: they have an
// expectation of their own in what go generate writes.
func withoutSchemas(t *testing.T, objs []*unstructured.Unstructured) []byte {
	t.Helper()
	var buf bytes.Buffer
	for _, u := range objs {
		if u.GetKind() == "CustomResourceDefinition" {
			u = u.DeepCopy()
			for _, v := range u.Object["spec"].(map[string]any)["versions"].([]any) {
				delete(v.(map[string]any), "schema")
			}
		}
		raw, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		buf.WriteString("---\n")
		buf.Write(raw)
	}
	return buf.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got), rewrite with -update:\n%s", file, diff)
	}
}

func TestManifestsKeepTheAgentUnprivileged(t *testing.T) {
	t.Parallel()
	d := decodeAs[appsv1.Deployment](t, manifest(t, "Deployment", "kustomizer"))
	pod := d.Spec.Template.Spec
	if sc := pod.SecurityContext; !*sc.RunAsNonRoot || *sc.RunAsUser != 65532 || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod's security context is %+v", sc)
	}
	if pod.ServiceAccountName != "kustomizer" || pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Errorf("the pod runs as %q, on the host's network %t", pod.ServiceAccountName, pod.HostNetwork)
	}
	for _, c := range pod.Containers {
		sc := c.SecurityContext
		if !*sc.RunAsNonRoot || !*sc.ReadOnlyRootFilesystem || *sc.AllowPrivilegeEscalation {
			t.Errorf("container %s: security context is %+v", c.Name, sc)
		}
		if diff := cmp.Diff([]corev1.Capability{"ALL"}, sc.Capabilities.Drop); diff != "" {
			t.Errorf("container %s: dropped capabilities (-want +got):\n%s", c.Name, diff)
		}
		for _, list := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
			if list.Cpu().IsZero() || list.Memory().IsZero() {
				t.Errorf("container %s: resources are %+v", c.Name, c.Resources)
			}
		}
		if c.LivenessProbe == nil || c.ReadinessProbe == nil {
			t.Errorf("container %s lacks a probe", c.Name)
		}
	}
	for _, v := range pod.Volumes {
		if v.EmptyDir == nil {
			t.Errorf("volume %s is not an emptyDir", v.Name)
		}
	}
}

// TestManifestsNeverTakeFluxesNames guards D3: Flux's own objects are never applied, so nothing of
// ours may be called like them, or be counted as part of Flux.
func TestManifestsNeverTakeFluxesNames(t *testing.T) {
	t.Parallel()
	for _, u := range manifests(t, InstallOptions{}) {
		if got := u.GetLabels()[PartOfLabel]; got != AgentName {
			t.Errorf("%s is part of %q", object.Of(u), got)
		}
		if u.GetKind() == "CustomResourceDefinition" || u.GetKind() == "Namespace" {
			continue
		}
		if !strings.HasPrefix(u.GetName(), AgentName) {
			t.Errorf("%s: want a name that begins with %s", object.Of(u), AgentName)
		}
	}
}

func TestManifestsReferToEachOther(t *testing.T) {
	t.Parallel()
	deployment := decodeAs[appsv1.Deployment](t, manifest(t, "Deployment", "kustomizer"))
	labels := deployment.Spec.Template.Labels
	for key, value := range deployment.Spec.Selector.MatchLabels {
		if labels[key] != value {
			t.Errorf("the Deployment selects %s=%s, its pods have %q", key, value, labels[key])
		}
	}
	service := decodeAs[corev1.Service](t, manifest(t, "Service", "kustomizer"))
	for key, value := range service.Spec.Selector {
		if labels[key] != value {
			t.Errorf("the Service selects %s=%s, pods have %q", key, value, labels[key])
		}
	}
	ports := deployment.Spec.Template.Spec.Containers[0].Ports
	if !slices.ContainsFunc(ports, func(p corev1.ContainerPort) bool { return p.Name == service.Spec.Ports[0].TargetPort.String() }) {
		t.Errorf("the Service points to %s, pods have %v", &service.Spec.Ports[0].TargetPort, ports)
	}
	for _, u := range manifests(t, InstallOptions{Namespace: "delivery"}) {
		if u.GetKind() != "ClusterRoleBinding" && u.GetKind() != "RoleBinding" {
			continue
		}
		binding := decodeAs[rbacv1.ClusterRoleBinding](t, u)
		want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "kustomizer", Namespace: "delivery"}}
		if diff := cmp.Diff(want, binding.Subjects); diff != "" {
			t.Errorf("%s: subjects (-want +got):\n%s", object.Of(u), diff)
		}
	}
}

func TestManifestsRefuseWhatCannotWork(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]InstallOptions{
		"no image":                         {},
		"a namespace that is no name":      {Image: "x", Namespace: "Flux_System"},
		"a log level that is none":         {Image: "x", LogLevel: "trace"},
		"a cluster domain that is no name": {Image: "x", ClusterDomain: "a b"},
		"a toleration key that is none":    {Image: "x", TolerationKeys: []string{"a b"}},
		"credentials without a place":      {Image: "x", RegistryCredential: []byte("{}")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Manifests(opts); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestDefaultImageIsAValidReference(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"1.2.3":       "ghcr.io/kustomizer/kustomizer:1.2.3",
		"1.2.3+build": "ghcr.io/kustomizer/kustomizer:1.2.3-build",
		"":            "ghcr.io/kustomizer/kustomizer:latest",
	} {
		if got := DefaultImage(AgentRegistry+"/", version); got != want {
			t.Errorf("version %q: %s, want %s", version, got, want)
		}
	}
}

func manifests(t *testing.T, opts InstallOptions) []*unstructured.Unstructured {
	t.Helper()
	opts.Image = DefaultImage(AgentRegistry, "1.2.3")
	objs, err := Manifests(opts)
	if err != nil {
		t.Fatal(err)
	}
	return objs
}

func manifest(t *testing.T, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, u := range manifests(t, InstallOptions{}) {
		if u.GetKind() == kind && u.GetName() == name {
			return u
		}
	}
	t.Fatalf("no %s %s in the manifests", kind, name)
	return nil
}

// decodeAs reads an object as its type; a field that the type doesn't have is an error.
func decodeAs[T any](t *testing.T, u *unstructured.Unstructured) T {
	t.Helper()
	var typed T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, &typed, true); err != nil {
		t.Fatalf("%s: %v", object.Of(u), err)
	}
	return typed
}
