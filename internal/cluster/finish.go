// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"io"
	"net/http"
	"time"
)

// finishWithin is how long a write that has begun may go on after its context has ended.
const finishWithin = 5 * time.Second

// finishing lets a write that has begun come to its end though its context ends meanwhile. What was
// sent may be carried out in any case: only the answer says whether it was, and what came of it.
// None begins in a context that has ended.
type finishing struct {
	next   http.RoundTripper
	within time.Duration
}

// RoundTrip implements [http.RoundTripper].
func (f finishing) RoundTrip(req *http.Request) (*http.Response, error) {
	given := req.Context()
	if req.Method == http.MethodGet || req.URL.Query().Has("dryRun") {
		return f.next.RoundTrip(req)
	}
	if err := given.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(given))
	unwatch := context.AfterFunc(given, func() { time.AfterFunc(f.within, cancel) })
	end := func() {
		unwatch()
		cancel()
	}
	resp, err := f.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		end()
		return nil, err
	}
	resp.Body = endingBody{resp.Body, end}
	return resp, nil
}

// endingBody is an answer's body that ends its context when it has been read.
type endingBody struct {
	io.ReadCloser
	end func()
}

// Close implements [io.Closer].
func (b endingBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
