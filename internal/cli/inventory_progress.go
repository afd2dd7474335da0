// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

// heartbeat is how often a command says, where there is no terminal, that it still waits and for what.
const heartbeat = 15 * time.Second

// inventoryProgress prints how a run goes on. On a terminal each object is told as something is done to
// it, and below that, in lines that are drawn anew, what is under way. Elsewhere the objects are told in
// the order of the plan, so that two runs print the same lines, and what is waited for every now and then.
type inventoryProgress struct {
	ui      *printer
	live    bool
	order   object.Order
	waitFor string // the line that says what is waited for

	mu      sync.Mutex   // guards what follows
	lines   []changeLine // not printed yet
	todo    int          // objects that something is to be done to
	done    int
	waiting bool
	since   time.Time // when the wait began
	still   []string  // what is waited for
	reasons map[object.ID]string

	stop    context.CancelFunc
	beating sync.WaitGroup
}

type changeLine struct {
	id   object.ID
	verb string
	last bool // a deletion comes after what is applied
}

// inventoryProgress begins to tell of a run. It has to be ended.
func (a *app) inventoryProgress(ctx context.Context, order object.Order, waitFor string) *inventoryProgress {
	ctx, stop := context.WithCancel(ctx)
	p := &inventoryProgress{
		ui: a.ui, live: a.streams.Terminal, order: order, waitFor: waitFor, reasons: map[object.ID]string{}, stop: stop,
	}
	p.beating.Go(func() { p.beat(ctx) })
	return p
}

func (p *inventoryProgress) hooks() deploy.InventoryProgress {
	return deploy.InventoryProgress{Changed: p.changed, Waiting: p.pending, Locked: p.locked}
}

// beat shows that the command is alive while it waits.
func (p *inventoryProgress) beat(ctx context.Context) {
	every := heartbeat
	if p.ui.live != nil {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		if p.ui.live != nil {
			p.show()
		} else if len(p.still) > 0 {
			p.ui.Note("  still waiting after %s: %s", p.waited(), summary(p.still))
		}
		p.mu.Unlock()
	}
}

func (p *inventoryProgress) waited() time.Duration { return time.Since(p.since).Round(time.Second) }

// summary puts what is waited for on one line.
func summary(still []string) string {
	const show = 3
	line := strings.Join(still[:min(len(still), show)], "; ")
	if more := len(still) - show; more > 0 {
		line += fmt.Sprintf("; and %d more", more)
	}
	return line
}

// show draws what is under way.
func (p *inventoryProgress) show() {
	var lines []string
	switch {
	case len(p.still) > 0:
		lines = append(lines, fmt.Sprintf("%s waiting for %d object(s), %s", p.ui.glyphs.wait, len(p.still), p.waited()))
		for _, s := range p.still {
			lines = append(lines, "  "+s)
		}
	case p.done < p.todo:
		lines = append(lines, fmt.Sprintf("%s %d of %d object(s) done", p.ui.glyphs.wait, p.done, p.todo))
	}
	p.ui.Live(lines...)
}

// end prints what was not printed yet, and takes off what was under way.
func (p *inventoryProgress) end() {
	p.stop()
	p.beating.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ui.Live()
	p.flush()
}

// planned takes note of what is to be done, and of what is as it should be.
func (p *inventoryProgress) planned(steps ...plan.Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range steps {
		switch s.Action {
		case plan.Unchanged:
			p.lines = append(p.lines, changeLine{id: s.ID, verb: "unchanged"})
		case plan.Create, plan.Configure, plan.Replace, plan.Later, plan.Delete:
			p.todo++
		}
	}
	if p.live {
		p.flush()
		p.show()
	}
}

func (p *inventoryProgress) changed(c apply.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	p.lines = append(p.lines, changeLine{id: c.ID, verb: verbOf(c.Action), last: c.Action == plan.Delete})
	if p.live {
		p.flush()
		p.show()
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

// pending says what is waited for, and of each object why, whenever that changes. On a terminal that is
// drawn anew, and only what has become ready stays.
func (p *inventoryProgress) pending(r observe.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flush()
	if !p.waiting {
		p.waiting, p.since = true, time.Now()
		if p.waitFor != "" {
			p.ui.Note("%s", p.waitFor)
		}
	}
	p.still = nil
	for _, n := range slices.Concat(r.Failed, r.Pending) {
		now := fmt.Sprint(n.Status.Cause)
		p.still = append(p.still, fmt.Sprintf("%s: %s", n.ID, now))
		if now != p.reasons[n.ID] && p.ui.live == nil {
			p.ui.Note("  %s: %s", n.ID, now)
		}
		p.reasons[n.ID] = now
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
	p.show()
}

func (p *inventoryProgress) locked(h record.Holder) {
	p.ui.Wait("another run holds the lock (%s): waiting for a sign of life", h.Name)
}
