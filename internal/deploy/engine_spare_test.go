// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// D17: a single changed object needs no rehearsal. What its apply answers decides what is told.
func TestASingleChangeIsNotRehearsed(t *testing.T) {
	w := newWorld(t)
	req := w.request(append(configMapsOf(3), web)...)
	w.mustRunState(req, deploy.Done)
	rehearsed := func(req deploy.Request, changes ...string) int {
		t.Helper()
		return len(dryRuns(w.counted(func() { w.mustRun(req, deploy.Done, changes...) })))
	}
	if n := rehearsed(w.request(cm("cm-00", "more", "x"), cm("cm-01"), cm("cm-02"), web), "configured ConfigMap/cm-00"); n != 0 {
		t.Errorf("one changed: %d dry-runs", n)
	}
	if n := rehearsed(w.request(cm("cm-00"), cm("cm-01", "more", "x"), cm("cm-02"), web),
		"configured ConfigMap/cm-00", "configured ConfigMap/cm-01"); n != 2 {
		t.Errorf("two changed: %d dry-runs", n)
	}
	if n := rehearsed(w.request(cm("cm-01", "more", "y"), cm("cm-02"), web),
		"configured ConfigMap/cm-01", "deleted ConfigMap/cm-00"); n != 1 {
		t.Errorf("one changed and one dropped: %d dry-runs", n)
	}
	w.edit(configMaps, "cm-02", "some-controller", func(u *unstructured.Unstructured) { set(t, u, "else", "data", "name") })
	same := w.request(cm("cm-01", "more", "y"), cm("cm-02"), web)
	if n := rehearsed(same, "corrected ConfigMap/cm-02"); n != 0 {
		t.Errorf("one edited: %d dry-runs", n)
	}
	w.edit(configMaps, "cm-02", "kubectl-edit", func(u *unstructured.Unstructured) { set(t, u, "x", "data", "added") })
	if n := rehearsed(same, "corrected ConfigMap/cm-02"); n != 1 {
		t.Errorf("one edited by hand: %d dry-runs", n)
	}
	// Another way to write the same: the server alone knows.
	same = w.request(cm("cm-01", "more", "y"), cm("cm-02"), strings.ReplaceAll(web, "2000m", "2"))
	before := w.get(deployments, "web").GetResourceVersion()
	if n := rehearsed(same); n != 0 || w.get(deployments, "web").GetResourceVersion() != before {
		t.Errorf("one written in another way: %d dry-runs, or it was written", n)
	}
	quiet(w, same)
}

// Where the server refuses a single change, it is decided as if it had been rehearsed: in the same
// words, and by replacing it where that is allowed.
func TestARefusedSingleChangeIsRehearsed(t *testing.T) {
	w := newWorld(t)
	fixed := func(value string) string { return cm("fixed", "key", value) + "immutable: true\n" }
	w.mustRunState(w.request(append(configMapsOf(3), fixed("before"))...), deploy.Done)
	req := w.request(append(configMapsOf(3), fixed("after"))...)
	plan, err := w.engine.Plan(t.Context(), req)
	if err != nil || len(plan.Refused()) != 1 {
		t.Fatalf("the plan is %+v: %v", plan, err)
	}
	want := (&deploy.RefusedError{Steps: plan.Refused()}).Error()
	sent := w.counted(func() {
		if out := w.run(req); out.State != deploy.Failed || out.Err.Error() != want {
			t.Errorf("%s: got %v, want %s", out.State, out.Err, want)
		}
	})
	if done := managed(sent).Of(func(r testkit.Request) bool { return r.Code < 300 }); len(done) > 0 {
		t.Errorf("written:\n%s", done)
	}
	req.Policy.Force = true
	w.mustRun(req, deploy.Done, "replaced ConfigMap/fixed")
	quiet(w, req)
}
