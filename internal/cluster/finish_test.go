// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// slowServer answers when it is told to.
func slowServer(t *testing.T) (url string, arrived <-chan struct{}, answer chan<- struct{}) {
	t.Helper()
	came, proceed := make(chan struct{}, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body) // before that, nobody notices that the client is gone
		came <- struct{}{}
		select {
		case <-proceed:
			_, _ = io.WriteString(w, "done")
		case <-req.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, came, proceed
}

// send sends a request whose context ends when it has arrived.
func send(t *testing.T, method, url string, arrived <-chan struct{}, within time.Duration, then func()) (string, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-arrived
		cancel()
		then()
	}()
	client := &http.Client{Transport: finishing{http.DefaultTransport, within}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestAWriteThatHasBegunIsFinished(t *testing.T) {
	t.Parallel()
	url, arrived, answer := slowServer(t)
	got, err := send(t, http.MethodPatch, url, arrived, time.Minute, func() { close(answer) })
	if err != nil || got != "done" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAWriteIsNotFinishedForever(t *testing.T) {
	t.Parallel()
	url, arrived, _ := slowServer(t)
	if _, err := send(t, http.MethodPatch, url, arrived, time.Millisecond, func() {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestReadsAndDryRunsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	for method, query := range map[string]string{http.MethodGet: "", http.MethodPatch: "?dryRun=All"} {
		url, arrived, _ := slowServer(t)
		if _, err := send(t, method, url+query, arrived, time.Minute, func() {}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s%s: %v", method, query, err)
		}
	}
}

func TestNoWriteBeginsInAContextThatHasEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, "http://127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (finishing{nil, time.Minute}).RoundTrip(req); !errors.Is(err, context.Canceled) { //nolint:bodyclose // there is none
		t.Errorf("got %v", err)
	}
}
