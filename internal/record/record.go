// SPDX-License-Identifier: Apache-2.0

// Package record remembers what was applied, from which digest and by whom. It is written before
// anything is applied, and an entry leaves it only when its object is proven to be gone or no
// longer ours: whatever happens in between, nothing that we made is forgotten.
//
// A record lies in one or more ConfigMaps. An entry stays in the chunk it was first written to, so
// that a change of the record never moves an entry between two objects and a crash between their
// writes can't lose it.
package record

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Manager is the field manager of record writes.
const Manager = "kustomizer-record"

// Labels and annotations on a record's ConfigMaps.
const (
	labelRecord     = "kustomizer.dev/record"
	labelManagedBy  = "app.kubernetes.io/managed-by"
	annotationOwner = "kustomizer.dev/record-owner"
)

// Bounds of a chunk, far below the size limit of an object in etcd, and of their number.
const (
	maxChunkEntries = 1000
	maxChunkBytes   = 256 << 10
	maxChunks       = 100
)

// Head is what a record says about the set as a whole.
type Head struct {
	Cluster  string // UID of the cluster's kube-system namespace
	Digest   string // artifact digest of the latest attempt
	Revision string // of the latest attempt
	// Generation is that of the resource whose attempt it was; zero where there is none.
	Generation int64
	Pruned     int // objects that were deleted because of that digest
}

// Record is what is remembered of one owner's objects.
type Record struct {
	Owner     plan.Owner
	Namespace string // where its ConfigMaps are
	Head      Head
	Entries   map[object.ID]plan.Entry
	// Exists says whether anything was ever recorded.
	Exists bool
	// Damage lists what could not be read. A damaged record is a superset of nothing: while it is
	// damaged, nothing may be deleted. What could not be read is kept as it is when the record is
	// saved, so that it stays damaged until a person mends it.
	Damage []string

	mu     sync.Mutex // guards what follows while the record is held, see [Record.Hold]
	chunks []chunk
	count  int // chunks that there are, or should be
	holder Holder

	unfinished bool // its first save was not, or is not, at its end
}

// chunk is one ConfigMap of a record.
type chunk struct {
	index   int
	object  *unstructured.Unstructured // as stored; nil while not written
	members map[object.ID]bool
	size    int      // estimated bytes of the members
	head    *string  // its head as it is, where that can't be read
	unread  []string // lines that can't be read, as they are
}

func newChunk(index int) chunk { return chunk{index: index, members: map[object.ID]bool{}} }

func (c *chunk) add(id object.ID) {
	c.members[id] = true
	c.size += entrySize(id)
}

func (c *chunk) remove(id object.ID) {
	delete(c.members, id)
	c.size -= entrySize(id)
}

// FormatError says that a record was written by a build that knows another format. It can neither
// be read nor written here.
type FormatError struct {
	Name   string // of the ConfigMap
	Format string
}

// Error implements error.
func (e *FormatError) Error() string {
	return fmt.Sprintf("ConfigMap/%s has the record format %q; this build knows %q", e.Name, e.Format, formatVersion)
}

// TooLargeError says that a set has more objects than a record can hold.
type TooLargeError struct{ Objects int }

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%d objects are more than a record can hold, which is %d at most", e.Objects, maxChunks*maxChunkEntries)
}

// Load reads the owner's record from its namespace, by one request.
func Load(ctx context.Context, c *cluster.Cluster, owner plan.Owner, namespace string) (*Record, error) {
	r := &Record{Owner: owner, Namespace: namespace, Entries: map[object.ID]plan.Entry{}}
	res, err := configMaps(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("reading the record of %s: %w", owner, err)
	}
	found, _, err := c.List(ctx, res, cluster.Selection{Namespace: namespace, LabelSelector: labelRecord + "=" + key(owner)})
	if err != nil {
		return nil, fmt.Errorf("reading the record of %s: %w", owner, err)
	}
	for _, cm := range found {
		if err := r.read(cm); err != nil {
			return nil, fmt.Errorf("reading the record of %s: %w", owner, err)
		}
	}
	slices.SortFunc(r.chunks, func(a, b chunk) int { return a.index - b.index })
	if r.unfinished {
		r.disregard()
		return r, nil
	}
	r.findGaps()
	return r, nil
}

