// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"math"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
)

// kind is what all targets of one kind have in common.
type kind struct {
	schema.GroupKind
	version   string
	namespace string // the one they are all in; empty for several, or none
	ids       []object.ID
}

// kindsOf groups the targets by kind, in apply order.
func kindsOf(t *table, want Want) []kind {
	index := map[schema.GroupKind]int{}
	var out []kind
	for _, id := range t.order {
		i, ok := index[id.GroupKind()]
		if !ok {
			i = len(out)
			index[id.GroupKind()] = i
			out = append(out, kind{GroupKind: id.GroupKind(), version: t.targets[id].Version, namespace: id.Namespace})
		}
		if out[i].namespace != id.Namespace {
			out[i].namespace = want.Namespace
		}
		out[i].ids = append(out[i].ids, id)
	}
	return out
}

// errByRead says that objects of a kind can only be read one by one.
var errByRead = errors.New("neither listed nor watched")

// list reads all targets of a kind by one list and takes them in.
func (w *waiter) list(ctx context.Context, k kind) (cluster.Resource, string, error) {
	if w.want.Selector == "" {
		return cluster.Resource{}, "", errByRead
	}
	res, err := w.cluster.Resolve(ctx, k.GroupKind, k.version)
	if err != nil {
		return res, "", err
	}
	if !res.Listable {
		return res, "", errByRead
	}
	objs, version, err := w.cluster.List(ctx, res, w.selection(k))
	if err != nil {
		return res, "", err
	}
	w.table.replace(k, objs)
	return res, version, nil
}

func (w *waiter) selection(k kind) cluster.Selection {
	return cluster.Selection{Namespace: k.namespace, LabelSelector: w.want.Selector}
}

// unreadable takes in that a kind could not be listed or watched, and says whether its objects are
// read one by one from now on.
func (w *waiter) unreadable(k kind, err error) bool {
	var absent *cluster.KindError
	switch {
	case errors.Is(err, errByRead), apierrors.IsForbidden(err), apierrors.IsMethodNotSupported(err):
		w.table.readKind(k.GroupKind)
		return true
	case apierrors.IsNotFound(err):
		w.cluster.Forget() // the kind was served when we last looked
	case errors.As(err, &absent):
		w.table.unserved(k, cluster.CauseOf(err))
		return false
	}
	for _, id := range k.ids {
		w.table.unreadable(id, cluster.CauseOf(err))
	}
	return false
}

// unserved takes in that a kind does not exist: nor do its objects.
func (t *table) unserved(k kind, why cause.Cause) {
	for _, id := range k.ids {
		if t.targets[id].Absent {
			t.missing(id)
		} else {
			t.unreadable(id, why)
		}
	}
}

// follow keeps the records of a kind up to date by a list and a watch, over and over, until the
// context ends or the kind turns out not to be watchable.
func (w *waiter) follow(ctx context.Context, k kind) {
	backoff := w.backoff()
	for ctx.Err() == nil {
		began := time.Now()
		err := w.listAndWatch(ctx, k)
		if err != nil && ctx.Err() == nil && w.unreadable(k, err) {
			return
		}
		if time.Since(began) > w.pace.retryMax {
			backoff = w.backoff()
		}
		_ = pause(ctx, backoff.Step()) // the loop looks at the context
	}
}

func (w *waiter) backoff() wait.Backoff {
	return wait.Backoff{Duration: w.pace.retry, Factor: 2, Jitter: 0.5, Steps: math.MaxInt32, Cap: w.pace.retryMax}
}

// listAndWatch returns nil when the watch, once begun, has ended: the server ends each one some
// time, and has then to be asked for a list again, as the events in between may be gone.
func (w *waiter) listAndWatch(ctx context.Context, k kind) error {
	res, version, err := w.list(ctx, k)
	if err != nil {
		return err
	}
	events, err := w.cluster.Watch(ctx, res, w.selection(k), version)
	if err != nil {
		return err
	}
	defer func() {
		events.Stop()
		for range events.ResultChan() { // until its goroutine has ended
		}
	}()
	w.take(ctx, events)
	return nil
}

// take takes in events until there are no more, or none for too long.
func (w *waiter) take(ctx context.Context, events watch.Interface) {
	idle := time.NewTimer(w.pace.idle)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-idle.C:
			return
		case e, open := <-events.ResultChan():
			if !open {
				return
			}
			idle.Reset(w.pace.idle)
			w.takeOne(e)
		}
	}
}

func (w *waiter) takeOne(e watch.Event) {
	u, ok := e.Object.(*unstructured.Unstructured)
	if !ok {
		return
	}
	switch e.Type {
	case watch.Added, watch.Modified:
		w.table.see(u, false)
	case watch.Deleted:
		w.table.hidden(object.Of(u))
	}
}
