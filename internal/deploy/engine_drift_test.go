// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

func TestUnchangedSetCostsListsOnly(t *testing.T) {
	w := newWorld(t)
	req := w.request(append(configMapsOf(5), web, webAccess)...)
	planned := w.counted(func() {
		p, err := w.engine.Plan(t.Context(), req)
		if err != nil || len(p.Steps) != 12 || !p.Writes() {
			t.Errorf("plan: %v, %+v", err, p)
		}
	})
	if len(planned.Writes()) > 0 {
		t.Errorf("to plan writes:\n%s", planned.Writes())
	}
	first := w.counted(func() { w.firstRun(req) })
	if n := len(first.Writes()); n != 12+2 || len(dryRuns(first)) != 12 || len(first) > 2*12+6 {
		t.Errorf("a first run of 12 objects: %d writes, %d dry-runs, %d requests:\n%s", n, len(dryRuns(first)), len(first), first)
	}

	sent := w.counted(func() { w.mustRun(req, deploy.Done) })
	if n := len(sent.Writes()); n != 0 {
		t.Errorf("%d writes in an unchanged run:\n%s", n, sent.Writes())
	}
	if n := len(dryRuns(sent)); n != 0 {
		t.Errorf("%d dry-runs in an unchanged run:\n%s", n, dryRuns(sent))
	}
	// One list a kind, and the record.
	if n := len(sent); n != 9 || len(sent.Of(testkit.Verbs("list"))) != 9 {
		t.Errorf("%d requests in an unchanged run, want 9 lists:\n%s", n, sent)
	}

	// One object changes: its apply, which needs no rehearsal, and the record.
	one := w.request(append(configMapsOf(4), cm("cm-04", "more", "x"), web, webAccess)...)
	sent = w.counted(func() { w.mustRun(one, deploy.Done, "configured ConfigMap/cm-04") })
	if n := len(sent.Writes()); n != 2 || len(dryRuns(sent)) != 0 || len(sent) != 9+2 {
		t.Errorf("one changed object: %d writes, %d dry-runs, %d requests:\n%s", n, len(dryRuns(sent)), len(sent), sent)
	}
}

func TestNewRevisionWithSameContentOnlyTouchesTheRecord(t *testing.T) {
	w := newWorld(t)
	req := w.request(configMapsOf(3)...)
	w.run(req)
	req.Digest = "sha256:two"
	sent := w.counted(func() { w.mustRun(req, deploy.Done) })
	if writes := sent.Writes(); len(writes) != 1 || writes[0].FieldManager != record.Manager {
		t.Errorf("writes:\n%s", writes)
	}
	if got := w.load().Head.Digest; got != "sha256:two" {
		t.Errorf("digest on record %s", got)
	}
}

