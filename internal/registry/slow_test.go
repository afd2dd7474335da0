// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// part of an answer comes some time after the part before.
type part struct {
	after time.Duration
	size  int
}

// slowly gives the answer to one request in parts, over a connection in memory, and returns what became of
// reading it. Time is that of the bubble around the test, so that minutes pass at once.
func slowly(t *testing.T, header time.Duration, parts []part) error {
	t.Helper()
	size := 0
	for _, p := range parts {
		size += p.size
	}
	var served sync.WaitGroup
	defer served.Wait()
	limits := newTransport(Options{Throttle: NewThrottle()}, nil)
	limits.inner.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		served.Go(func() {
			defer theirs.Close()
			if _, err := http.ReadRequest(bufio.NewReader(theirs)); err != nil {
				return
			}
			time.Sleep(header)
			_, _ = fmt.Fprintf(theirs, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			for _, p := range parts {
				time.Sleep(p.after)
				if _, err := theirs.Write(bytes.Repeat([]byte("x"), p.size)); err != nil {
					return
				}
			}
		})
		return ours, nil
	}
	defer limits.inner.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/v2/org/app/blobs/sha256:x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := limits.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// TestAnswersComeInTime tries the limits of time around their edges: a byte within 30 seconds, 10 KiB a second
// over a minute. At the edge itself either may be first.
func TestAnswersComeInTime(t *testing.T) {
	t.Parallel()
	const moment = time.Millisecond
	const enough = 10 * 1024 * 60
	// minute is one in which so many bytes come, the last of them when it is over, and then one more.
	minute := func(size int) []part {
		return []part{{0, size - 3}, {29 * time.Second, 1}, {29 * time.Second, 1}, {2*time.Second + moment, 1}, {0, 1}}
	}
	for name, c := range map[string]struct {
		header time.Duration
		parts  []part
		late   bool
	}{
		"at once":                         {0, []part{{0, 10}}, false},
		"header in time":                  {30*time.Second - moment, []part{{0, 10}}, false},
		"header late":                     {30*time.Second + moment, []part{{0, 10}}, true},
		"first byte in time":              {0, []part{{30*time.Second - moment, 10}}, false},
		"first byte late":                 {0, []part{{30*time.Second + moment, 10}}, true},
		"a byte in time, again and again": {0, []part{{0, enough}, {30*time.Second - moment, 1}, {30*time.Second - moment, 1}, {0, 1}}, false},
		"last byte late":                  {0, []part{{0, enough}, {30*time.Second + moment, 1}}, true},
		"a byte less than the least":      {0, minute(enough - 1), true},
		"the least":                       {0, minute(enough), false},
		"a byte more than the least":      {0, minute(enough + 1), false},
		"less in the second minute":       {0, append(minute(enough), minute(enough-2)...), true},
		"enough in the second minute":     {0, append(minute(enough), minute(enough)...), false},
		"little, in less than a minute":   {0, []part{{29 * time.Second, 1}, {29 * time.Second, 1}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				err := slowly(t, c.header, c.parts)
				if !c.late {
					if err != nil {
						t.Error(err)
					}
					return
				}
				var refused *refusedError
				var timeout net.Error
				if !(errors.As(err, &refused) && refused.code == TimedOut) && !(errors.As(err, &timeout) && timeout.Timeout()) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}
