// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// ConflictError says that the record changed since it was read: another run is at work on the
// same set.
type ConflictError struct {
	Owner plan.Owner
	Err   error
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("the record of %s was changed by another run", e.Owner)
}

// Unwrap returns the API server's error.
func (e *ConflictError) Unwrap() error { return e.Err }

// Save stores the entries, and the head, as the new content of the record. Chunks whose content
// did not change are not written. Each write carries the resource version of the read: if another
// run wrote meanwhile the error is a [ConflictError]. Chunks are grown first and emptied last, so
// that a crash in between leaves a superset.
func (r *Record) Save(ctx context.Context, c *cluster.Cluster, h Head, entries map[object.ID]plan.Entry) error {
	r.place(entries)
	r.Head, r.Entries = h, maps.Clone(entries)
	for i := len(r.chunks) - 1; i >= 0; i-- {
		if err := r.write(ctx, c, &r.chunks[i]); err != nil {
			return err
		}
	}
	r.Exists = len(r.chunks) > 0
	return nil
}

// place assigns new entries to chunks with room, and takes dropped ones out.
func (r *Record) place(entries map[object.ID]plan.Entry) {
	placed := map[object.ID]bool{}
	for i := range r.chunks {
		for id := range r.chunks[i].members {
			if _, ok := entries[id]; !ok || placed[id] {
				delete(r.chunks[i].members, id)
				continue
			}
			placed[id] = true
		}
	}
	if len(r.chunks) == 0 {
		r.chunks = append(r.chunks, chunk{members: map[object.ID]bool{}})
	}
	at := 0
	for id := range entries {
		if placed[id] {
			continue
		}
		for at < len(r.chunks) && !r.chunks[at].hasRoom(id) {
			at++
		}
		if at == len(r.chunks) {
			r.chunks = append(r.chunks, chunk{index: r.chunks[at-1].index + 1, members: map[object.ID]bool{}})
		}
		r.chunks[at].members[id] = true
	}
}

func (c *chunk) hasRoom(id object.ID) bool {
	size := entrySize(id)
	for member := range c.members {
		size += entrySize(member)
	}
	return len(c.members) < maxChunkEntries && size <= maxChunkBytes
}

func (r *Record) write(ctx context.Context, c *cluster.Cluster, ch *chunk) error {
	cm, err := r.encode(ch)
	if err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Owner, err)
	}
	if ch.object == nil {
		ch.object, err = c.Create(ctx, cm, Manager)
	} else if sameData(ch.object, cm) {
		return nil
	} else {
		cm.SetResourceVersion(ch.object.GetResourceVersion())
		cm.SetUID(ch.object.GetUID())
		var stored *unstructured.Unstructured
		if stored, err = c.Update(ctx, cm, Manager); err == nil {
			ch.object = stored
		}
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return &ConflictError{Owner: r.Owner, Err: err}
	}
	if err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Owner, err)
	}
	return nil
}

func (r *Record) encode(ch *chunk) (*unstructured.Unstructured, error) {
	entries := make([]plan.Entry, 0, len(ch.members))
	for id := range ch.members {
		entries = append(entries, r.Entries[id])
	}
	rows, err := formatEntries(entries)
	if err != nil {
		return nil, err
	}
	about := head{Owner: r.Owner.String(), Index: ch.index, Count: r.chunks[len(r.chunks)-1].index + 1}
	if ch.index == 0 {
		about.Cluster, about.Digest, about.Revision = r.Head.Cluster, r.Head.Digest, r.Head.Revision
	}
	text, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata": map[string]any{
			"name":        r.chunkName(ch.index),
			"namespace":   r.Namespace,
			"labels":      map[string]any{labelRecord: key(r.Owner), labelManagedBy: "kustomizer"},
			"annotations": map[string]any{annotationOwner: r.Owner.String()},
		},
		"data": map[string]any{dataFormat: formatVersion, dataHead: string(text), dataEntries: rows},
	}}, nil
}

func sameData(a, b *unstructured.Unstructured) bool {
	x, _, _ := unstructured.NestedStringMap(a.Object, "data")
	y, _, _ := unstructured.NestedStringMap(b.Object, "data")
	return maps.Equal(x, y)
}
