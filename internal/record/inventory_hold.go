// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Holder is the run that is at work on a set. It lies in the record's first part. The beat changes
// as long as the run lives; what it says is for people only, since clocks differ.
type Holder struct {
	Name string
	Beat string
}

// HeldError says that another run, which is alive, is at work on the same set.
type HeldError struct {
	Owner  plan.Owner
	Holder Holder
}

// Error implements error.
func (e *HeldError) Error() string {
	return fmt.Sprintf("another run is at work on %s: %s", e.Owner, e.Holder.Name)
}

// Holder returns who holds the record, as it was read or last written.
func (r *Record) Holder() Holder {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holder
}

// Hold writes who holds the record, or with the zero value that nobody does. It changes nothing else:
// of a record that is stored only its first part is written. A record that is not stored yet is
// stored with the given entries, whole, so that it never exists without them; without entries, as when
// a hold is renewed or given back, it is not made. If another run wrote
// to the record since it was read, the error is a [ConflictError].
func (r *Record) Hold(ctx context.Context, c *cluster.Cluster, h Holder, entries map[object.ID]plan.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.Exists && entries == nil {
		return nil // it was deleted: to renew or release a hold makes no record
	}
	before := r.holder
	r.holder = h
	err := r.writeHolder(ctx, c, entries)
	if err != nil {
		r.holder = before
	}
	return err
}

func (r *Record) writeHolder(ctx context.Context, c *cluster.Cluster, entries map[object.ID]plan.Entry) error {
	if !r.Exists {
		return r.save(ctx, c, r.Head, maps.Clone(entries))
	}
	for i := range r.chunks {
		if ch := &r.chunks[i]; ch.index == 0 && ch.object != nil && ch.head == nil {
			return r.rewriteHead(ctx, c, ch)
		}
	}
	return nil // the first part is missing or damaged, and damage is kept as it is
}

// rewriteHead writes a part anew with nothing but its head changed.
func (r *Record) rewriteHead(ctx context.Context, c *cluster.Cluster, ch *chunk) error {
	text, err := r.encodeHead(ch, r.Head)
	if err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Owner, err)
	}
	cm := ch.object.DeepCopy()
	if err := unstructured.SetNestedField(cm.Object, text, "data", dataHead); err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Owner, err)
	}
	stored, err := c.Update(ctx, cm, Manager)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return &ConflictError{Owner: r.Owner, Err: err}
	}
	if err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Owner, err)
	}
	ch.object = stored
	return nil
}
