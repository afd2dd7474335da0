// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// hang is longer than what the commands that meet it are given.
const hang = 8 * time.Second

// on makes a hook that does something to the n-th request that passes a filter, counted from 1; to
// all of them with n = 0.
func on(n int32, filter testkit.Filter, fault testkit.Fault) testkit.Hook {
	var seen atomic.Int32
	return func(r testkit.Request) testkit.Fault {
		if filter(r) && (n == 0 || seen.Add(1) == n) {
			return fault
		}
		return testkit.Fault{}
	}
}

// The requests that faults are about.
func anything(testkit.Request) bool      { return true }
func inRecord(r testkit.Request) bool    { return strings.HasPrefix(r.Name, "inv-app-record") }
func inInventory(r testkit.Request) bool { return strings.HasPrefix(r.Name, "inv-app") }
func dryRun(r testkit.Request) bool      { return r.Verb == "patch" && r.DryRun && !inInventory(r) }
func realApply(r testkit.Request) bool {
	return r.Verb == "patch" && !r.DryRun && !inInventory(r)
}
func deletion(r testkit.Request) bool    { return r.Verb == "delete" && !r.DryRun && !inInventory(r) }
func listing(r testkit.Request) bool     { return r.Verb == "list" && r.Resource == "secrets" }
func ofSecrets(r testkit.Request) bool   { return r.Resource == "secrets" }
func recordWrite(r testkit.Request) bool { return r.Verb == "update" && inRecord(r) }

// faultCase is one thing that goes wrong while a set is updated, or deleted.
type faultCase struct {
	fault  func(t *testing.T, r *cliRun) testkit.Hook
	args   []string // beside those of the update
	delete bool     // the set is deleted, not updated

	code    int
	message string // a pattern of what is told
	written bool   // objects may have been written
	stays   bool   // what is wrong does not go away: the next run is not looked at
	after   func(t *testing.T, r *cliRun)
}

func hook(h testkit.Hook) func(*testing.T, *cliRun) testkit.Hook {
	return func(*testing.T, *cliRun) testkit.Hook { return h }
}

// Whatever the API server does in the middle of an update or of a delete, the command says what
// happened in one line with the right exit code, forgets nothing, touches nothing of others, writes
// nothing before all was rehearsed; and once the fault is over, the same command finishes the work.
func TestCommandOutlivesFaultsOfTheAPIServer(t *testing.T) {
	t.Parallel()
	testkit.Cluster(t) // without a sandbox this is where it ends
	for name, c := range faultCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func (c faultCase) run(t *testing.T) {
	names := sweptNames(12)
	s := &cliSweep{before: names[:10], after: names[2:], changed: "two"}
	if c.delete {
		s.after = nil
	}
	run := s.prepare(t)
	fault := c.fault(t, run)
	run.fault.Store(&fault)
	mark := run.Mark(t)
	began := run.ours(t)
	r := run.run(t, append(run.args(false), c.args...)...)
	if r.code != c.code || !regexp.MustCompile(c.message).MatchString(r.stderr) {
		t.Errorf("exit code %d, want %d; %q is to be in:\n%s%s", r.code, c.code, c.message, tail(r.stdout), tail(r.stderr))
	}
	written := run.Requests(t, testkit.ByUser(run.user.UserName), testkit.After(mark)).Writes().Of(testkit.Not(inInventory))
	if len(written) > 0 && !c.written {
		t.Errorf("written:\n%s", written)
	}
	if !c.written && len(run.ours(t)) != len(began) {
		t.Errorf("%d objects became %d", len(began), len(run.ours(t)))
	}
	run.nothingForgotten(t)
	run.fault.Store(nil)
	if c.after != nil {
		c.after(t, run)
	}
	if c.stays {
		return
	}
	if c.code != 0 {
		run.must(t, 0, run.args(false)...)
	}
	run.converged(t)
}

// edit changes an object as somebody else, in the middle of the command's run.
func (r *cliRun) edit(t *testing.T, name, patch string) {
	t.Helper()
	gvr := sweptResources()[0]
	_, err := r.Dynamic.Resource(gvr).Namespace(r.Namespace).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "operator"})
	if err != nil {
		t.Errorf("editing %s: %v", name, err)
	}
}

