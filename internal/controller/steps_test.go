// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"cmp"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// configMaps renders ConfigMaps with names of their own.
func configMaps(prefix string, n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s-%d\ndata:\n  number: \"%d\"\n", prefix, i, i)
	}
	return out.String()
}

// deployTree publishes a tree and creates a source and a Kustomization that deploys its directory
// "deploy".
func (a *arena) deployTree(t *testing.T, name string, contents map[string]string, path string) string {
	t.Helper()
	revision := a.push(t, name, "1.0.0", contents)
	a.createSource(t, name, "1.0.0", nil)
	a.createKustomization(t, name, name, map[string]any{"path": cmp.Or(path, "./deploy"), "targetNamespace": a.Namespace})
	return revision
}

// deploy publishes one file of manifests and creates a source and a Kustomization, with a spec of its
// own, that deploys it.
func (a *arena) deploy(t *testing.T, name, manifests string, spec map[string]any) string {
	t.Helper()
	revision := a.push(t, name, "1.0.0", map[string]string{"deploy/objects.yaml": manifests})
	a.createSource(t, name, "1.0.0", nil)
	all := map[string]any{"path": "./deploy", "targetNamespace": a.Namespace}
	maps.Copy(all, spec)
	a.createKustomization(t, name, name, all)
	return revision
}

// publish publishes one file of manifests anew and has the source look.
func (a *arena) publish(t *testing.T, name, manifests string) string {
	t.Helper()
	revision := a.push(t, name, "1.0.0", map[string]string{"deploy/objects.yaml": manifests})
	a.reconcile(t, repositoriesResource(), name)
	return revision
}

func (a *arena) waitForInventory(t *testing.T, name string, size int) *kustomizev1.Kustomization {
	t.Helper()
	return a.waitForKustomization(t, name, fmt.Sprintf("is ready with %d objects", size), func(ks *kustomizev1.Kustomization) error {
		if err := readyWith(ks, ks.Status.LastAppliedRevision); err != nil {
			return err
		}
		if ks.Status.Inventory == nil || len(ks.Status.Inventory.Entries) != size {
			return fmt.Errorf("its inventory is %+v", ks.Status.Inventory)
		}
		return nil
	})
}

// configMapUIDs returns the UIDs of the ConfigMaps that Kustomizations of the arena own.
func (a *arena) configMapUIDs(t *testing.T) map[string]types.UID {
	t.Helper()
	list, err := a.Kube.CoreV1().ConfigMaps(a.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kustomize.toolkit.fluxcd.io/name"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]types.UID{}
	for _, cm := range list.Items {
		out[cm.Name] = cm.UID
	}
	return out
}

func (a *arena) patch(t *testing.T, resource schema.GroupVersionResource, name, patch string) {
	t.Helper()
	_, err := a.Dynamic.Resource(resource).Namespace(a.Namespace).
		Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("patching %s: %v", name, err)
	}
}

var hexadecimal = regexp.MustCompile(`[0-9a-f]{12,}`)

func readyOf(t *testing.T, u *unstructured.Unstructured) metav1.Condition {
	t.Helper()
	var object struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	if err := convert(u, &object); err != nil {
		t.Fatal(err)
	}
	return conditionOf(object.Status.Conditions, meta.ReadyCondition)
}

// lookAgain has a Kustomization looked at, and returns it as it is after that.
func (a *arena) lookAgain(t *testing.T, name string) *kustomizev1.Kustomization {
	t.Helper()
	a.reconcile(t, kustomizationsResource(), name)
	return a.waitForKustomization(t, name, "has been looked at again", func(ks *kustomizev1.Kustomization) error {
		if asked := ks.Annotations[meta.ReconcileRequestAnnotation]; ks.Status.LastHandledReconcileAt != asked {
			return fmt.Errorf("handled %q, not %q", ks.Status.LastHandledReconcileAt, asked)
		}
		return nil
	})
}

// saidOf counts the lines of a resource's events with a reason that are just these words. Events are
// written beside the work: they may come a little later.
func (a *arena) saidOf(t *testing.T, kind, name, reason, line string) int {
	t.Helper()
	n := 0
	testkit.Eventually(t, "an event says "+line, converges, func() error {
		n = 0
		var seen []string
		for _, e := range a.events(t, kind, name) {
			seen = append(seen, e.Reason+": "+e.Message)
			if e.Reason != reason {
				continue
			}
			for said := range strings.Lines(e.Message) {
				if strings.TrimSuffix(said, "\n") == line {
					n += int(max(e.Count, 1))
				}
			}
		}
		if n == 0 {
			return fmt.Errorf("the events are %q", seen)
		}
		return nil
	})
	return n
}

// plan reads the hash of the held plan from a Kustomization's condition.
func heldPlan(t *testing.T, ks *kustomizev1.Kustomization) string {
	t.Helper()
	message := conditionOf(ks.Status.Conditions, meta.ReadyCondition).Message
	found := regexp.MustCompile(`\(plan ([0-9a-f]{64})\)`).FindStringSubmatch(message)
	if found == nil {
		t.Fatalf("no plan in %q", message)
	}
	return found[1]
}

// approve writes an approval as a person would, and has the Kustomization looked at.
func (a *arena) approve(t *testing.T, name, hash string) *kustomizev1.Kustomization {
	t.Helper()
	a.patch(t, kustomizationsResource(), name, fmt.Sprintf(`{"metadata":{"annotations":{"kustomizer.dev/approve-prune":%q}}}`, hash))
	return a.lookAgain(t, name)
}

// kustomizer runs the command against the arena and returns what it printed.
func (a *arena) kustomizer(t *testing.T, args ...string) string {
	t.Helper()
	out, err := a.tryKustomizer(t, args...)
	if err != nil {
		t.Fatalf("kustomizer %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// tryKustomizer runs the command against the arena; the error holds all that it printed.
func (a *arena) tryKustomizer(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testkit.Binary(t), append(args, "-n", a.Namespace)...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "KUBECONFIG=" + a.Kubeconfig}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}

// deployment renders a Deployment with one replica, and with annotations of its pods and further
// fields of their spec, both as they are written in YAML.
func deployment(name, podAnnotations, podSpec string) string {
	return `---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: ` + name + `
spec:
  replicas: 1
  selector:
    matchLabels: {app: ` + name + `}
  template:
    metadata:
      labels: {app: ` + name + `}
      annotations: {` + podAnnotations + `}
    spec:
      containers: [{name: main, image: "registry.example/` + name + `:1"}]
      ` + podSpec + `
`
}
