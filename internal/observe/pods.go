// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"cmp"
	"context"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/health"
	"github.com/kustomizer/kustomizer/internal/object"
)

// looks says when the pods of a workload are to be looked at. A pod's trouble does not always show
// in its workload's status, so they are looked at again without a change, ever more rarely.
type looks struct {
	workload *unstructured.Unstructured // what is needed of it, while it is not ready
	selector string                     // of its pods; empty when there is nothing to look at
	last     time.Time
	times    int // how often since its last change
}

// update takes in a state of the object.
func (l *looks) update(u *unstructured.Unstructured, s health.Status, changed bool) {
	selector := ""
	if s.State != health.Current && health.Generic(s.Cause.Code) {
		selector = health.PodSelector(u)
	}
	if selector == "" {
		*l = looks{}
		return
	}
	if l.selector == "" {
		l.last = time.Now() // its pods need a moment before they have anything to say
	}
	if s.State == health.Failed && l.workload == nil {
		l.last = time.Time{}
	}
	l.workload, l.selector = slim(u), selector
	if changed {
		l.times = 0
	}
}

func (l *looks) due(p pace) time.Time {
	wait := p.look
	for range l.times {
		wait = min(2*wait, p.lookMax)
	}
	return l.last.Add(wait)
}

// slim leaves out what takes room and says nothing about health.
func slim(u *unstructured.Unstructured) *unstructured.Unstructured {
	out := maps.Clone(u.Object)
	if spec, ok := out["spec"].(map[string]any); ok {
		spec = maps.Clone(spec)
		delete(spec, "template")
		delete(spec, "volumeClaimTemplates")
		out["spec"] = spec
	}
	slimmed := &unstructured.Unstructured{Object: out}
	meta := map[string]any{"name": u.GetName(), "namespace": u.GetNamespace()}
	if generation := u.GetGeneration(); generation != 0 {
		meta["generation"] = generation
	}
	out["metadata"] = meta
	return slimmed
}

// lookAtPods lists the pods of workloads that are not ready, one workload at a time, and with
// pauses as long as the lists take.
func (w *waiter) lookAtPods(ctx context.Context) {
	for ctx.Err() == nil {
		id, l := w.table.nextLook(w.pace)
		if l.selector == "" {
			_ = pauseOr(ctx, time.Hour, w.table.look) // the loop looks at the context
			continue
		}
		if wait := time.Until(l.due(w.pace)); wait > 0 {
			_ = pauseOr(ctx, wait, w.table.look)
			continue
		}
		began := time.Now()
		says, err := w.explain(ctx, id.Namespace, l)
		w.table.looked(id, l, says, err)
		_ = pause(ctx, time.Since(began))
	}
}

func (w *waiter) explain(ctx context.Context, namespace string, l looks) (cause.Cause, error) {
	ctx, cancel := context.WithTimeout(ctx, w.pace.request)
	defer cancel()
	res, err := w.cluster.Resolve(ctx, schema.GroupKind{Kind: "Pod"}, "v1")
	if err != nil {
		return cause.Cause{}, err
	}
	pods, _, err := w.cluster.List(ctx, res, cluster.Selection{Namespace: namespace, LabelSelector: l.selector})
	if err != nil {
		return cause.Cause{}, err
	}
	says := health.Explain(l.workload, pods)
	if subject := health.Puzzle(l.workload, pods); l.times > 0 && health.Generic(says.Code) && subject != nil {
		says = w.events(ctx, subject, says)
	}
	return says, nil
}

// events looks for the cause in the events of a pod or workload that says nothing else of it: some
// troubles, such as a volume that can't be mounted, show nowhere else. Where they can't be read, or
// say nothing either, what was known before holds.
func (w *waiter) events(ctx context.Context, subject *unstructured.Unstructured, before cause.Cause) cause.Cause {
	res, err := w.cluster.Resolve(ctx, schema.GroupKind{Kind: "Event"}, "v1")
	if err != nil {
		return before
	}
	events, _, err := w.cluster.List(ctx, res, cluster.Selection{
		Namespace:     subject.GetNamespace(),
		FieldSelector: "type=Warning,involvedObject.kind=" + subject.GetKind() + ",involvedObject.name=" + subject.GetName(),
	})
	if err != nil {
		return before
	}
	return cmp.Or(health.FromEvents(events), before)
}

// nextLook returns the workload whose pods are due first.
func (t *table) nextLook(p pace) (object.ID, looks) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var first object.ID
	var next looks
	for _, id := range t.order {
		l := t.records[id].looks
		if l.selector != "" && (next.selector == "" || l.due(p).Before(next.due(p))) {
			first, next = id, l
		}
	}
	return first, next
}

// looked takes in what the pods of a workload say. Where they could not be listed, what they said
// before stays.
func (t *table) looked(id object.ID, l looks, says cause.Cause, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.records[id]
	if r.looks.selector == "" {
		return // it has become ready meanwhile
	}
	r.looks.last = time.Now()
	if r.looks.workload == l.workload {
		r.looks.times++
	}
	if err == nil {
		r.podSays = cause.Cause{}
		if !health.Generic(says.Code) {
			r.podSays = says
		}
	}
	t.put(id, r)
}
