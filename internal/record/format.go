// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
	Count    int    `json:"count"` // chunks that existed when this one was written
	Cluster  string `json:"cluster,omitempty"`
	Digest   string `json:"digest,omitempty"`
	Revision string `json:"revision,omitempty"`
}

// line is an entry as it is stored: one JSON object a line.
type line struct {
	ID       string `json:"id"`
	Version  string `json:"v"`
	UID      string `json:"uid,omitempty"`
	Desired  string `json:"desired,omitempty"`
	Live     string `json:"live,omitempty"`
	Pending  bool   `json:"pending,omitempty"`
	Retained bool   `json:"retained,omitempty"`
	Unproven bool   `json:"unproven,omitempty"`
}

// parseChunk reads a chunk's data. What can be read is returned also on an error.
func parseChunk(data map[string]string, index, count *int) (head, []plan.Entry, error) {
	var h head
	if v := data[dataFormat]; v != formatVersion {
		return h, nil, fmt.Errorf("record format %q is not known here (this build knows %q)", v, formatVersion)
	}
	var errs []error
	if err := json.Unmarshal([]byte(data[dataHead]), &h); err != nil {
		errs = append(errs, fmt.Errorf("its head can't be read: %w", err))
	}
	*index, *count = h.Index, h.Count
	entries, err := parseEntries(data[dataEntries])
	return h, entries, errors.Join(append(errs, err)...)
}

func parseEntries(text string) ([]plan.Entry, error) {
	var entries []plan.Entry
	var bad int
	for row := range strings.Lines(text) {
		var l line
		if err := json.Unmarshal([]byte(row), &l); err != nil {
			bad++
			continue
		}
		id, err := object.ParseInventoryID(l.ID)
		if err != nil {
			bad++
			continue
		}
		entries = append(entries, plan.Entry{
			ID: id, Version: l.Version, UID: l.UID, Desired: l.Desired, Live: l.Live,
			Pending: l.Pending, Retained: l.Retained, Unproven: l.Unproven,
		})
	}
	if bad > 0 {
		return entries, fmt.Errorf("%d entries can't be read", bad)
	}
	return entries, nil
}

func formatEntries(entries []plan.Entry) (string, error) {
	slices.SortFunc(entries, func(a, b plan.Entry) int { return a.ID.Compare(b.ID) })
	var b strings.Builder
	for _, e := range entries {
		row, err := json.Marshal(line{
			ID: e.ID.InventoryID(), Version: e.Version, UID: e.UID, Desired: e.Desired, Live: e.Live,
			Pending: e.Pending, Retained: e.Retained, Unproven: e.Unproven,
		})
		if err != nil {
			return "", err
		}
		b.Write(row)
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// entrySize estimates the bytes of an entry in a chunk.
func entrySize(id object.ID) int { return len(id.InventoryID()) + 192 }

func chunkCount(cm *unstructured.Unstructured) int {
	if cm == nil {
		return 0
	}
	text, _, _ := unstructured.NestedString(cm.Object, "data", dataHead)
	var h head
	if json.Unmarshal([]byte(text), &h) != nil {
		return 0
	}
	return h.Count
}

func (r *Record) chunkName(index int) string {
	if r.Owner.Kind == plan.OwnerInventory {
		return "inv-" + r.Owner.Name + "-record-" + strconv.Itoa(index)
	}
	readable := strings.Trim(r.Owner.Name[:min(len(r.Owner.Name), 40)], ".-")
	return "record-" + readable + "-" + key(r.Owner)[:8] + "-" + strconv.Itoa(index)
}
