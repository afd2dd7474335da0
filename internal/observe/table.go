// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/health"
	"github.com/kustomizer/kustomizer/internal/object"
)

// presence is what is known about whether an object exists.
type presence int

const (
	unseen   presence = iota // not looked at yet
	present                  // a list, a watch or a read shows it
	doubtful                 // a list or watch does not show it: gone, or without the label
	gone                     // a read has proved that it does not exist
)

// record is what is kept of an object.
type record struct {
	presence presence
	problem  cause.Cause // why it could not be looked at, while it is unseen

	uid             types.UID
	resourceVersion string
	status          health.Status

	byRead  bool      // the watch does not show it: it is read by itself
	readAt  time.Time // when it was last read by itself
	looks   looks     // when its pods are looked at
	podSays cause.Cause
}

// table holds the records of all targets. It is safe for concurrent use.
type table struct {
	mu      sync.Mutex
	targets map[object.ID]Target
	order   []object.ID
	records map[object.ID]record
	byRead  map[schema.GroupKind]bool // kinds that can't be watched

	changed chan struct{} // holds a token when a record has changed since it was last taken
	wake    chan struct{} // holds a token when there is something to read
	look    chan struct{} // holds a token when there may be pods to look at
}

func newTable(want Want) *table {
	t := &table{
		targets: map[object.ID]Target{}, records: map[object.ID]record{}, byRead: map[schema.GroupKind]bool{},
		changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), look: make(chan struct{}, 1),
	}
	for _, target := range want.Objects {
		t.targets[target.ID] = target
	}
	t.order = slices.Collect(maps.Keys(t.targets))
	object.SortIDs(t.order)
	return t
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // there is a token already
	}
}

// see takes in an object as a list, a watch or a read shows it. Objects that are not waited for
// are dropped, and so is a state older than what is known.
func (t *table) see(u *unstructured.Unstructured, byRead bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := object.Of(u)
	if _, wanted := t.targets[id]; !wanted {
		return
	}
	old := t.records[id]
	if old.presence == present && old.uid == u.GetUID() && older(u.GetResourceVersion(), old.resourceVersion) {
		return
	}
	now := record{
		presence: present, uid: u.GetUID(), resourceVersion: u.GetResourceVersion(), status: health.Assess(u),
		byRead: byRead, readAt: old.readAt, looks: old.looks, podSays: old.podSays,
	}
	now.looks.update(u, now.status, now.resourceVersion != old.resourceVersion)
	if now.looks.selector == "" {
		now.podSays = cause.Cause{}
	}
	t.put(id, now)
	signal(t.look)
}

// missing takes in the proof that an object does not exist.
func (t *table) missing(id object.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.finished(id) {
		t.put(id, record{presence: gone, byRead: true, readAt: t.records[id].readAt})
	}
}

// hidden takes in that a list or watch does not show an object, or no longer: it may be gone, or
// have lost the label. It is read by itself to find out.
func (t *table) hidden(id object.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.records[id]
	if _, wanted := t.targets[id]; !wanted || t.finished(id) {
		return
	}
	if old.byRead && (old.presence == present || old.presence == gone) {
		return // that the watch does not show it is nothing new
	}
	t.put(id, record{presence: doubtful, byRead: true})
	signal(t.wake)
}

// finished says that an object is a Job that was seen to end: when it is deleted after that, its
// outcome stays.
func (t *table) finished(id object.ID) bool {
	r := t.records[id]
	ended := r.presence == present && (r.status.State == health.Current || r.status.State == health.Failed)
	return ended && id.GroupKind() == schema.GroupKind{Group: "batch", Kind: "Job"} && !t.targets[id].Absent
}

// unreadable takes in that an object could not be looked at. What is known of it stays.
func (t *table) unreadable(id object.ID, why cause.Cause) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.records[id]; r.presence == unseen {
		r.problem = why
		t.put(id, r)
	}
}

func (t *table) put(id object.ID, r record) {
	if t.records[id] != r {
		t.records[id] = r
		signal(t.changed)
	}
}

// replace takes in a whole list of a kind.
func (t *table) replace(k kind, objs []*unstructured.Unstructured) {
	shown := map[object.ID]bool{}
	for _, u := range objs {
		shown[object.Of(u)] = true
		t.see(u, false)
	}
	for _, id := range k.ids {
		if !shown[id] {
			t.hidden(id)
		}
	}
}

// readKind has all objects of a kind read by themselves from now on.
func (t *table) readKind(gk schema.GroupKind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byRead[gk] = true
	signal(t.wake)
}

// dueReads returns the objects to be read by themselves that were not for a while, and notes that
// they are being read.
func (t *table) dueReads(now time.Time, every time.Duration) []Target {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Target
	for _, id := range t.order {
		target, r := t.targets[id], t.records[id]
		settled := target.Absent && r.presence == gone
		if settled || now.Sub(r.readAt) < every || !r.byRead && !t.byRead[id.GroupKind()] {
			continue
		}
		r.readAt = now
		t.records[id] = r
		out = append(out, target)
	}
	return out
}

// report judges all objects, and says whether it is complete: everything has been looked at, or tried to.
func (t *table) report() (out Report, complete bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	complete = true
	for _, id := range t.order {
		r := t.records[id]
		complete = complete && (r.presence != unseen || r.problem.Code != "")
		ready, status := judge(t.targets[id], r)
		switch {
		case ready:
			out.Ready = append(out.Ready, id)
		case status.State == health.Failed:
			out.Failed = append(out.Failed, NotReady{ID: id, Status: status})
		default:
			out.Pending = append(out.Pending, NotReady{ID: id, Status: status})
		}
	}
	return out, complete
}

// older says whether a resource version is known to be older than another. Those of some
// aggregated APIs can't be compared: then it is not.
func older(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}
