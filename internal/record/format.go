// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// formatVersion is raised when an older reader would misread what is written.
const formatVersion = "1"

// Keys of a chunk's data.
const (
	dataFormat  = "format"
	dataHead    = "head"
	dataEntries = "entries"
)

// head is the part of a chunk that says what it is a part of.
type head struct {
	Owner    string `json:"owner"`
	Index    int    `json:"index"`
	Count    int    `json:"count"` // chunks that there are at least; in the first one, all
	Cluster  string `json:"cluster,omitempty"`
	Digest   string `json:"digest,omitempty"`
	Revision string `json:"revision,omitempty"`
	// Generation is that of the resource whose attempt it was.
	Generation int64  `json:"generation,omitempty"`
	Pruned     int    `json:"pruned,omitempty"` // see [Head]
	Holder     string `json:"holder,omitempty"` // see [Holder]
	Beat       string `json:"beat,omitempty"`
	// Unfinished: the record is being stored for the first time, and is not whole yet.
	Unfinished bool `json:"unfinished,omitempty"`
}

// line is an entry as it is stored: one JSON object a line.
type line struct {
	ID       string `json:"id"` // group/kind/namespace/name: none of them can hold a slash
	Version  string `json:"v"`
	UID      string `json:"uid,omitempty"`
	Desired  string `json:"desired,omitempty"`
	Rendered string `json:"rendered,omitempty"`
	Live     string `json:"live,omitempty"`
	Pending  bool   `json:"pending,omitempty"`
	Retained bool   `json:"retained,omitempty"`
	Unproven bool   `json:"unproven,omitempty"`
	Claimed  bool   `json:"claimed,omitempty"`
	Released string `json:"released,omitempty"`
}

func formatID(id object.ID) string {
	return strings.Join([]string{id.Group, id.Kind, id.Namespace, id.Name}, "/")
}

func parseID(s string) (object.ID, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 4 || parts[1] == "" || parts[3] == "" {
		return object.ID{}, fmt.Errorf("%q does not identify an object", s)
	}
	return object.ID{Group: parts[0], Kind: parts[1], Namespace: parts[2], Name: parts[3]}, nil
}

// parseHead reads a chunk's head, which has to be the owner's and at its place.
func parseHead(text string, owner plan.Owner, index int) (head, error) {
	var h head
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return head{}, fmt.Errorf("its head can't be read: %w", err)
	}
	if h.Owner != owner.String() {
		return head{}, fmt.Errorf("it is the record of %q", h.Owner)
	}
	if h.Index != index {
		return head{}, fmt.Errorf("it says that it is part %d", h.Index)
	}
	return h, nil
}

// parseEntries reads a chunk's entries, and returns the lines that it can't read as they are. It
// can read none where it is not known whose they are.
func parseEntries(text string, ours bool) (entries []plan.Entry, unread []string) {
	for row := range strings.Lines(text) {
		var l line
		err := json.Unmarshal([]byte(row), &l)
		id, idErr := parseID(l.ID)
		if err != nil || idErr != nil || !ours {
			unread = append(unread, strings.TrimSuffix(row, "\n"))
			continue
		}
		entries = append(entries, plan.Entry{
			ID: id, Version: l.Version, UID: l.UID, Desired: l.Desired, Rendered: l.Rendered, Live: l.Live,
			Pending: l.Pending, Retained: l.Retained, Unproven: l.Unproven, Claimed: l.Claimed, Released: l.Released,
		})
	}
	return entries, unread
}

// formatEntries writes entries in a fixed order, and after them what could not be read.
func formatEntries(entries []plan.Entry, unread []string) (string, error) {
	slices.SortFunc(entries, func(a, b plan.Entry) int { return a.ID.Compare(b.ID) })
	var b strings.Builder
	for _, e := range entries {
		row, err := json.Marshal(line{
			ID: formatID(e.ID), Version: e.Version, UID: e.UID, Desired: e.Desired, Rendered: e.Rendered, Live: e.Live,
			Pending: e.Pending, Retained: e.Retained, Unproven: e.Unproven, Claimed: e.Claimed, Released: e.Released,
		})
		if err != nil {
			return "", err
		}
		b.Write(row)
		b.WriteByte('\n')
	}
	for _, row := range unread {
		b.WriteString(row + "\n")
	}
	return b.String(), nil
}

// entrySize estimates the bytes of an entry in a chunk.
func entrySize(id object.ID) int { return len(formatID(id)) + 192 }

func (r *Record) chunkName(index int) string {
	return r.chunkPrefix() + strconv.Itoa(index)
}

func (r *Record) chunkPrefix() string {
	if r.Owner.Kind == plan.OwnerInventory {
		return "inv-" + r.Owner.Name + "-record-"
	}
	readable := strings.Trim(r.Owner.Name[:min(len(r.Owner.Name), 40)], ".-")
	return "record-" + readable + "-" + key(r.Owner)[:8] + "-"
}

// chunkIndex reads a chunk's place in the record from its ConfigMap's name.
func (r *Record) chunkIndex(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, r.chunkPrefix())
	index, err := strconv.Atoi(digits)
	return index, ok && err == nil && index >= 0 && index < maxChunks && name == r.chunkName(index)
}
