// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/report"
)

func TestTyposFindWhatWasMeant(t *testing.T) {
	t.Parallel()
	words := []string{"create", "reconcile", "version", "source", "ks", "kustomization"}
	for typo, want := range map[string]string{
		"crate": "create", "CREATE": "create", "vresion": "version", "recon": "reconcile", "k": "ks",
		"xyz": "", "something": "", "kustomisation": "kustomization",
	} {
		if got := nearest(typo, words); got != want {
			t.Errorf("%q: got %q, want %q", typo, got, want)
		}
	}
}

func TestAWaitEndsWithTheResource(t *testing.T) {
	t.Parallel()
	condition := func(kind, status, reason string, generation int64) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, ObservedGeneration: generation}
	}
	ready := []metav1.Condition{condition("Ready", "True", "Succeeded", 2)}
	noSource := condition("Ready", "False", "ArtifactFailed", 2)
	noSource.Message = "the source has no artifact yet, retrying in 30s"
	for name, c := range map[string]struct {
		resource resource
		request  string
		done     bool
		reason   string
	}{
		"nobody looked":              {resource: resource{generation: 2}},
		"ready":                      {resource: resource{generation: 2, observed: 2, conditions: ready}, done: true},
		"ready before the change":    {resource: resource{generation: 3, observed: 2, conditions: ready}},
		"ready before the request":   {resource: resource{generation: 2, observed: 2, conditions: ready, handled: "old"}, request: "new"},
		"ready after the request":    {resource: resource{generation: 2, observed: 2, conditions: ready, handled: "new"}, request: "new", done: true},
		"ready and at it again":      {resource: resource{generation: 2, observed: 2, conditions: append(ready, condition("Reconciling", "True", "Progressing", 2))}},
		"failed":                     {resource: resource{generation: 2, conditions: []metav1.Condition{condition("Ready", "False", "BuildFailed", 2)}}, reason: "BuildFailed"},
		"failed before the change":   {resource: resource{generation: 3, conditions: []metav1.Condition{condition("Ready", "False", "BuildFailed", 2)}}},
		"waiting for its source":     {resource: resource{generation: 2, conditions: []metav1.Condition{noSource}}},
		"path is not in the source":  {resource: resource{generation: 2, conditions: []metav1.Condition{condition("Ready", "False", "ArtifactFailed", 2)}}, reason: "ArtifactFailed"},
		"waiting for a dependency":   {resource: resource{generation: 2, conditions: []metav1.Condition{condition("Ready", "False", "DependencyNotReady", 2)}}},
		"stalled whatever the cause": {resource: resource{generation: 2, conditions: []metav1.Condition{noSource, condition("Stalled", "True", "X", 2)}}, reason: "ArtifactFailed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done, err := settled(c.resource, c.request)
			var failed *report.ConditionError
			if errors.As(err, &failed) != (c.reason != "") || failed != nil && failed.Reason != c.reason || done != c.done {
				t.Errorf("done %v, error %v", done, err)
			}
		})
	}
}

func TestStatusSelectorsChoose(t *testing.T) {
	t.Parallel()
	r := resource{conditions: []metav1.Condition{{Type: "Ready", Status: "True"}}}
	for selector, want := range map[string]bool{
		"": true, "ready=true": true, "Ready=False": false, "ready!=false": true, "ready!=true": false,
		"stalled=true": false, "stalled!=true": true,
	} {
		keep, err := statusFilter(selector)
		if err != nil {
			t.Fatal(err)
		}
		if got := keep(r); got != want {
			t.Errorf("%q: got %v", selector, got)
		}
	}
	keep, err := statusFilter("ready=false")
	if err != nil || !keep(resource{}) {
		t.Errorf("what nobody looked at is not ready: %v", err)
	}
}

func TestAQuestionIsAnswered(t *testing.T) {
	t.Parallel()
	for answer, confirmed := range map[string]bool{"y\n": true, "Yes\n": true, "n\n": false, "\n": false, "": false, "yeah\n": false} {
		var out bytes.Buffer
		a := newApp(Program{}, Streams{In: strings.NewReader(answer), Out: &out, Err: &out, Interactive: true})
		err := a.confirm(&cobra.Command{Use: "delete"}, confirmation{}, "delete %s", "it\x1b")
		var declined *report.DeclinedError
		if (err == nil) != confirmed || err != nil && !errors.As(err, &declined) {
			t.Errorf("%q: %v", answer, err)
		}
		if got := out.String(); got != `delete it\x1b? [y/N] ` {
			t.Errorf("asked %q", got)
		}
	}
}

func TestColourIsForTerminalsThatWantIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		terminal bool
		env      map[string]string
		want     string
	}{
		"terminal":       {true, nil, "\x1b[32m✔\x1b[0m done\n"},
		"no terminal":    {false, nil, "✔ done\n"},
		"NO_COLOR":       {true, map[string]string{"NO_COLOR": "1"}, "✔ done\n"},
		"dumb terminal":  {true, map[string]string{"TERM": "dumb"}, "ok: done\n"},
		"other encoding": {false, map[string]string{"LANG": "de_DE.ISO-8859-1"}, "ok: done\n"},
		"UTF-8":          {false, map[string]string{"LANG": "C", "LC_ALL": "de_DE.utf8"}, "✔ done\n"},
	} {
		var out bytes.Buffer
		p := newPrinter(Streams{Out: &out, Err: &out, Terminal: c.terminal}, func(name string) string { return c.env[name] })
		p.Success("done")
		if got := out.String(); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestTheEndOfACommandIsExplained(t *testing.T) {
	t.Parallel()
	limited, cancel := context.WithTimeoutCause(t.Context(), 0, &report.TimeoutError{After: time.Second})
	defer cancel()
	<-limited.Done()
	signalled, stop := context.WithCancelCause(t.Context())
	stop(&report.SignalError{Name: "interrupt", Number: 2})
	late := &report.WaitError{ID: object.ID{Kind: "Kustomization", Name: "app"}, After: time.Second}
	for name, c := range map[string]struct {
		ctx  context.Context //nolint:containedctx // the case is the context
		err  error
		exit int
	}{
		"nothing wrong":               {limited, nil, 0},
		"time was up":                 {limited, context.DeadlineExceeded, report.ExitNotReady},
		"time was up, and it says so": {limited, late, report.ExitNotReady},
		"another error":               {limited, errors.New("no"), report.ExitFailed},
		"signal":                      {signalled, context.Canceled, report.ExitInterrupted},
	} {
		if got := report.Of(explainEnd(c.ctx, c.err)).Exit; got != c.exit {
			t.Errorf("%s: exit code %d, want %d", name, got, c.exit)
		}
	}
}

func TestWordsAreQuotedForShells(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{"app": "app", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "--x=$HOME": "'--x=$HOME'"} {
		if got := quote(word); got != want {
			t.Errorf("%q: got %s", word, got)
		}
	}
}

func TestAPanicIsAFailure(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := newApp(Program{}, Streams{Out: &out, Err: &out})
	code := func() (code int) {
		defer a.recovered(&code)
		panic("at the disco")
	}()
	if code != report.ExitFailed || !strings.HasPrefix(out.String(), "✗ internal error: at the disco\n") && !strings.HasPrefix(out.String(), "error: internal error") {
		t.Errorf("exit code %d, output %q", code, out.String())
	}
}