func faultCases() map[string]faultCase {
	status := func(code int) testkit.Fault { return testkit.Fault{Status: code} }
	return map[string]faultCase{
		"a list is answered 500":            {fault: hook(on(0, listing, status(500))), code: 1, message: `its state is unknown: ServerUnavailable: refused by the test.s proxy`},
		"a list is answered 503":            {fault: hook(on(0, listing, status(503))), code: 1, message: `its state is unknown: ServerUnavailable: refused by the test.s proxy`},
		"a list is answered 504":            {fault: hook(on(0, listing, status(504))), code: 1, message: `its state is unknown: ServerUnavailable: refused by the test.s proxy`},
		"everything is answered 503":        {fault: hook(on(0, anything, status(503))), code: 1, message: `reading the inventory app: .*currently unable to handle`},
		"everything is answered 401":        {fault: hook(on(0, anything, status(401))), code: 4, message: `does not accept these credentials`},
		"one kind is forbidden":             {fault: hook(on(0, ofSecrets, status(403))), code: 4, message: `its state is unknown: PermissionDenied`},
		"the first dry-run gets 429":        {fault: hook(on(1, dryRun, status(429))), written: true, message: ""},
		"a dry-run is answered 500":         {fault: hook(on(2, dryRun, status(500))), code: 1, message: `ServerUnavailable: refused by the test.s proxy(.|\n)*nothing was applied`},
		"a dry-run is cut":                  {fault: hook(on(2, dryRun, testkit.Fault{Cut: true})), code: 1, message: `ServerUnavailable: .*EOF(.|\n)*nothing was applied`},
		"an apply gets 429":                 {fault: hook(on(2, realApply, status(429))), written: true},
		"an apply is answered 500":          {fault: hook(on(2, realApply, status(500))), code: 1, written: true, message: `✗ [A-Z][A-Za-z]+/[-/a-z0-9]+: ServerUnavailable: refused`},
		"an apply is answered 503":          {fault: hook(on(2, realApply, status(503))), code: 1, written: true, message: `✗ [A-Z][A-Za-z]+/[-/a-z0-9]+: ServerUnavailable: refused`},
		"an apply is answered 504":          {fault: hook(on(2, realApply, status(504))), code: 8, written: true, message: `✗ [A-Z][A-Za-z]+/[-/a-z0-9]+: ServerUnavailable: refused`},
		"an apply is in conflict":           {fault: hook(on(2, realApply, status(409))), code: 6, written: true, message: `✗ [A-Z][A-Za-z]+/[-/a-z0-9]+: Conflict: refused`},
		"an apply is cut before":            {fault: hook(on(2, realApply, testkit.Fault{Cut: true})), code: 1, written: true, message: `✗ [A-Z][A-Za-z]+/[-/a-z0-9]+: ServerUnavailable: .*EOF`},
		"an apply is cut after":             {fault: hook(on(2, realApply, testkit.Fault{CutAfter: true})), code: 1, written: true, message: `✗ [A-Z][A-Za-z]+/[-/a-z0-9]+: ServerUnavailable: .*EOF`},
		"an apply hangs":                    {fault: hook(on(2, realApply, testkit.Fault{Delay: hang})), args: []string{"--timeout=4s"}, code: 8, written: true, message: `✗ .*timed out after 4s`},
		"a list hangs":                      {fault: hook(on(0, listing, testkit.Fault{Delay: hang})), args: []string{"--timeout=4s"}, code: 8, message: `✗ .*timed out after 4s`},
		"the record can't be written":       {fault: hook(on(0, recordWrite, status(500))), code: 1, message: `✗ nothing was applied, because it can't be put on record: writing the record of Inventory/.*/app: refused by`},
		"the record's write is cut after":   {fault: hook(on(1, recordWrite, testkit.Fault{CutAfter: true})), code: 1, message: `✗ nothing was applied, because it can't be put on record: writing the record of Inventory/.*/app: .*EOF`},
		"the record was written by another": {fault: hook(on(1, recordWrite, status(409))), code: 6, message: `✗ the record of Inventory/.*/app was changed by another run`},
		"deletions are forbidden":           {fault: hook(on(0, deletion, status(403))), code: 4, written: true, message: `✗ pruning: .*PermissionDenied(.|\n)*PermissionDenied`},
		"a deletion is answered 500":        {fault: hook(on(1, deletion, status(500))), code: 1, written: true, message: `✗ pruning: .*ServerUnavailable`},
		"a deletion is cut after":           {fault: hook(on(1, deletion, testkit.Fault{CutAfter: true})), code: 1, written: true, message: `✗ pruning: .*ServerUnavailable: .*EOF`},
		"deletions of a delete are forbidden": {
			fault: hook(on(3, deletion, status(403))), delete: true, code: 4, written: true, message: `✗ pruning: .*PermissionDenied`,
		},
		"a deletion of a delete is cut after": {
			fault: hook(on(3, deletion, testkit.Fault{CutAfter: true})), delete: true, code: 1, written: true, message: `✗ pruning: .*ServerUnavailable: .*EOF`,
		},
		"an object that goes is edited meanwhile": {
			fault: func(t *testing.T, r *cliRun) testkit.Hook {
				return on(1, func(q testkit.Request) bool { return deletion(q) && q.Name == "configmap-00" },
					testkit.Fault{Before: func() { r.edit(t, "configmap-00", `{"data":{"meanwhile":"x"}}`) }})
			},
			written: true,
		},
		"an object that goes is handed over meanwhile": {
			fault: func(t *testing.T, r *cliRun) testkit.Hook {
				return on(1, func(q testkit.Request) bool { return deletion(q) && q.Name == "configmap-00" },
					testkit.Fault{Before: func() {
						r.edit(t, "configmap-00", `{"metadata":{"labels":{"`+plan.InventoryLabelGroup+`/name":"another"}}}`)
					}})
			},
			written: true,
			after: func(t *testing.T, r *cliRun) {
				if _, err := r.Kube.CoreV1().ConfigMaps(r.Namespace).Get(t.Context(), "configmap-00", metav1.GetOptions{}); err != nil {
					t.Errorf("it was deleted: %v", err)
				}
			},
		},
		"an object is deleted meanwhile": {
			fault: func(t *testing.T, r *cliRun) testkit.Hook {
				return on(1, func(q testkit.Request) bool { return realApply(q) && q.Name == "service-02" }, testkit.Fault{Before: func() {
					if err := r.Kube.CoreV1().Services(r.Namespace).Delete(t.Context(), "service-02", metav1.DeleteOptions{}); err != nil {
						t.Error(err)
					}
				}})
			},
			code: 6, written: true, message: `✗ Service/.*: Conflict: .*uid mismatch`,
		},
		"the namespace is terminating": {
			fault: func(t *testing.T, r *cliRun) testkit.Hook {
				r.Kubectl(t, "-n", r.Namespace, "create", "configmap", "held")
				r.edit(t, "held", `{"metadata":{"finalizers":["operator.example/hold"]}}`)
				r.Kubectl(t, "delete", "namespace", r.Namespace, "--wait=false")
				return on(1, anything, testkit.Fault{})
			},
			code: 1, message: `✗ .*NamespaceTerminating: (.|\n)*nothing was applied`, stays: true,
			after: func(t *testing.T, r *cliRun) { r.edit(t, "held", `{"metadata":{"finalizers":null}}`) },
		},
		"a quota is exceeded": {
			fault: func(t *testing.T, r *cliRun) testkit.Hook {
				r.fillQuota(t)
				return on(1, anything, testkit.Fault{})
			},
			code: 1, message: `✗ Secret/.*: QuotaExceeded: .*exceeded quota: full(.|\n)*nothing was applied`,
			after: func(t *testing.T, r *cliRun) { r.Kubectl(t, "-n", r.Namespace, "delete", "resourcequota", "full") },
		},
		"a webhook is down": {
			fault: func(t *testing.T, r *cliRun) testkit.Hook {
				r.brokenWebhook(t)
				return on(1, anything, testkit.Fault{})
			},
			code: 1, message: `✗ Service/.*: WebhookUnavailable: .*services.judge.example(.|\n)*nothing was applied`,
			after: func(t *testing.T, r *cliRun) {
				r.Kubectl(t, "delete", "validatingwebhookconfiguration", r.Namespace)
				testkit.Eventually(t, "the webhook's end", time.Minute, func() error { return r.probe(t) })
			},
		},
	}
}

