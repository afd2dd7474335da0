// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

var self = plan.Kustomization("apps", "shop")

// parse reads an object.
func parse(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	// The YAML library reads numbers as float64, the API machinery as int64.
	b, err := u.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.UnmarshalJSON(b); err != nil {
		t.Fatal(err)
	}
	return u
}

// manifest returns an object of a kind as a set wants it, with the owner's labels.
func manifest(t testing.TB, kind, name string) *unstructured.Unstructured {
	t.Helper()
	apiVersion := "v1"
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		apiVersion = "apps/v1"
	case "Job", "CronJob":
		apiVersion = "batch/v1"
	case "CustomResourceDefinition":
		apiVersion = "apiextensions.k8s.io/v1"
	case "ClusterRole":
		apiVersion = "rbac.authorization.k8s.io/v1"
	case "Kustomization":
		apiVersion = "kustomize.toolkit.fluxcd.io/v1"
	}
	u := parse(t, "apiVersion: "+apiVersion+"\nkind: "+kind+"\nmetadata: {name: "+name+", namespace: shop}\ndata: {key: value}\n")
	if kind == "Namespace" || kind == "CustomResourceDefinition" || kind == "PersistentVolume" || kind == "ClusterRole" {
		u.SetNamespace("")
	}
	u.SetLabels(self.Labels())
	return u
}

// applied returns an object as it lives after our apply.
func applied(want *unstructured.Unstructured) *unstructured.Unstructured {
	u := want.DeepCopy()
	u.SetUID(types.UID("uid-" + u.GetName()))
	u.SetResourceVersion("7")
	u.SetManagedFields([]metav1.ManagedFieldsEntry{owned(self.Manager, metav1.ManagedFieldsOperationApply,
		`{"f:metadata":{"f:labels":{"f:kustomize.toolkit.fluxcd.io/name":{},"f:kustomize.toolkit.fluxcd.io/namespace":{}}},"f:data":{"f:key":{}}}`)})
	return u
}

func owned(manager string, operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: operation, APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	}
}

func add(u *unstructured.Unstructured, e metav1.ManagedFieldsEntry) {
	u.SetManagedFields(append(u.GetManagedFields(), e))
}

// world is a set of facts about a few objects.
type world struct {
	t testing.TB
	plan.Facts
	policy plan.Policy
}

func newWorld(t testing.TB) *world {
	return &world{
		t: t, policy: plan.Policy{Prune: true},
		Facts: plan.Facts{
			Owner: self, Origin: "sha256:one@1", Empty: "",
			Record: map[object.ID]plan.Entry{}, Live: map[object.ID]plan.Live{},
			Rehearsals: map[object.ID]plan.Rehearsal{}, Claims: map[object.ID]plan.Owner{},
			Stakes: map[object.ID]plan.Stake{},
		},
	}
}

// settled puts an object into the set, the record and the cluster, as a finished run leaves it.
func (w *world) settled(kind, name string) object.ID {
	w.t.Helper()
	want := w.wanted(kind, name)
	w.remembered(want.Object)
	return want.ID
}

func (w *world) wanted(kind, name string) plan.Want {
	w.t.Helper()
	want, err := plan.NewWant(manifest(w.t, kind, name))
	if err != nil {
		w.t.Fatal(err)
	}
	w.Wants = append(w.Wants, want)
	w.Live[want.ID] = plan.Live{Presence: plan.Absent}
	return want
}

// stale puts an object into the record and the cluster that is not in the set, and with which nothing
// else would go.
func (w *world) stale(kind, name string) object.ID {
	w.t.Helper()
	id := w.remembered(manifest(w.t, kind, name))
	w.Stakes[id] = plan.Stake{Looked: true}
	return id
}

// stake changes what would go with an object.
func (w *world) stake(id object.ID, change func(s *plan.Stake)) {
	s := w.Stakes[id]
	change(&s)
	w.Stakes[id] = s
}

func (w *world) remembered(u *unstructured.Unstructured) object.ID {
	w.t.Helper()
	hash, err := plan.HashOf(u)
	if err != nil {
		w.t.Fatal(err)
	}
	live := applied(u)
	id := object.Of(u)
	w.Live[id] = plan.Live{Presence: plan.Present, Object: live}
	w.Record[id] = plan.Entry{
		ID: id, Version: u.GroupVersionKind().Version, UID: string(live.GetUID()), Desired: hash, Live: plan.Fingerprint(live, self.Manager),
	}
	return id
}

// rehearsed has the server say that the apply would leave the given object.
func (w *world) rehearsed(id object.ID, result *unstructured.Unstructured, created bool) {
	w.Rehearsals[id] = plan.Rehearsal{Result: result, Created: created}
}

func (w *world) refused(id object.ID, code cause.Code) {
	w.Rehearsals[id] = plan.Rehearsal{Failed: &cause.Cause{Code: code, Detail: "as the server said"}}
}

func (w *world) edit(id object.ID, change func(u *unstructured.Unstructured)) {
	change(w.Live[id].Object)
}

func (w *world) entry(id object.ID, change func(e *plan.Entry)) {
	e := w.Record[id]
	change(&e)
	w.Record[id] = e
}

func (w *world) decide() *plan.Plan { return plan.Decide(&w.Facts, w.policy) }

// actions returns what is decided, a line an object: "action Kind/name: reason".
func actions(p *plan.Plan) []string {
	var out []string
	for _, steps := range [][]plan.Step{p.Steps, p.Stale} {
		for _, s := range steps {
			line := string(s.Action) + " " + s.ID.Kind + "/" + s.ID.Name
			if s.Corrects {
				line += " (corrects)"
			}
			if s.CleanUp {
				line += " (cleans up)"
			}
			if s.Reason != "" {
				line += ": " + s.Reason
			}
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}
