// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"
	"time"
)

// How many requests may be under way on a connection: what it begins with, and the most and the
// fewest that it comes to. The most is an eighth of what an API server gives to workloads.
const (
	firstSize = 8
	mostSize  = 32
	leastSize = 1
)

const (
	// growAfter is how many good answers let one more request go at a time.
	growAfter = 20
	// sampleSize is over how many answers a median is taken.
	sampleSize = 20
	// slowed is how many times the usual median a server has to take to be taken for crowded.
	slowed = 3
	// quick answers are never taken for slow: there it is the machine's mood that is measured.
	quick = 20 * time.Millisecond
	// calm is how few requests crowd no server: one that is slow with them is slow by itself, or
	// others make it so. What is too much for it, it says with 429.
	calm = firstSize
)

// window says how many requests may be under way, and learns it from the answers. It is pure: it
// reads no clock.
type window struct {
	size    int
	good    int       // answers since it last changed
	cut     time.Time // when it was last made smaller
	samples map[sort]*samples
}

func newWindow() *window { return &window{size: firstSize, samples: map[sort]*samples{}} }

// sort tells requests apart by how long they usually take. That is a matter of the kind, too: the API
// server gives addresses to Services one after the other, others have webhooks. Reads are unsorted:
// one takes a thousand times as long as another.
type sort struct {
	purpose  purpose
	resource string // as in the path, with its group
}

type purpose string

const (
	unsorted purpose = ""
	rehearse purpose = "dry-run"
	write    purpose = "write"
)

// answer is what a window learns from.
type answer struct {
	sort         sort
	began, ended time.Time
	busy         int  // how many were under way when it began, itself included
	throttled    bool // the server asked to come again later
	failed       bool // there was no answer, or one that says nothing about how the server does
}

// learn takes an answer into account. A crowd is answered as a crowd: what began before the window
// was made smaller is no reason to make it smaller still.
func (w *window) learn(a answer) {
	stale := a.began.Before(w.cut)
	switch {
	case a.throttled && !stale:
		w.shrink(a.ended, leastSize)
	case a.throttled, a.failed, stale:
	case w.crowded(a):
		w.shrink(a.ended, calm)
	case 2*a.busy > w.size: // where it was not the limit, it proves nothing about more
		w.grow()
	}
}

func (w *window) grow() {
	w.good++
	if w.good >= growAfter && w.size < mostSize {
		w.size, w.good = w.size+1, 0
	}
}

func (w *window) shrink(now time.Time, least int) {
	w.size, w.good, w.cut = min(w.size, max(w.size/2, least)), 0, now
	for _, s := range w.samples {
		s.taken = s.taken[:0]
	}
}

// crowded says whether the server has become slow, as far as an answer tells.
func (w *window) crowded(a answer) bool {
	if a.sort.purpose == unsorted {
		return false
	}
	s := w.samples[a.sort]
	if s == nil {
		s = &samples{}
		w.samples[a.sort] = s
	}
	return s.add(a.ended.Sub(a.began))
}

// samples are the newest of the times that requests of a sort took.
type samples struct {
	taken []time.Duration
	usual time.Duration // the lowest median; it drifts to what is the case for long
}

// add says whether, with this one, requests take far longer than usual.
func (s *samples) add(d time.Duration) bool {
	s.taken = append(s.taken, d)
	if len(s.taken) < sampleSize {
		return false
	}
	slices.Sort(s.taken)
	median := s.taken[len(s.taken)/2]
	s.taken = s.taken[:0]
	usual := s.usual
	if usual == 0 || median < usual {
		s.usual = median
		return false
	}
	s.usual += (median - usual) / 10
	return median > quick && median > slowed*usual
}
