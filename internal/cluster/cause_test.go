// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// world is a namespace of the sandbox in which requests are made that fail.
type world struct {
	*testkit.Env
	t       *testing.T
	cluster *cluster.Cluster
}

func (w *world) parse(manifest string) *unstructured.Unstructured {
	w.t.Helper()
	u := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(strings.ReplaceAll(manifest, "NS", w.Namespace)))
	if err == nil {
		err = u.UnmarshalJSON(data)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *world) apply(manifest string, opts cluster.ApplyOptions) error {
	opts.Manager = "test"
	_, err := w.cluster.Apply(w.t.Context(), w.parse(manifest), opts)
	return err
}

const settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NS}\ndata: {a: b}\n"

const claim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: a, namespace: NS}
spec: {accessModes: [ReadWriteOnce], storageClassName: one, resources: {requests: {storage: 1Gi}}}
`

const service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: NS}\nspec: {ports: [{port: 80}]}\n"

const job = `
apiVersion: batch/v1
kind: Job
metadata: {name: a, namespace: NS}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}
`

const binding = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: a, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: one}
`

const set = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: a, namespace: NS}
spec:
  serviceName: one
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}
`

// changed applies a manifest and then, as a dry-run, another in which something is replaced.
func changed(manifest, from, to string) func(w *world) error {
	return func(w *world) error {
		if err := w.apply(manifest, cluster.ApplyOptions{}); err != nil {
			w.t.Fatal(err)
		}
		return w.apply(strings.Replace(manifest, from, to, 1), cluster.ApplyOptions{DryRun: true})
	}
}

// What the API server says for each of these is its own: the test takes it from the server.
func TestCauseOfRealFailures(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		fail func(w *world) error
		want cause.Code
	}{
		"a claim's class":           {changed(claim, "storageClassName: one", "storageClassName: two"), cause.ImmutableField},
		"a job's template":          {changed(job, "image: a", "image: b"), cause.ImmutableField},
		"a binding's role":          {changed(binding, "name: one", "name: two"), cause.ImmutableField},
		"a set's service":           {changed(set, "serviceName: one", "serviceName: two"), cause.ImmutableField},
		"a set's selector":          {changed(set, "matchLabels: {a: b}", "matchLabels: {c: d}"), cause.ImmutableField},
		"a secret's type":           {changed("apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: NS}\ntype: one\n", "type: one", "type: two"), cause.ImmutableField},
		"a service's address":       {changed(service, "ports:", "clusterIP: None, ports:"), cause.ImmutableField},
		"an immutable configmap":    {changed(settings+"immutable: true\n", "a: b", "a: c"), cause.ImmutableField},
		"a value out of range":      {changed(service, "port: 80", "port: 80000"), cause.InvalidObject},
		"a field that is not known": {changed(service, "port: 80", "prt: 80"), cause.InvalidObject},
		"a value of another type":   {changed(service, "port: 80", "port: http"), cause.InvalidObject},
		"a namespace that is not there": {func(w *world) error {
			return w.apply(strings.ReplaceAll(settings, "NS", "nowhere-at-all"), cluster.ApplyOptions{})
		}, cause.NamespaceMissing},
		"another object's uid": {func(w *world) error {
			w.apply(settings, cluster.ApplyOptions{})
			return w.apply(settings, cluster.ApplyOptions{UID: "other"})
		}, cause.Conflict},
		"the uid of an object that is gone": {func(w *world) error { return w.apply(settings, cluster.ApplyOptions{UID: "gone"}) }, cause.Conflict},
		"a deletion of an older state": {func(w *world) error {
			applied, err := w.cluster.Apply(w.t.Context(), w.parse(settings), cluster.ApplyOptions{Manager: "test"})
			if err != nil {
				w.t.Fatal(err)
			}
			w.apply(strings.Replace(settings, "a: b", "a: c", 1), cluster.ApplyOptions{})
			return w.cluster.Delete(w.t.Context(), object.Of(applied.Object), "v1",
				cluster.DeleteOptions{UID: applied.Object.GetUID(), ResourceVersion: applied.Object.GetResourceVersion()})
		}, cause.Conflict},
		"a kind that is not served": {func(w *world) error {
			return w.apply("apiVersion: nowhere.test/v1\nkind: Thing\nmetadata: {name: a, namespace: NS}\n", cluster.ApplyOptions{})
		}, cause.KindMissing},
		"no right to it": {func(w *world) error {
			w.cluster = connect(w.t, w.User(w.t, "nobody-"+w.Namespace).Config)
			return w.apply(settings, cluster.ApplyOptions{})
		}, cause.PermissionDenied},
		"no such user": {func(w *world) error {
			config := rest.AnonymousClientConfig(w.Config)
			config.BearerToken = "wrong"
			w.cluster = connect(w.t, config)
			_, err := w.cluster.ID(w.t.Context())
			return err
		}, cause.Unauthorized},
		"no server": {func(w *world) error {
			// Not a port that was just given back: another test may have it by now.
			_, err := connect(w.t, &rest.Config{Host: "http://127.0.0.1:1"}).ID(w.t.Context())
			return err
		}, cause.ServerUnavailable},
		"too late": {func(w *world) error {
			if _, err := w.cluster.ID(w.t.Context()); err != nil { // discovery
				w.t.Fatal(err)
			}
			ctx, cancel := context.WithDeadline(w.t.Context(), time.Unix(0, 0))
			defer cancel()
			_, err := w.cluster.ID(ctx)
			return err
		}, cause.ServerUnavailable},
		"a quota": {func(w *world) error {
			quota := &corev1.ResourceQuota{
				ObjectMeta: metav1.ObjectMeta{Name: "none"},
				Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("0")}},
			}
			quotas := w.Kube.CoreV1().ResourceQuotas(w.Namespace)
			if _, err := quotas.Create(w.t.Context(), quota, metav1.CreateOptions{}); err != nil {
				w.t.Fatal(err)
			}
			testkit.Eventually(w.t, "the quota is counted", 20*time.Second, func() error {
				q, err := quotas.Get(w.t.Context(), "none", metav1.GetOptions{})
				if err == nil && len(q.Status.Hard) == 0 {
					err = errors.New("not counted yet")
				}
				return err
			})
			return w.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: NS}\n", cluster.ApplyOptions{})
		}, cause.QuotaExceeded},
		"pod security": {func(w *world) error {
			w.Kubectl(w.t, "label", "namespace", w.Namespace, "pod-security.kubernetes.io/enforce=restricted")
			return w.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: NS}\nspec: {hostNetwork: true, containers: [{name: a, image: a}]}\n", cluster.ApplyOptions{})
		}, cause.PodSecurity},
		"a namespace that is going": {func(w *world) error {
			held := w.parse(settings)
			held.SetFinalizers([]string{"test.kustomizer.dev/hold"})
			if _, err := w.cluster.Apply(w.t.Context(), held, cluster.ApplyOptions{Manager: "test"}); err != nil {
				w.t.Fatal(err)
			}
			w.t.Cleanup(func() {
				held.SetFinalizers(nil)
				_, _ = w.cluster.Apply(context.WithoutCancel(w.t.Context()), held, cluster.ApplyOptions{Manager: "test"})
			})
			if err := w.Kube.CoreV1().Namespaces().Delete(w.t.Context(), w.Namespace, metav1.DeleteOptions{}); err != nil {
				w.t.Fatal(err)
			}
			return w.apply(strings.Replace(settings, "name: a", "name: b", 1), cluster.ApplyOptions{})
		}, cause.NamespaceGoing},
		"a webhook that says no":   {func(w *world) error { return w.withWebhook(http.HandlerFunc(deny)) }, cause.WebhookDenied},
		"a webhook that is broken": {func(w *world) error { return w.withWebhook(http.NotFoundHandler()) }, cause.WebhookUnavailable},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := testkit.Cluster(t)
			w := &world{Env: env, t: t, cluster: connect(t, env.Config)}
			err := c.fail(w)
			got := cluster.CauseOf(err)
			if got.Code != c.want {
				t.Fatalf("cause %s, want %s: %v", got.Code, c.want, err)
			}
			if got.Detail == "" || strings.Contains(got.Detail, "\n") {
				t.Errorf("detail %q", got.Detail)
			}
			if immutable := cluster.IsImmutable(err); immutable != (c.want == cause.ImmutableField) {
				t.Errorf("immutable: %t", immutable)
			}
		})
	}
}

// withWebhook applies an object that an admission webhook is asked about.
func (w *world) withWebhook(handler http.Handler) error {
	w.t.Helper()
	hook := httptest.NewTLSServer(handler)
	w.t.Cleanup(hook.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	fail, none := admissionregistration.Fail, admissionregistration.SideEffectClassNone
	configuration := &admissionregistration.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: w.Namespace},
		Webhooks: []admissionregistration.ValidatingWebhook{{
			Name: "hook.test.kustomizer.dev", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionregistration.WebhookClientConfig{URL: &hook.URL, CABundle: ca},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.Namespace}},
			Rules: []admissionregistration.RuleWithOperations{{
				Operations: []admissionregistration.OperationType{admissionregistration.Create},
				Rule:       admissionregistration.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}
	hooks := w.Kube.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := hooks.Create(w.t.Context(), configuration, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := hooks.Delete(context.WithoutCancel(w.t.Context()), w.Namespace, metav1.DeleteOptions{}); err != nil {
			w.t.Error(err)
		}
	})
	// The API server takes notice of a new configuration after a moment.
	var refused error
	testkit.Eventually(w.t, "the webhook is asked", 20*time.Second, func() error {
		if refused = w.apply(settings, cluster.ApplyOptions{DryRun: true}); refused == nil {
			return errors.New("not asked yet")
		}
		return nil
	})
	return refused
}

func deny(rw http.ResponseWriter, r *http.Request) {
	var review struct {
		Request struct{ UID string } `json:"request"`
	}
	var body bytes.Buffer
	_, err := body.ReadFrom(http.MaxBytesReader(rw, r.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body.Bytes(), &review)
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(rw, `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
		"response": {"uid": %q, "allowed": false, "status": {"message": "the field is immutable, says the hook"}}}`, review.Request.UID)
}

func TestDeletionsNameWhatWasJudged(t *testing.T) {
	t.Parallel()
	_, c := newServer(t)
	id := object.ID{Kind: "ConfigMap", Namespace: "shop", Name: "a"}
	for name, opts := range map[string]cluster.DeleteOptions{
		"nothing": {}, "no resource version": {UID: "x"}, "no uid": {ResourceVersion: "1"},
	} {
		if err := c.Delete(t.Context(), id, "v1", opts); err == nil || !strings.Contains(err.Error(), "required") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The API server has no reason of its own for it: what a webhook says itself must not pass for it.
func TestWebhooksThatDoNotSupportDryRuns(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		err     error
		webhook string
	}{
		"the API server says so": {apierrors.NewBadRequest(`admission webhook "a.example" does not support dry run`), "a.example"},
		"a webhook says so of another": {
			apierrors.NewBadRequest(`admission webhook "a.example" denied the request: admission webhook "b.example" does not support dry run`), "",
		},
		"with another status": {apierrors.NewInternalError(errors.New(`admission webhook "a.example" does not support dry run`)), ""},
		"nothing":             {nil, ""},
	}
	for name, c := range cases {
		webhook, is := cluster.DryRunUnsupported(c.err)
		if webhook != c.webhook || is != (c.webhook != "") {
			t.Errorf("%s: %q, %v", name, webhook, is)
		}
		if code := cluster.CauseOf(c.err).Code; (code == cause.DryRunUnsupported) != is {
			t.Errorf("%s: the cause is %s", name, code)
		}
	}
}