// probe asks whether an object of the set could be written.
func (r *cliRun) probe(t *testing.T) error {
	t.Helper()
	probe := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	_, err := r.Kube.CoreV1().Services(r.Namespace).Create(t.Context(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// fillQuota leaves no room for another Secret, and waits until that holds.
func (r *cliRun) fillQuota(t *testing.T) {
	t.Helper()
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "full"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("2")}},
	}
	if _, err := r.Kube.CoreV1().ResourceQuotas(r.Namespace).Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}
	testkit.Eventually(t, "a quota that holds", time.Minute, func() error {
		_, err := r.Kube.CoreV1().Secrets(r.Namespace).Create(t.Context(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsForbidden(err) {
			return fmt.Errorf("a Secret more: %v", err)
		}
		return nil
	})
}

// brokenWebhook has Services of the test's own namespace judged by somebody who is not there.
func (r *cliRun) brokenWebhook(t *testing.T) {
	t.Helper()
	path := writeFile(t, t.TempDir(), "webhook.yaml", fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %[1]s}
webhooks:
- name: services.judge.example
  clientConfig: {url: "https://127.0.0.1:1/judge"}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: ["*"], resources: [services]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
  timeoutSeconds: 2
`, r.Namespace))
	r.Kubectl(t, "apply", "-f", path)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		err := r.Kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, r.Namespace, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("removing the webhook: %v", err)
		}
	})
	testkit.Eventually(t, "a webhook at work", time.Minute, func() error {
		if r.probe(t) == nil {
			return fmt.Errorf("a Service can still be made")
		}
		return nil
	})
}
