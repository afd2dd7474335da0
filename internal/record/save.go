// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

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
// run wrote meanwhile the error is a [ConflictError]. No entry moves from one chunk to another, and
// the chunk that says how many there are is written last, so that a crash in between leaves each
// entry either as it was or as it will be. A record of several chunks that is made says that it is
// unfinished until it is whole: nothing was done yet on the strength of it.
func (r *Record) Save(ctx context.Context, c *cluster.Cluster, h Head, entries map[object.ID]plan.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.save(ctx, c, h, entries)
}

func (r *Record) save(ctx context.Context, c *cluster.Cluster, h Head, entries map[object.ID]plan.Entry) error {
	if err := r.place(entries); err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Owner, err)
	}
	order := r.chunks[1:]
	if first := &r.chunks[0]; !r.Exists && len(order) > 0 {
		r.unfinished = true
		if err := r.write(ctx, c, first, h, entries); err != nil {
			return err
		}
	}
	for i := range order {
		if err := r.write(ctx, c, &order[i], h, entries); err != nil {
			return err
		}
	}
	r.unfinished = false
	if err := r.write(ctx, c, &r.chunks[0], h, entries); err != nil {
		return err
	}
	r.Head, r.Entries, r.Exists = h, maps.Clone(entries), true
	return nil
}

// place assigns new entries to chunks with room, and takes dropped ones out.
func (r *Record) place(entries map[object.ID]plan.Entry) error {
	placed := map[object.ID]bool{}
	for i := range r.chunks {
		for id := range r.chunks[i].members {
			if _, ok := entries[id]; !ok || placed[id] {
				r.chunks[i].remove(id)
				continue
			}
			placed[id] = true
		}
	}
	at := 0
	for _, id := range slices.SortedFunc(maps.Keys(entries), object.ID.Compare) {
		if placed[id] {
			continue
		}
		for at < len(r.chunks) && !r.chunks[at].hasRoom(id) {
			at++
		}
		if at == len(r.chunks) {
			r.grow()
		}
		r.chunks[at].add(id)
	}
	if len(r.chunks) == 0 {
		r.grow()
	}
	if r.count > maxChunks {
		return &TooLargeError{Objects: len(entries)}
	}
	return nil
}

func (r *Record) grow() {
	r.chunks = append(r.chunks, newChunk(r.count))
	r.count++
}

// hasRoom says whether an entry fits into the chunk. Where the head can't be read, no entry could be
// read again.
func (c *chunk) hasRoom(id object.ID) bool {
	return c.head == nil && len(c.members) < maxChunkEntries && c.size+entrySize(id) <= maxChunkBytes
}

func (r *Record) write(ctx context.Context, c *cluster.Cluster, ch *chunk, h Head, all map[object.ID]plan.Entry) error {
	cm, err := r.encode(ch, h, all)
	if err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Owner, err)
	}
	var stored *unstructured.Unstructured
	switch {
	case ch.object == nil:
		stored, err = c.Create(ctx, cm, Manager)
	case sameData(ch.object, cm):
		return nil
	default:
		cm.SetResourceVersion(ch.object.GetResourceVersion())
		cm.SetUID(ch.object.GetUID())
		stored, err = c.Update(ctx, cm, Manager)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return &ConflictError{Owner: r.Owner, Err: err}
	}
	if err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Owner, err)
	}
	ch.object = stored
	return nil
}

func (r *Record) encode(ch *chunk, h Head, all map[object.ID]plan.Entry) (*unstructured.Unstructured, error) {
	entries := make([]plan.Entry, 0, len(ch.members))
	for id := range ch.members {
		entries = append(entries, all[id])
	}
	rows, err := formatEntries(entries, ch.unread)
	if err != nil {
		return nil, err
	}
	text, err := r.encodeHead(ch, h)
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
		"data": map[string]any{dataFormat: formatVersion, dataHead: text, dataEntries: rows},
	}}, nil
}

// encodeHead returns the chunk's head, or the one that can't be read as it is.
func (r *Record) encodeHead(ch *chunk, h Head) (string, error) {
	if ch.head != nil {
		return *ch.head, nil
	}
	about := head{Owner: r.Owner.String(), Index: ch.index, Count: ch.index + 1}
	if ch.index == 0 {
		about.Count, about.Unfinished = r.count, r.unfinished
		about.Cluster, about.Digest, about.Revision, about.Generation, about.Pruned = h.Cluster, h.Digest, h.Revision, h.Generation, h.Pruned
		about.Holder, about.Beat = r.holder.Name, r.holder.Beat
	}
	text, err := json.Marshal(about)
	return string(text), err
}

func sameData(a, b *unstructured.Unstructured) bool {
	x, _, _ := unstructured.NestedStringMap(a.Object, "data")
	y, _, _ := unstructured.NestedStringMap(b.Object, "data")
	return maps.Equal(x, y)
}
