// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// installation is a control plane of the test's own, with which it installs and uninstalls.
type installation struct {
	*testkit.Env
	cluster *cluster.Cluster
	opts    deploy.InstallOptions
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	env := testkit.OwnControlPlane(t, testkit.ControlPlane{Node: true})
	c, err := cluster.Connect(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	return &installation{Env: env, cluster: c, opts: deploy.InstallOptions{Image: deploy.DefaultImage(deploy.AgentRegistry, "1.2.3")}}
}

// install installs and returns what was done, one "Kind/namespace/name verb" each.
func (in *installation) install(t *testing.T) []string {
	t.Helper()
	prepared, err := deploy.PrepareInstall(t.Context(), in.cluster, in.opts, false)
	if err != nil {
		t.Fatal(err)
	}
	engine := &deploy.Engine{Cluster: in.cluster, AgentNamespace: deploy.AgentNamespace}
	var did []string
	progress := deploy.Progress{Changed: func(c apply.Change) { did = append(did, c.ID.String()+" "+c.Verb()) }}
	out := engine.Install(t.Context(), prepared.Request(deploy.AgentNamespace, ""), progress)
	if out.State != deploy.Done {
		t.Fatalf("state %s: %v", out.State, out.Err)
	}
	return did
}

// uninstall removes the installation and returns what stays and why.
func (in *installation) uninstall(t *testing.T) []string {
	t.Helper()
	found, err := deploy.PrepareUninstall(t.Context(), in.cluster, deploy.AgentNamespace, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := found.Remove(t.Context(), in.cluster, func(deploy.Removal) {}); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, k := range found.Kept {
		kept = append(kept, k.ID.String()+": "+k.Reason)
	}
	return kept
}

func (in *installation) definitions() dynamic.ResourceInterface {
	return in.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
}

func (in *installation) kustomizations(namespace string) dynamic.ResourceInterface {
	return in.Dynamic.Resource(schema.GroupVersionResource{
		Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations",
	}).Namespace(namespace)
}

const (
	kustomizationsCRD = "kustomizations.kustomize.toolkit.fluxcd.io"
	sourcesCRD        = "ocirepositories.source.toolkit.fluxcd.io"
)

// TestInstallUpgradeAndUninstall goes through the life of an installation.
func TestInstallUpgradeAndUninstall(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	first := in.install(t)
	if !slices.Contains(first, "Namespace/flux-system created") || !slices.Contains(first, "Deployment/flux-system/kustomizer created") {
		t.Errorf("the first installation did %q", first)
	}
	d, err := in.Kube.AppsV1().Deployments("flux-system").Get(t.Context(), "kustomizer", metav1.GetOptions{})
	if err != nil || d.Status.Replicas != 1 {
		t.Fatalf("the agent is not available after install: %v, %v", d, err)
	}
	before := in.Mark(t)
	if again := in.install(t); len(again) > 0 {
		t.Errorf("a second installation did %q", again)
	}
	if writes := in.Requests(t, testkit.ByUser(in.UserName), testkit.After(before)).Writes(); len(writes) > 0 {
		t.Errorf("a second installation wrote:\n%s", writes)
	}

	in.opts.NoNetworkPolicy = true
	in.opts.LogLevel = "debug"
	upgrade := in.install(t)
	want := []string{
		"Deployment/flux-system/kustomizer configured",
		"NetworkPolicy/flux-system/kustomizer-allow-artifacts deleted",
		"NetworkPolicy/flux-system/kustomizer-allow-egress deleted",
		"NetworkPolicy/flux-system/kustomizer-allow-scraping deleted",
	}
	slices.Sort(upgrade)
	if diff := cmp.Diff(want, upgrade); diff != "" {
		t.Errorf("the upgrade did (-want +got):\n%s", diff)
	}

	in.createKustomization(t)
	in.createWorkload(t)
	if kept := in.uninstall(t); len(kept) > 0 {
		t.Errorf("uninstall left %q", kept)
	}
	in.wantNothingLeft(t)
	if _, err := in.Kube.AppsV1().Deployments(in.Namespace).Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
		t.Errorf("uninstall took a workload: %v", err)
	}
	if kept := in.uninstall(t); len(kept) > 0 {
		t.Errorf("a second uninstall left %q", kept)
	}
}

// createKustomization makes a Kustomization that an agent holds by its finalizer, and that names a
// workload in its inventory.
func (in *installation) createKustomization(t *testing.T) {
	t.Helper()
	ks := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
		"metadata": map[string]any{"name": "app", "namespace": in.Namespace, "finalizers": []any{"finalizers.fluxcd.io"}},
		"spec": map[string]any{
			"interval": "1m", "prune": true, "sourceRef": map[string]any{"kind": "OCIRepository", "name": "app"},
		},
	}}
	if _, err := in.kustomizations(in.Namespace).Create(t.Context(), ks, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (in *installation) createWorkload(t *testing.T) {
	t.Helper()
	in.createDeployment(t, in.Namespace, "web", map[string]string{
		"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": in.Namespace,
	})
}

func (in *installation) createDeployment(t *testing.T, namespace, name string, labels map[string]string) {
	t.Helper()
	pod := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: pod},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: pod},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: name, Image: "registry.example/" + name + ":1"}}},
			},
		},
	}
	if _, err := in.Kube.AppsV1().Deployments(namespace).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (in *installation) wantNothingLeft(t *testing.T) {
	t.Helper()
	if _, err := in.Kube.CoreV1().Namespaces().Get(t.Context(), "flux-system", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace is still there: %v", err)
	}
	for _, name := range []string{kustomizationsCRD, sourcesCRD} {
		if _, err := in.definitions().Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	roles, err := in.Kube.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{LabelSelector: deploy.PartOfLabel + "=kustomizer"})
	if err != nil || len(roles.Items) > 0 {
		t.Errorf("rights that are left: %v, %v", roles, err)
	}
}

