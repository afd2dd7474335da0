// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

func TestRecordOfAnotherClusterPrunesNothing(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(4)...))
	w.editRecord(func(data map[string]any) {
		id := w.load().Head.Cluster
		data["head"] = strings.Replace(data["head"].(string), id, "another-cluster", 1)
	})
	req := w.request(configMapsOf(3)...)
	out := w.mustRun(req, deploy.Done)
	if len(out.Notes) == 0 || !strings.Contains(out.Notes[0], "another cluster") {
		t.Errorf("notes: %q", out.Notes)
	}
}

func TestDamagedRecordPrunesNothing(t *testing.T) {
	t.Parallel()
	damage := map[string]func(data map[string]any){
		"an entry that can't be read": func(data map[string]any) {
			data["entries"] = strings.Replace(data["entries"].(string), `"id"`, `"di"`, 1)
		},
		"a head that can't be read": func(data map[string]any) { data["head"] = "?" },
		"a part that is missing": func(data map[string]any) {
			data["head"] = strings.Replace(data["head"].(string), `"count":1`, `"count":2`, 1)
		},
		"another owner": func(data map[string]any) {
			data["head"] = strings.Replace(data["head"].(string), "/app", "/other", 1)
		},
		"nothing left": func(data map[string]any) { clear(data) },
	}
	for name, change := range damage {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run(w.request(configMapsOf(4)...))
			w.editRecord(change)
			req := w.request(append(configMapsOf(2), cm("new"))...)
			// However often it runs: what was lost does not come back by itself.
			w.mustRun(req, deploy.Done, "created ConfigMap/new")
			out := w.mustRun(req, deploy.Done)
			if len(out.Notes) == 0 || !strings.Contains(out.Notes[0], "damaged") {
				t.Errorf("notes: %q", out.Notes)
			}
			if !w.exists(configMaps, "cm-02") || !w.exists(configMaps, "cm-03") {
				t.Error("objects were deleted")
			}
		})
	}
	t.Run("a format of a newer build", func(t *testing.T) {
		w := newWorld(t)
		w.run(w.request(configMapsOf(4)...))
		w.editRecord(func(data map[string]any) { data["format"] = "2" })
		sent := w.counted(func() { w.mustRun(w.request(configMapsOf(2)...), deploy.Failed) })
		if len(sent.Writes()) > 0 {
			t.Errorf("writes:\n%s", sent.Writes())
		}
	})
}

func TestTwoRunsAtOnceDoNotMix(t *testing.T) {
	w := newWorld(t)
	w.run(w.request(configMapsOf(2)...))
	// The other run writes the record after ours has read it and before ours writes it.
	other := w.engineOf(w.Config)
	interrupted := false
	proxy := testkit.FaultProxy(t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
		if testkit.Verbs("update")(r) && r.FieldManager == record.Manager && !interrupted {
			interrupted = true
			if out := other.Run(context.WithoutCancel(t.Context()), w.request(append(configMapsOf(2), cm("other"))...)); out.Err != nil {
				t.Error(out.Err)
			}
		}
		return testkit.Fault{}
	})
	w.engine = w.engineOf(proxy.Config)
	out := w.mustRun(w.request(append(configMapsOf(2), cm("ours"))...), deploy.Failed)
	var conflict *record.ConflictError
	if !errors.As(out.Err, &conflict) {
		t.Errorf("error: %v", out.Err)
	}
	if w.exists(configMaps, "ours") || !w.exists(configMaps, "other") {
		t.Error("the run that lost wrote its objects")
	}
}

func TestWhatIsRecordedIsToldBeforeItIsApplied(t *testing.T) {
	w := newWorld(t)
	var told []int
	req := w.request(configMapsOf(3)...)
	req.Recorded = func(_ context.Context, entries map[object.ID]plan.Entry) error {
		told = append(told, len(entries))
		if w.exists(configMaps, "cm-00") != (len(told) > 2) {
			t.Errorf("applied before it was told that %d are on record", len(entries))
		}
		if len(told) == 1 {
			return errors.New("not understood")
		}
		return nil
	}
	if out := w.run(req); out.State != deploy.Failed || len(w.owned()) != 0 {
		t.Errorf("%s %v: %s", out.State, out.Err, w.owned())
	}
	w.mustRunState(req, deploy.Done)
	quiet(w, req)
	if diff := cmp.Diff([]int{3, 3, 3}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// Whatever keeps a set from being put on record, nothing of it is applied.
func TestWhatCannotBeRecordedIsNotApplied(t *testing.T) {
	t.Parallel()
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS}\nspec: {ports: [{port: 80}]}\n"
	cases := map[string]struct {
		prevent func(w *world)
		code    cause.Code
	}{
		"a quota": {func(w *world) { w.fillQuota() }, cause.QuotaExceeded},
		"missing rights": {func(w *world) {
			w.restricted(
				rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"*"}},
				rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps", "namespaces"}, Verbs: []string{"get", "list"}},
			)
		}, cause.PermissionDenied},
		"a server that does not take it": {func(w *world) {
			proxy := testkit.FaultProxy(w.t, w.Env, w.agent, func(r testkit.Request) testkit.Fault {
				if testkit.Resources("configmaps")(r) && testkit.Verbs("create")(r) {
					return testkit.Fault{Status: 503}
				}
				return testkit.Fault{}
			})
			w.engine = w.engineOf(proxy.Config)
		}, cause.ServerUnavailable},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.prevent(w)
			services := schema.GroupVersionResource{Version: "v1", Resource: "services"}
			refused := func(what string, err error) {
				t.Helper()
				var no *deploy.NotRecordedError
				if !errors.As(err, &no) || cluster.CauseOf(err).Code != c.code {
					t.Errorf("%s: %v", what, err)
				}
				if w.exists(services, "web") {
					t.Fatalf("%s: it was applied", what)
				}
			}
			refused("a Kustomization", w.run(w.request(service)).Err)
			req := deploy.InventoryRequest{Owner: plan.Inventory(w.Namespace, "app"), Collected: deploy.Collected{Objects: w.objects(service)}, Lock: quick()}
			refused("an inventory", w.engine.ApplyInventory(t.Context(), req, deploy.InventoryProgress{}).Err)
		})
	}
}

// fillQuota lets no more ConfigMaps be made in the test's namespace.
func (w *world) fillQuota() {
	w.t.Helper()
	quotas := w.Kube.CoreV1().ResourceQuotas(w.Namespace)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("0")}},
	}
	if _, err := quotas.Create(w.t.Context(), quota, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	testkit.Eventually(w.t, "the quota counts", 30*time.Second, func() error {
		q, err := quotas.Get(w.t.Context(), "none", metav1.GetOptions{})
		if err == nil && q.Status.Hard == nil {
			err = errors.New("it has no status yet")
		}
		return err
	})
}
