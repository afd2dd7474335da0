// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/health"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// screen is as much of a terminal as is needed: it fails a test that writes what it does not know.
type screen struct {
	t       *testing.T
	columns int
	lines   []string
}

var control = regexp.MustCompile(`^\x1b\[(\d*)([A-Za-z])`)

func (s *screen) Write(p []byte) (int, error) {
	for text := string(p); text != ""; {
		if found := control.FindStringSubmatch(text); found != nil {
			s.control(found[1], found[2])
			text = text[len(found[0]):]
			continue
		}
		switch r := text[0]; r {
		case '\r':
		case '\n':
			s.lines = append(s.lines, "")
		default:
			s.lines[len(s.lines)-1] += text[:1]
		}
		text = text[1:]
	}
	return len(p), nil
}

// control knows how to go up and to clear what is below.
func (s *screen) control(number, letter string) {
	switch letter {
	case "A":
		up, err := strconv.Atoi(number)
		if err != nil || up >= len(s.lines) {
			s.t.Fatalf("up by %q on %d lines", number, len(s.lines))
		}
		s.lines = append(s.lines[:len(s.lines)-1-up], "")
	case "J", "m":
	default:
		s.t.Errorf("unknown control %s%s", number, letter)
	}
}

func (s *screen) shows() []string { return s.lines[:len(s.lines)-1] }

func named(name string) object.ID {
	return object.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: name}
}

func notReady(name string, code cause.Code) observe.NotReady {
	return observe.NotReady{ID: named(name), Status: health.Status{Cause: cause.Cause{Code: code}}}
}

// tell plays a run that applies two objects and waits for them.
func tell(ctx context.Context, a *app) {
	p := a.inventoryProgress(ctx, object.Order{}, "waiting for resources to become ready...")
	hooks := p.hooks()
	p.planned(plan.Step{ID: named("one"), Action: plan.Create}, plan.Step{ID: named("two"), Action: plan.Create})
	hooks.Changed(apply.Change{ID: named("two"), Action: plan.Create})
	hooks.Changed(apply.Change{ID: named("one"), Action: plan.Create})
	hooks.Waiting(observe.Report{Pending: []observe.NotReady{notReady("one", cause.ImagePull), notReady("two", cause.NotReadyYet)}})
	time.Sleep(20*time.Second + time.Millisecond)
	hooks.Waiting(observe.Report{Ready: []object.ID{named("two")}, Pending: []observe.NotReady{notReady("one", cause.ImagePull)}})
	time.Sleep(11 * time.Second)
	p.end()
}

func TestProgressOnATerminalIsDrawnAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &screen{t: t, columns: 34, lines: []string{""}}
		streams := Streams{Out: s, Err: s, Terminal: true, Width: func() int { return s.columns }}
		a := newApp(Program{}, streams)
		a.ui = newPrinter(streams, func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] })
		var during []string
		go func() {
			time.Sleep(3*time.Second + time.Millisecond)
			a.ui.mu.Lock()
			defer a.ui.mu.Unlock()
			during = append(during, s.shows()...)
		}()
		tell(t.Context(), a)
		if diff := cmp.Diff([]string{
			"Deployment/shop/two created",
			"Deployment/shop/one created",
			"waiting for resources to become ready...",
			"◎ waiting for 2 object(s), 3s",
			"  Deployment/shop/one: ImagePull",
			"  Deployment/shop/two: NotReadyY…",
		}, during); diff != "" {
			t.Errorf("meanwhile (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{
			"Deployment/shop/two created",
			"Deployment/shop/one created",
			"waiting for resources to become ready...",
			"  Deployment/shop/two: ready",
		}, s.shows()); diff != "" {
			t.Errorf("in the end (-want +got):\n%s", diff)
		}
	})
}

func TestProgressElsewhereIsPlainLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out, err bytes.Buffer
		a := newApp(Program{}, Streams{Out: &out, Err: &err})
		tell(t.Context(), a)
		if want := "Deployment/shop/one created\nDeployment/shop/two created\n"; out.String() != want {
			t.Errorf("results:\n%s", out.String())
		}
		if diff := cmp.Diff(strings.Join([]string{
			"waiting for resources to become ready...",
			"  Deployment/shop/one: ImagePull",
			"  Deployment/shop/two: NotReadyYet",
			"  still waiting after 15s: Deployment/shop/one: ImagePull; Deployment/shop/two: NotReadyYet",
			"  still waiting after 30s: Deployment/shop/one: ImagePull",
			"",
		}, "\n"), err.String()); diff != "" {
			t.Errorf("progress (-want +got):\n%s", diff)
		}
	})
}

// However much is under way, little of the screen is taken, and nothing where it can't be drawn anew.
func TestLiveRegionIsBounded(t *testing.T) {
	t.Parallel()
	s := &screen{t: t, columns: 30, lines: []string{""}}
	p := newPrinter(Streams{Out: s, Err: s, Terminal: true, Width: func() int { return 30 }}, func(string) string { return "" })
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("line %d\nthat is\x1b[2Jlonger than the screen is wide", i))
	}
	p.Live(lines...)
	for _, line := range s.shows() {
		if n := len([]rune(line)); n >= s.columns {
			t.Errorf("%q takes %d columns", line, n)
		}
	}
	if got := s.shows(); len(got) != maxRegion || got[maxRegion-1] != "  … and 93 more" {
		t.Errorf("%d lines: %q", len(got), got)
	}
	p.Note("stays")
	p.Live()
	if diff := cmp.Diff([]string{"stays"}, s.shows()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	end := p.hush()
	p.Live("below a question")
	end()
	if diff := cmp.Diff([]string{"stays"}, s.shows()); diff != "" {
		t.Errorf("drawn below a question (-want +got):\n%s", diff)
	}
	var out bytes.Buffer
	dumb := newPrinter(Streams{Out: &out, Err: &out, Terminal: true}, func(name string) string { return map[string]string{"TERM": "dumb"}[name] })
	dumb.Live("line")
	if out.Len() > 0 {
		t.Errorf("a terminal that can't got %q", out.String())
	}
}