func TestHandEditsAreCorrected(t *testing.T) {
	value := func(key string) func(*world) any {
		return func(w *world) any {
			v, _, _ := unstructured.NestedString(w.get(configMaps, "cm-00").Object, "data", key)
			return v
		}
	}
	cases := map[string]struct {
		manager string
		edit    func(t *testing.T, u *unstructured.Unstructured)
		writes  int
		see     func(*world) any
		want    any
	}{
		"a value edited with kubectl": {
			"kubectl-edit", func(t *testing.T, u *unstructured.Unstructured) { set(t, u, "else", "data", "name") }, 1, value("name"), "cm-00",
		},
		"a value edited by a controller": {
			"some-controller", func(t *testing.T, u *unstructured.Unstructured) { set(t, u, "else", "data", "name") }, 1, value("name"), "cm-00",
		},
		"a value taken away": {
			"some-controller", func(_ *testing.T, u *unstructured.Unstructured) {
				unstructured.RemoveNestedField(u.Object, "data", "name")
			}, 1, value("name"), "cm-00",
		},
		"a value added with kubectl": {
			"kubectl-edit", func(t *testing.T, u *unstructured.Unstructured) { set(t, u, "x", "data", "added") }, 2, value("added"), "",
		},
		"a value added and another edited with kubectl": {
			"kubectl-patch", func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, "x", "data", "added")
				set(t, u, "else", "data", "name")
			}, 2, value("added"), "",
		},
		"an owner label stripped": {
			"some-controller", func(_ *testing.T, u *unstructured.Unstructured) { u.SetLabels(nil) }, 1,
			func(w *world) any { return w.get(configMaps, "cm-00").GetLabels()["kustomize.toolkit.fluxcd.io/name"] }, "app",
		},
		"an owner label changed": {
			"some-controller", func(_ *testing.T, u *unstructured.Unstructured) {
				u.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "other", "kustomize.toolkit.fluxcd.io/namespace": "other"})
			}, 1,
			func(w *world) any { return w.get(configMaps, "cm-00").GetLabels()["kustomize.toolkit.fluxcd.io/name"] }, "app",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			req := w.request(configMapsOf(3)...)
			w.run(req)
			w.edit(configMaps, "cm-00", c.manager, func(u *unstructured.Unstructured) { c.edit(t, u) })
			sent := w.counted(func() { w.mustRun(req, deploy.Done, "corrected ConfigMap/cm-00") })
			writes := sent.Writes()
			if len(writes) != c.writes || len(writes.Of(func(r testkit.Request) bool { return r.Name != "cm-00" })) > 0 {
				t.Errorf("want %d writes of cm-00, got:\n%s", c.writes, writes)
			}
			if diff := cmp.Diff(c.want, c.see(w)); diff != "" {
				t.Errorf("after the correction (-want +got):\n%s", diff)
			}
			quiet(w, req)
		})
	}
}

func TestFieldsOfOtherControllersAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	req := w.request(configMapsOf(1)...)
	w.run(req)
	w.edit(configMaps, "cm-00", "some-controller", func(u *unstructured.Unstructured) {
		set(t, u, "x", "data", "theirs")
		u.SetAnnotations(map[string]string{"theirs": "x"})
	})
	quiet(w, req)
	if got, _, _ := unstructured.NestedString(w.get(configMaps, "cm-00").Object, "data", "theirs"); got != "x" {
		t.Errorf("their field is %q", got)
	}
}

func TestEnvironmentSetWithKubectlIsTakenBack(t *testing.T) {
	w := newWorld(t)
	req := w.request(web)
	w.run(req)
	w.onDeployment("web", "set", "env", "deployment/web", "DEBUG=1", "MODE=fancy")
	w.mustRun(req, deploy.Done, "corrected Deployment/web")
	if diff := cmp.Diff([]any{map[string]any{"name": "MODE", "value": "plain"}}, env(w.get(deployments, "web"))); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	quiet(w, req)
}

func env(u *unstructured.Unstructured) []any {
	containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	out, _, _ := unstructured.NestedSlice(containers[0].(map[string]any), "env")
	return out
}

func TestRolloutRestartIsNoDrift(t *testing.T) {
	w := newWorld(t)
	req := w.request(web)
	w.run(req)
	w.onDeployment("web", "rollout", "restart", "deployment/web")
	restarted := func() string {
		at, _, _ := unstructured.NestedString(w.get(deployments, "web").Object,
			"spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")
		return at
	}
	before := restarted()
	if before == "" {
		t.Fatal("kubectl rollout restart left no annotation")
	}
	quiet(w, req)

	// It also survives the correction of something else, and a new revision.
	w.onDeployment("web", "set", "env", "deployment/web", "DEBUG=1")
	w.mustRun(req, deploy.Done, "corrected Deployment/web")
	w.mustRun(w.request(strings.Replace(web, "web:1", "web:2", 1)), deploy.Done, "configured Deployment/web")
	if got := restarted(); got != before {
		t.Errorf("restartedAt is %q, was %q", got, before)
	}
}

func TestDeletedObjectIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	req := w.request(configMapsOf(3)...)
	w.run(req)
	w.delete(configMaps, "cm-01")
	sent := w.counted(func() { w.mustRun(req, deploy.Done, "corrected ConfigMap/cm-01") })
	// Its intention, the object, its UID.
	if n := len(sent.Writes()); n != 3 {
		t.Errorf("writes:\n%s", sent.Writes())
	}
	quiet(w, req)
}
