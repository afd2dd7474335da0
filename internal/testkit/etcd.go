// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// Rewrite changes one stored object behind the API server's back, as an older release, or a restored
// backup, may have left it: what the API server of today refuses to store, it may have to live with.
// The key is that of etcd, without the prefix; what is stored is mostly protobuf. Only for a control
// plane of the test's own.
func (e *Env) Rewrite(t testing.TB, key string, change func(stored []byte) []byte) {
	t.Helper()
	type kv struct { // of etcd's JSON gateway; bytes are base64
		Key   []byte `json:"key"`
		Value []byte `json:"value,omitempty"`
	}
	var found struct {
		Kvs []kv `json:"kvs"`
	}
	path := []byte("/registry/" + key)
	e.etcd(t, "range", kv{Key: path}, &found)
	if len(found.Kvs) != 1 {
		t.Fatalf("etcd has %d values at %s", len(found.Kvs), path)
	}
	changed := change(bytes.Clone(found.Kvs[0].Value))
	if bytes.Equal(changed, found.Kvs[0].Value) {
		t.Fatalf("what is stored at %s was not changed: %q", path, changed)
	}
	e.etcd(t, "put", kv{Key: path, Value: changed}, &struct{}{})
}

func (e *Env) etcd(t testing.TB, call string, send, receive any) {
	t.Helper()
	body, err := json.Marshal(send)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.Etcd+"/v3/kv/"+call, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("asking etcd: %v", err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(receive); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(fmt.Errorf("etcd answered %s: %w", resp.Status, err))
	}
}
