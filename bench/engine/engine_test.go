// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kustomizer/kustomizer/bench/internal/measure"
)

func TestTheProxyDelaysAndLosesNothing(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { // an echo
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(conn, conn)
		_ = conn.Close()
	}()
	const added = 60 * time.Millisecond
	p, err := startProxy(t.Context(), listener.Addr().String(), added)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	conn, err := net.Dial("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := strings.Repeat("0123456789abcdef", 1<<14)
	start := time.Now()
	go func() {
		_, _ = io.WriteString(conn, sent)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < added {
		t.Errorf("a round trip took %s, less than what is added to it", took)
	}
	if string(got) != sent {
		t.Errorf("%d bytes of %d came back", len(got), len(sent))
	}
}

func TestManifestsDifferInOneObject(t *testing.T) {
	t.Parallel()
	var texts []string
	for _, change := range []bool{false, true} {
		file := filepath.Join(t.TempDir(), "m.yaml")
		if err := writeManifests(file, "ns", 1000, change); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(data))
	}
	if n := strings.Count(texts[0], "\nkind: "); n != 1000 {
		t.Errorf("%d objects", n)
	}
	if strings.Count(texts[1], "value: two") != 1 || strings.ReplaceAll(texts[1], "value: two", "value: one") != texts[0] {
		t.Error("they don't differ in one value")
	}
}

func TestRatiosAreTimesOurs(t *testing.T) {
	t.Parallel()
	f := newFigures()
	f.bare = []time.Duration{3 * time.Second, 1 * time.Second, 4 * time.Second}
	for _, p := range phases() {
		f.add(ours, p, measure.Sample{Wall: 2 * time.Second}, 10)
		f.add("kubectl", p, measure.Sample{Wall: 30 * time.Second}, 1000)
	}
	text := f.markdown(0)
	for _, want := range []string{"| kubectl | 15.0× | 15.0× | 15.0× | 15.0× |", "| kustomizer | 2.00 (0.00, 0, 10) |", "takes 3.00 s (raw: 3.00 1.00 4.00). The first apply of kustomizer takes 0.7× that."} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}
