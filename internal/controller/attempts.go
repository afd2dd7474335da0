// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// goal is what an attempt is about: another goal is another attempt.
type goal struct {
	revision   string
	generation int64
	request    string // value of the annotation that asked for it
}

// attempt is one try to reach a goal: its time limit is for the whole of it, however often the
// resource is looked at meanwhile.
type attempt struct {
	goal    goal
	started time.Time
	ended   bool   // with success or failure; the next look begins a new one
	warned  string // what the last warning said, so that it is said once
}

// attempts remembers the attempt under way for each resource. It is lost at a restart, which
// begins every attempt anew.
type attempts struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*attempt
}

// of returns the attempt that a look at a resource belongs to.
func (a *attempts) of(key types.NamespacedName, g goal, now time.Time) *attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = map[types.NamespacedName]*attempt{}
	}
	current := a.all[key]
	if current == nil || current.goal != g {
		current = &attempt{goal: g, started: now}
		a.all[key] = current
	} else if current.ended {
		current = &attempt{goal: g, started: now, warned: current.warned}
		a.all[key] = current
	}
	return current
}

func (a *attempts) forget(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.all, key)
}
