// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// realSet is a set of manifests that somebody runs, and a later version of it, in which an object and
// a field are gone.
type realSet struct {
	name       string
	source     []string // flags
	atLeast    int      // objects
	configured string   // Kind/namespace/name of the object without the field
	deleted    string   // the object that goes
	upgrade    string   // patches that take them out
}

// realSets are the demo app, which is always there, and the corpus, where there is one.
func realSets(t *testing.T) []realSet {
	t.Helper()
	sets := []realSet{{
		name: "demo-app", source: []string{"-k", filepath.Join(testkit.ModuleRoot(t), "examples", "demo-app")}, atLeast: 10,
		configured: "Deployment/kustomizer-demo/frontend", deleted: "HorizontalPodAutoscaler/kustomizer-demo/backend",
		upgrade: without("Deployment", "frontend", "/spec/template/spec/containers/0/readinessProbe") + gone("HorizontalPodAutoscaler", "backend"),
	}}
	corpus := testkit.Corpus(t)
	if corpus == "" {
		return sets
	}
	metrics := t.TempDir()
	if err := os.CopyFS(metrics, os.DirFS(filepath.Join(corpus, "metrics-server", "manifests"))); err != nil {
		t.Fatal(err)
	}
	parts := func(components ...string) []string {
		dir := filepath.Join(metrics, "overlays", strings.Join(components, "-and-"))
		text := "resources: [../../base]\ncomponents:\n"
		for _, c := range components {
			text += "- ../../components/" + c + "\n"
		}
		writeFile(t, dir, "kustomization.yaml", text)
		return []string{"-k", dir}
	}
	kubelet := without("Deployment", "metrics-server", "/spec/template/spec/priorityClassName")
	return append(sets, realSet{
		name: "kube-prometheus", source: []string{"-f", filepath.Join(corpus, "kube-prometheus", "manifests")}, atLeast: 131,
		configured: "Alertmanager/monitoring/main", deleted: "ServiceMonitor/monitoring/grafana",
		upgrade: without("Alertmanager", "main", "/spec/podMetadata") + gone("ServiceMonitor", "grafana"),
	}, realSet{
		name: "argo-cd", source: []string{"-k", argo(t, filepath.Join(corpus, "argo-cd", "install.yaml"))}, atLeast: 60,
		configured: "Deployment/argocd/argocd-redis", deleted: "NetworkPolicy/argocd/argocd-redis-network-policy",
		upgrade: without("Deployment", "argocd-redis", "/spec/template/spec/affinity") + gone("NetworkPolicy", "argocd-redis-network-policy"),
	}, realSet{
		name: "metrics-server", source: []string{"-k", filepath.Join(metrics, "overlays", "release")}, atLeast: 9,
		configured: "Deployment/kube-system/metrics-server", deleted: "ClusterRole/system:aggregated-metrics-reader",
		upgrade: kubelet + gone("ClusterRole", "system:aggregated-metrics-reader"),
	}, realSet{
		name: "metrics-server with high availability and for tests", source: parts("high-availability-1.21+", "release", "test"), atLeast: 10,
		configured: "Deployment/kube-system/metrics-server", deleted: "PodDisruptionBudget/kube-system/metrics-server",
		upgrade: kubelet + gone("PodDisruptionBudget", "metrics-server"),
	}, realSet{
		name: "metrics-server with autoscaling", source: parts("autoscale"), atLeast: 11,
		configured: "Deployment/kube-system/metrics-server", deleted: "ClusterRole/system:aggregated-metrics-reader",
		upgrade: kubelet + gone("ClusterRole", "system:aggregated-metrics-reader"),
	})
}

// argo gives Argo CD, whose manifests name no namespace, the one it is made for.
func argo(t *testing.T, manifests string) string {
	t.Helper()
	text, err := os.ReadFile(manifests)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, dir, "install.yaml", string(text))
	writeFile(t, dir, "namespace.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: argocd\n")
	writeFile(t, dir, "kustomization.yaml", "namespace: argocd\nresources: [namespace.yaml, install.yaml]\n")
	return dir
}

func without(kind, name, path string) string {
	return fmt.Sprintf("- target: {kind: %s, name: %q}\n  patch: |\n    - op: remove\n      path: %s\n", kind, name, path)
}