// TestInstallRefusesBesideFlux guards D3: never two engines.
func TestInstallRefusesBesideFlux(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.CreateNamespace(t, "gitops")
	in.createDeployment(t, "gitops", "kustomize-controller", map[string]string{deploy.PartOfLabel: "flux"})
	before := in.Mark(t)
	_, err := deploy.PrepareInstall(t.Context(), in.cluster, in.opts, true)
	var other *deploy.OtherEngineError
	if !errors.As(err, &other) || !strings.Contains(other.Hint(), "kubectl -n gitops scale deployment kustomize-controller --replicas=0") {
		t.Fatalf("error is %v", err)
	}
	if writes := in.Requests(t, testkit.ByUser(in.UserName), testkit.After(before)).Writes(); len(writes) > 0 {
		t.Errorf("a refused installation wrote:\n%s", writes)
	}
	// While its pods are being made, a Deployment's status may say of its newest generation that there are none.
	testkit.Eventually(t, "a pod of Flux's controller", time.Minute, func() error {
		d, err := in.Kube.AppsV1().Deployments("gitops").Get(t.Context(), "kustomize-controller", metav1.GetOptions{})
		if err == nil && d.Status.Replicas != 1 {
			err = fmt.Errorf("its status is %+v", d.Status)
		}
		return err
	})
	patch := []byte(`{"spec":{"replicas":0}}`)
	_, err = in.Kube.AppsV1().Deployments("gitops").Patch(t.Context(), "kustomize-controller", types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "Flux's controller to stop", time.Minute, func() error {
		_, err := deploy.PrepareInstall(t.Context(), in.cluster, in.opts, false)
		return err
	})
	in.install(t)
}

// TestInstallKeepsFluxesDefinitions guards D2 on both ways: install leaves definitions that Flux
// manages as they are, and uninstall leaves them and their resources.
func TestInstallKeepsFluxesDefinitions(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.applyFluxesDefinition(t)
	before := in.definition(t, kustomizationsCRD)

	did := in.install(t)
	if slices.ContainsFunc(did, func(line string) bool { return strings.Contains(line, kustomizationsCRD) }) {
		t.Errorf("install touched Flux's definition: %q", did)
	}
	in.createKustomization(t)
	kept := in.uninstall(t)
	if len(kept) != 1 || !strings.Contains(kept[0], "it is managed by flux") {
		t.Errorf("uninstall left %q", kept)
	}
	if after := in.definition(t, kustomizationsCRD); after.GetUID() != before.GetUID() || after.GetGeneration() != before.GetGeneration() {
		t.Errorf("Flux's definition changed from generation %d to %d", before.GetGeneration(), after.GetGeneration())
	}
	ks, err := in.kustomizations(in.Namespace).Get(t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		t.Fatalf("uninstall took a resource of a definition that stays: %v", err)
	}
	if len(ks.GetFinalizers()) > 0 {
		t.Errorf("the resource would wait for ever for %q", ks.GetFinalizers())
	}
}

// applyFluxesDefinition installs the definition of Kustomization as the flux command does.
func (in *installation) applyFluxesDefinition(t *testing.T) {
	t.Helper()
	objs, err := deploy.Manifests(in.opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range objs {
		if u.GetName() == kustomizationsCRD {
			u.SetLabels(map[string]string{deploy.PartOfLabel: "flux"})
			u.SetAnnotations(nil)
			if _, err := in.definitions().Apply(t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "flux"}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (in *installation) definition(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	u, err := in.definitions().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestUninstallLeavesWhatIsNotOurs guards the first promise: a namespace that holds something else
// stays, and it is said what.
func TestUninstallLeavesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.install(t)
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}
	if _, err := in.Kube.CoreV1().ConfigMaps("flux-system").Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// A cluster role of our name that somebody else's inventory has taken over.
	patch := []byte(`{"metadata":{"labels":{"inventory.kustomizer.dev/name":"platform","inventory.kustomizer.dev/namespace":"apps"}}}`)
	_, err := in.Kube.RbacV1().ClusterRoles().Patch(t.Context(), "kustomizer-view", types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ClusterRole/kustomizer-view: it is managed by Inventory/apps/platform",
		"Namespace/flux-system: it still holds ConfigMap/flux-system/theirs",
	}
	if diff := cmp.Diff(want, in.uninstall(t)); diff != "" {
		t.Errorf("uninstall left (-want +got):\n%s", diff)
	}
	if _, err := in.Kube.CoreV1().ConfigMaps("flux-system").Get(t.Context(), "theirs", metav1.GetOptions{}); err != nil {
		t.Errorf("uninstall took what was not ours: %v", err)
	}
	if _, err := in.Kube.AppsV1().Deployments("flux-system").Get(t.Context(), "kustomizer", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the agent is still there: %v", err)
	}
}

// TestUninstallElsewhereTouchesNothing guards against a wrong namespace: what is cluster-wide
// belongs to the installation that runs.
func TestUninstallElsewhereTouchesNothing(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.install(t)
	found, err := deploy.PrepareUninstall(t.Context(), in.cluster, in.Namespace, false)
	if err != nil {
		t.Fatal(err)
	}
	if !found.Empty() || len(found.Resources) > 0 {
		t.Errorf("uninstall from another namespace would remove %d objects", len(found.Agent)+len(found.Definitions))
	}
	_, err = deploy.PrepareInstall(t.Context(), in.cluster, deploy.InstallOptions{Namespace: in.Namespace, Image: in.opts.Image}, false)
	var other *deploy.OtherEngineError
	if !errors.As(err, &other) {
		t.Errorf("a second agent would be installed: %v", err)
	}
}
