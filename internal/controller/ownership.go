// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"strings"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// The condition that says that objects of a set are another owner's, which renders them identically.
const (
	conditionShared = "CoOwned"
	reasonShared    = "RenderedIdentically"
)

// awaitPace is how often a Kustomization that waits for others is looked at, if nothing wakes it
// before: those others may be another agent's.
const awaitPace = 10 * time.Second

func sourceKey(ks *kustomizev1.Kustomization) types.NamespacedName {
	ref := ks.Spec.SourceRef
	key := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	if key.Namespace == "" {
		key.Namespace = ks.Namespace
	}
	return key
}

// peerOf returns a function that says which Kustomizations are made from the same source as the one
// that is looked at, and until when it is waited for their decision: as long as each may take for it,
// from when there was something new to decide about.
func peerOf(l *look, src artifactSource, started time.Time) func(*unstructured.Unstructured) (time.Time, bool) {
	return func(u *unstructured.Unstructured) (time.Time, bool) {
		ks := &kustomizev1.Kustomization{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, ks); err != nil {
			return time.Time{}, false // it is in no state to take anything over
		}
		if src.Revision == "" || client.ObjectKeyFromObject(ks) == l.key() || ks.Spec.Suspend || ks.DeletionTimestamp != nil ||
			ks.Spec.SourceRef.Kind != sourcev1.OCIRepositoryKind || sourceKey(ks) != src.Key {
			return time.Time{}, false
		}
		since := src.Since
		if ks.CreationTimestamp.After(since) {
			since = ks.CreationTimestamp.Time
		}
		if ks.Status.ObservedGeneration != ks.Generation && started.After(since) {
			since = started
		}
		return since.Add(timeout(ks)), true
	}
}

// awaiting remembers which Kustomizations wait for others that are made from the same source to decide.
type awaiting struct {
	mu  sync.Mutex
	all map[types.NamespacedName]types.NamespacedName // to the source
}

func (w *awaiting) add(key, source types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[types.NamespacedName]types.NamespacedName{}
	}
	w.all[key] = source
}

func (w *awaiting) remove(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, key)
}

// others returns who waits for a decision about a source, except for one.
func (w *awaiting) others(key, source types.NamespacedName) []types.NamespacedName {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []types.NamespacedName
	for waiter, on := range w.all {
		if on == source && waiter != key {
			out = append(out, waiter)
		}
	}
	return out
}

// await reports that others have to decide before this can go on.
func (r *kustomizations) await(l *look, source types.NamespacedName, waits []string) time.Duration {
	r.waiters.stop(l.key())
	r.awaiting.add(l.key(), source)
	l.conditions().working(strings.Join(waits, "; "))
	return awaitPace
}

// decided has those looked at again that waited for this Kustomization's decision, and those that are
// concerned by it.
func (r *kustomizations) decided(key, source types.NamespacedName, concerned []plan.Owner) {
	r.awaiting.remove(key)
	wake := r.awaiting.others(key, source)
	for _, owner := range concerned {
		to := types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}
		if owner.Kind == plan.OwnerKustomization && !slices.Contains(wake, to) {
			wake = append(wake, to)
		}
	}
	for _, waiter := range wake {
		r.waiters.rouse(waiter)
	}
}

// shared says which objects of the set another owner keeps because it renders the same.
func (r *kustomizations) shared(l *look, out deploy.Outcome) {
	if out.Plan == nil {
		return
	}
	var lines []string
	for _, s := range out.Plan.Shared() {
		lines = append(lines, s.ID.String()+" is "+s.Reason)
	}
	if len(lines) == 0 {
		l.conditions().remove(conditionShared)
		return
	}
	message := truncate(strings.Join(lines, "; "))
	if l.conditions().of(conditionShared).Message != message {
		l.later(func() { r.events.normal(l.ks, nil, conditionShared, message) })
	}
	l.conditions().set(conditionShared, metav1.ConditionTrue, reasonShared, message)
}
