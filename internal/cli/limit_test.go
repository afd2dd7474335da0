// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/report"
)

func TestTheTimeOfAnAnswerDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cause := &report.TimeoutError{After: time.Minute}
		l, cancel := withLimit(t.Context(), time.Minute, cause)
		defer cancel()
		child, stop := context.WithCancelCause(l)
		defer stop(nil)
		time.Sleep(40 * time.Second)
		l.pause()
		time.Sleep(time.Hour)
		l.resume()
		time.Sleep(19 * time.Second)
		if err := l.Err(); err != nil {
			t.Fatalf("ended after 59 seconds of work: %v", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for name, ctx := range map[string]context.Context{"it": l, "its child": child} {
			var timeout *report.TimeoutError
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.As(context.Cause(ctx), &timeout) {
				t.Errorf("%s ended with %v because of %v", name, ctx.Err(), context.Cause(ctx))
			}
		}
	})
}

func TestALimitEndsWithItsParent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parent, end := context.WithCancelCause(t.Context())
		l, cancel := withLimit(parent, time.Minute, errors.New("too late"))
		defer cancel()
		why := &report.SignalError{Name: "interrupt", Number: 2}
		end(why)
		<-l.Done()
		if !errors.Is(l.Err(), context.Canceled) || !errors.Is(context.Cause(l), why) {
			t.Errorf("ended with %v because of %v", l.Err(), context.Cause(l))
		}
	})
}

// A signal ends a command that waits for an answer.
func TestAQuestionEndsWithTheCommand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, never := io.Pipe()
		defer never.Close()
		var out bytes.Buffer
		a := newApp(Program{}, Streams{In: in, Out: &out, Err: &out, Interactive: true})
		parent, end := context.WithCancelCause(t.Context())
		l, cancel := withLimit(parent, time.Minute, errors.New("too late"))
		defer cancel()
		a.clock = l
		go func() {
			time.Sleep(time.Hour)
			end(&report.SignalError{Name: "interrupt", Number: 2})
		}()
		err := a.confirm(&cobra.Command{Use: "delete"}, confirmation{}, "delete %s", "it")
		var signal *report.SignalError
		if !errors.As(err, &signal) {
			t.Errorf("got %v", err)
		}
	})
}