func gone(kind, name string) string {
	return fmt.Sprintf("- target: {kind: %s, name: %q}\n  patch: |\n    $patch: delete\n    kind: %s\n    metadata: {name: any}\n", kind, name, kind)
}

// What people really run: each set comes onto an empty cluster in one command at the first try, is
// unchanged at the second, is upgraded, and is deleted without a trace.
func TestRealSetsComeStayChangeAndGo(t *testing.T) {
	t.Parallel()
	sets := realSets(t)
	k := newTool(t, testkit.OwnControlPlane(t, testkit.ControlPlane{}))
	for _, s := range sets {
		if !t.Run(s.name, func(t *testing.T) { s.lives(t, k) }) {
			return // the next would not find the cluster empty
		}
	}
}

func (s realSet) lives(t *testing.T, k *tool) {
	before := withoutClusters(everything(t, k.Env, ""))
	name := "set-of-" + strings.Fields(s.name)[0]
	apply := append([]string{"apply", "inventory", name, "--prune", "--timeout=5m"}, s.source...)
	diff := append([]string{"diff", "inventory", name, "--prune", "--timeout=5m"}, s.source...)

	installed := lines(k.must(t, 0, apply...).stdout)
	if odd := except(installed, " created"); len(odd) > 0 || len(installed) < s.atLeast {
		t.Fatalf("of %d objects of the first apply not created: %q", len(installed), odd)
	}
	mark := k.Mark(t)
	again := lines(k.must(t, 0, apply...).stdout)
	if odd := except(again, " unchanged"); len(odd) > 0 || len(again) != len(installed) {
		t.Fatalf("of %d objects of the second apply not unchanged: %q", len(again), odd)
	}
	if found := k.must(t, 0, diff...); found.stdout != "" {
		t.Errorf("there are differences:\n%s", found.stdout)
	}
	written := k.Requests(t, testkit.ByUser(k.user.UserName), testkit.After(mark)).Writes().Of(testkit.Not(testkit.InNamespace(k.namespace)))
	if len(written) > 0 {
		t.Errorf("written though nothing changed:\n%s", written)
	}

	patch := []string{"-p", writeFile(t, t.TempDir(), "upgrade.yaml", "patches:\n"+s.upgrade)}
	change := except(lines(k.must(t, 0, slices.Concat(apply, patch)...).stdout), " unchanged")
	if d := cmp.Diff([]string{s.configured + " configured", s.deleted + " deleted"}, orderedBy(change, s.configured)); d != "" {
		t.Errorf("the upgrade (-want +got):\n%s", d)
	}
	k.deleteWhole(t, name)
	testkit.Eventually(t, "a cluster without a trace of "+s.name, time.Minute, func() error {
		if d := cmp.Diff(before, withoutClusters(everything(t, k.Env, ""))); d != "" {
			return fmt.Errorf("-before +after:\n%s", d)
		}
		return nil
	})
}

// withoutClusters leaves out what the cluster itself puts into every namespace, some time after it is
// made. The namespaces are compared as well.
func withoutClusters(resources []string) []string {
	return slices.DeleteFunc(resources, func(r string) bool {
		return strings.HasPrefix(r, "configmaps/") && strings.HasSuffix(r, "/kube-root-ca.crt") ||
			strings.HasPrefix(r, "serviceaccounts/") && strings.HasSuffix(r, "/default")
	})
}

// deleteWhole deletes an inventory, with the approval that a refusal asks for.
func (k *tool) deleteWhole(t *testing.T, name string) {
	t.Helper()
	r := k.run(t, "delete", "inventory", name, "--yes", "--timeout=5m")
	if hash := releaseHash(r); r.code == 6 && hash != "" {
		r = k.run(t, "delete", "inventory", name, "--yes", "--timeout=5m", "--approve-prune="+hash)
	}
	if r.code != 0 {
		t.Fatalf("deleting the inventory: exit code %d\n%s%s", r.code, tail(r.stdout), tail(r.stderr))
	}
}

// orderedBy puts the line about an object first.
func orderedBy(lines []string, first string) []string {
	slices.SortStableFunc(lines, func(a, b string) int {
		switch {
		case strings.HasPrefix(a, first+" "):
			return -1
		case strings.HasPrefix(b, first+" "):
			return 1
		}
		return 0
	})
	return lines
}
