// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/watch"
)

// maxEventSize bounds one event of a watch stream: an object is at most a few MiB in etcd.
const maxEventSize = 16 << 20

// streamWatcher turns a stream of JSON events into a [watch.Interface].
type streamWatcher struct {
	events chan watch.Event
	cancel context.CancelFunc
	stream io.ReadCloser
}

func newStreamWatcher(ctx context.Context, stream io.ReadCloser) *streamWatcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &streamWatcher{events: make(chan watch.Event), cancel: cancel, stream: stream}
	go w.run(ctx)
	return w
}

// Stop implements [watch.Interface].
func (w *streamWatcher) Stop() {
	w.cancel()
	w.stream.Close() // unblocks the reader; the error is of no use to anybody
}

// ResultChan implements [watch.Interface].
func (w *streamWatcher) ResultChan() <-chan watch.Event { return w.events }

func (w *streamWatcher) run(ctx context.Context) {
	defer close(w.events)
	defer w.stream.Close()
	lines := bufio.NewScanner(w.stream)
	lines.Buffer(make([]byte, 0, 64<<10), maxEventSize)
	for lines.Scan() {
		event, err := parseEvent(lines.Bytes())
		if err != nil {
			return
		}
		select {
		case w.events <- event:
		case <-ctx.Done():
			return
		}
	}
}

func parseEvent(line []byte) (watch.Event, error) {
	var raw struct {
		Type   watch.EventType `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return watch.Event{}, fmt.Errorf("decoding a watch event: %w", err)
	}
	if raw.Type == watch.Error {
		return watch.Event{}, errors.New("the server ended the watch")
	}
	u, err := decodeObject(raw.Object)
	if err != nil {
		return watch.Event{}, fmt.Errorf("decoding a watched object: %w", err)
	}
	return watch.Event{Type: raw.Type, Object: u}, nil
}
