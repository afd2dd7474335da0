// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

// inventoryProgress prints how a run goes on: on a terminal each object as something is done to it,
// elsewhere in the order of the plan, so that two runs print the same lines.
type inventoryProgress struct {
	ui      *printer
	live    bool
	order   object.Order
	waitFor string // the line that says what is waited for

	lines   []changeLine // not printed yet
	waiting bool
	reasons map[object.ID]string
}

type changeLine struct {
	id   object.ID
	verb string
	last bool // a deletion comes after what is applied
}

func (a *app) inventoryProgress(order object.Order, waitFor string) *inventoryProgress {
	return &inventoryProgress{ui: a.ui, live: a.streams.Terminal, order: order, waitFor: waitFor, reasons: map[object.ID]string{}}
}

func (p *inventoryProgress) hooks() deploy.InventoryProgress {
	return deploy.InventoryProgress{Changed: p.changed, Waiting: p.pending, Locked: p.locked}
}

// planned takes note of what is as it should be.
func (p *inventoryProgress) planned(steps []plan.Step) {
	for _, s := range steps {
		if s.Action == plan.Unchanged {
			p.lines = append(p.lines, changeLine{id: s.ID, verb: "unchanged"})
		}
	}
	if p.live {
		p.flush()
	}
}

func (p *inventoryProgress) changed(c apply.Change) {
	p.lines = append(p.lines, changeLine{id: c.ID, verb: verbOf(c.Action), last: c.Action == plan.Delete})
	if p.live {
		p.flush()
	}
}

// verbOf says in a word what was done, in Kustomizer's words.
func verbOf(action plan.Action) string {
	switch action {
	case plan.Create:
		return "created"
	case plan.Replace:
		return "replaced"
	case plan.Delete:
		return "deleted"
	default:
		return "configured"
	}
}

// flush prints what was not printed yet.
func (p *inventoryProgress) flush() {
	slices.SortStableFunc(p.lines, func(a, b changeLine) int {
		switch {
		case a.last != b.last && a.last:
			return 1
		case a.last != b.last:
			return -1
		case a.last:
			return p.order.Compare(b.id, a.id)
		default:
			return p.order.Compare(a.id, b.id)
		}
	})
	for _, l := range p.lines {
		p.ui.Result("%s %s", l.id, l.verb)
	}
	p.lines = nil
}

// pending says what is waited for, and of each object why, whenever that changes.
func (p *inventoryProgress) pending(r observe.Report) {
	p.flush()
	if !p.waiting && p.waitFor != "" {
		p.ui.Note("%s", p.waitFor)
		p.waiting = true
	}
	for _, n := range slices.Concat(r.Failed, r.Pending) {
		if now := fmt.Sprint(n.Status.Cause); now != p.reasons[n.ID] {
			p.reasons[n.ID] = now
			p.ui.Note("  %s: %s", n.ID, now)
		}
	}
	if !p.live {
		return
	}
	for _, id := range r.Ready {
		if p.reasons[id] != "" {
			p.ui.Note("  %s: ready", id)
			delete(p.reasons, id)
		}
	}
}

func (p *inventoryProgress) locked(h record.Holder) {
	p.ui.Wait("another run holds the lock (%s): waiting for a sign of life", h.Name)
}
