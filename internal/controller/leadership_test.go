// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestAWriteIsHeldUpUntilItsBodyIsSent has a Lease get lost when a write has begun.
func TestAWriteIsHeldUpUntilItsBodyIsSent(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"the Lease is held": false, "the Lease is lost meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			held := newLeadership([]string{"lease"}, LeaseOptions{})
			held.renew("lease", time.Now(), "")
			var sent []string
			guard := guardedTransport{held: held, next: roundTripper(func(req *http.Request) (*http.Response, error) {
				again, err := req.GetBody()
				if err != nil {
					return nil, err
				}
				if lost {
					held.release("lease")
				}
				for _, body := range []io.Reader{req.Body, again} {
					text, readErr := io.ReadAll(body)
					sent, err = append(sent, string(text)), readErr
				}
				return nil, err
			})}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "https://127.0.0.1/api", strings.NewReader("content"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = guard.RoundTrip(req) //nolint:bodyclose // there is no answer
			if got := strings.Join(sent, "+"); lost != errors.Is(err, errNotLeading) || lost != (got == "+") || !lost && got != "content+content" {
				t.Errorf("sent was %q, with the error %v", got, err)
			}
		})
	}
}