func configMaps(ctx context.Context, c *cluster.Cluster) (cluster.Resource, error) {
	return c.Resolve(ctx, schema.GroupKind{Kind: "ConfigMap"}, "v1")
}

// key names an owner in a label value of bounded length.
func key(owner plan.Owner) string {
	sum := sha256.Sum256([]byte(owner.String()))
	return hex.EncodeToString(sum[:12])
}

// read takes in a ConfigMap that carries the record's label.
func (r *Record) read(cm *unstructured.Unstructured) error {
	name := cm.GetNamespace() + "/" + cm.GetName()
	damaged := func(format string, args ...any) {
		r.Damage = append(r.Damage, "ConfigMap/"+name+": "+fmt.Sprintf(format, args...))
	}
	index, ok := r.chunkIndex(cm.GetName())
	if !ok {
		damaged("its name is not that of a part of this record")
		return nil
	}
	data, _, _ := unstructured.NestedStringMap(cm.Object, "data")
	if data[dataFormat] != formatVersion && data[dataFormat] != "" {
		return &FormatError{Name: name, Format: data[dataFormat]}
	}
	c := newChunk(index)
	c.object = cm
	h, err := parseHead(data[dataHead], r.Owner, index)
	entries, unread := parseEntries(data[dataEntries], err == nil)
	if err != nil {
		damaged("%v", err)
		text := data[dataHead]
		c.head = &text
	}
	if c.unread = unread; len(unread) > 0 {
		damaged("%d entries can't be read", len(unread))
	}
	if index == 0 {
		r.Head = Head{Cluster: h.Cluster, Digest: h.Digest, Revision: h.Revision, Generation: h.Generation, Pruned: h.Pruned}
		r.holder, r.unfinished = Holder{Name: h.Holder, Beat: h.Beat}, h.Unfinished
	}
	for _, e := range entries {
		r.Entries[e.ID] = e
		c.add(e.ID)
	}
	r.chunks = append(r.chunks, c)
	r.count = max(r.count, index+1, min(h.Count, maxChunks))
	r.Exists = true
	return nil
}

// disregard forgets what an unfinished record says: nothing was done on the strength of it. Its
// chunks are written over.
func (r *Record) disregard() {
	r.Exists, r.Entries, r.Damage, r.Head = false, map[object.ID]plan.Entry{}, nil, Head{}
	r.count = 0
	for i, c := range r.chunks {
		r.chunks[i] = newChunk(c.index)
		r.chunks[i].object = c.object
		r.count = max(r.count, c.index+1)
	}
}

// findGaps reports chunks that should be there and are not.
func (r *Record) findGaps() {
	have := map[int]bool{}
	for _, c := range r.chunks {
		have[c.index] = true
	}
	for i := range r.count {
		if !have[i] {
			r.Damage = append(r.Damage, fmt.Sprintf("ConfigMap/%s/%s is missing", r.Namespace, r.chunkName(i)))
		}
	}
}

// Degraded says in one line what is wrong with the record, or nothing.
func (r *Record) Degraded() string { return strings.Join(r.Damage, "; ") }

// IDs returns the identities on record, in apply order.
func (r *Record) IDs() []object.ID {
	ids := slices.Collect(maps.Keys(r.Entries))
	object.SortIDs(ids)
	return ids
}

// Delete removes the record. To be called when nothing on it exists any more.
func (r *Record) Delete(ctx context.Context, c *cluster.Cluster) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ch := range slices.Backward(r.chunks) {
		if ch.object == nil {
			continue
		}
		opts := cluster.DeleteOptions{UID: ch.object.GetUID(), ResourceVersion: ch.object.GetResourceVersion()}
		if err := c.Delete(ctx, object.Of(ch.object), "v1", opts); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting the record of %s: %w", r.Owner, err)
		}
	}
	r.chunks, r.count, r.Entries, r.Exists = nil, 0, map[object.ID]plan.Entry{}, false
	return nil
}
