// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/google/go-cmp/cmp"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

const stubbornHook = "stubborn.example.test"

// stubborn is a ConfigMap that a webhook is called for which does not support dry-runs.
func stubborn(value string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata: {name: aa-stubborn, namespace: NS, labels: {stubborn: "yes"}}
data: {key: %s}
`, value)
}

// stubbornWorld is a control plane with such a webhook. The API server of today lets nobody make one:
// it is there because an older one did.
func stubbornWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := worldIn(t, testkit.OwnControlPlane(t, testkit.ControlPlane{NoControllerManager: true}))
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		review := admissionv1.AdmissionReview{}
		if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
			t.Errorf("reading a review: %v", err)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		if err := json.NewEncoder(rw).Encode(review); err != nil {
			t.Errorf("answering a review: %v", err)
		}
	}))
	t.Cleanup(server.Close)
	none, url := admissionregistration.SideEffectClassNone, server.URL
	configuration := &admissionregistration.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "stubborn"},
		Webhooks: []admissionregistration.ValidatingWebhook{{
			Name: stubbornHook, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistration.WebhookClientConfig{
				URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"stubborn": "yes"}},
			Rules: []admissionregistration.RuleWithOperations{{
				Operations: []admissionregistration.OperationType{admissionregistration.Create, admissionregistration.Update},
				Rule:       admissionregistration.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}
	hooks := w.Kube.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := hooks.Create(t.Context(), configuration, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.Rewrite(t, "validatingwebhookconfigurations/stubborn", func(stored []byte) []byte {
		return bytes.Replace(stored, []byte("\x04None"), []byte("\x04Some"), 1) // a string of that length
	})
	testkit.Eventually(t, "the webhook at work", time.Minute, func() error {
		opts := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
		_, err := w.resource(configMaps).Create(t.Context(), w.objects(stubborn("x"))[0], opts)
		if !apierrors.IsBadRequest(err) {
			return fmt.Errorf("a dry-run is answered: %w", err)
		}
		return nil
	})
	return w
}

// D17: an object that can't be rehearsed is applied last in its stage, alone, and it is said so.
func TestAWebhookThatDoesNotSupportDryRuns(t *testing.T) {
	w := stubbornWorld(t)
	w.owner = w.kustomization("app")
	set := func(value string, others ...string) deploy.Request {
		return w.request(append(append(configMapsOf(4), stubborn(value)), others...)...)
	}
	invalid := strings.ReplaceAll(web, "image: example.test/web:1", "image: ''")
	sent := w.counted(func() {
		if out := w.run(set("one", invalid)); out.State != deploy.Failed {
			t.Errorf("a set with an invalid object: %s", out.State)
		}
	})
	if len(managed(sent)) > 0 {
		t.Errorf("written before all that can be rehearsed was:\n%s", managed(sent))
	}

	sent = w.counted(func() {
		out := w.mustRunState(set("one"), deploy.Done)
		for _, c := range out.Changes {
			if said := c.Unrehearsed == stubbornHook; said != (c.ID.Name == "aa-stubborn") {
				t.Errorf("%s: said to be unrehearsed because of %q", c.ID, c.Unrehearsed)
			}
		}
	})
	writes := managed(sent)
	if len(writes) != 5 || writes[4].Name != "aa-stubborn" {
		t.Errorf("want it to be written last, got:\n%s", writes)
	}
	quiet(w, set("one"))

	req := set("two")
	p, err := w.engine.Plan(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	shown := deploy.Differences(p, nil)
	if len(shown) != 1 || shown[0].Reason != "can't be rehearsed: webhook "+stubbornHook+" doesn't support dry-run" {
		t.Fatalf("the diff shows %+v", shown)
	}
	fields := []plan.FieldChange{{Path: ".data.key", Before: "one", After: "two"}}
	if diff := cmp.Diff(fields, shown[0].Fields); diff != "" {
		t.Errorf("the diff's fields (-want +got):\n%s", diff)
	}
	w.mustRun(req, deploy.Done, "configured ConfigMap/aa-stubborn")
	if diff := cmp.Diff(shown[0].After.Object, plan.Manifest(w.get(configMaps, "aa-stubborn")).Object); diff != "" {
		t.Errorf("-shown +live:\n%s", diff)
	}

	w.edit(configMaps, "aa-stubborn", "kubectl-edit", func(u *unstructured.Unstructured) { set2(t, u) })
	w.mustRun(req, deploy.Done, "corrected ConfigMap/aa-stubborn")
	if diff := cmp.Diff(shown[0].After.Object, plan.Manifest(w.get(configMaps, "aa-stubborn")).Object); diff != "" {
		t.Errorf("after the correction (-want +got):\n%s", diff)
	}
	quiet(w, req)

	// What lives is judged all the same: another owner's object is not touched.
	theirs := w.request(stubborn("theirs"), cm("theirs"))
	theirs.Owner = w.kustomization("second")
	sent = w.counted(func() {
		if out := w.run(theirs); out.State != deploy.Failed {
			t.Errorf("an object of another owner: %s", out.State)
		}
	})
	if len(managed(sent)) > 0 {
		t.Errorf("written though it is another owner's:\n%s", managed(sent))
	}
}

// set2 changes a value and adds another.
func set2(t *testing.T, u *unstructured.Unstructured) {
	set(t, u, "else", "data", "key")
	set(t, u, "x", "data", "added")
}
