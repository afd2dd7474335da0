// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// proxy forwards connections to the API server and delays what passes, in each direction by half
// of what it adds to a round trip. It holds back nothing else: what is sent in parallel arrives in
// parallel.
type proxy struct {
	listener net.Listener
	target   string
	delay    time.Duration
	running  sync.WaitGroup
}

func startProxy(ctx context.Context, target string, added time.Duration) (*proxy, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the latency proxy: %w", err)
	}
	p := &proxy{listener: listener, target: target, delay: added / 2}
	p.running.Go(func() { p.serve(ctx) })
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	_ = p.listener.Close() // nothing more is accepted either way
	p.running.Wait()
}

func (p *proxy) serve(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.target)
		if err != nil {
			_ = client.Close() // it sees that nobody answers
			continue
		}
		p.running.Go(func() { p.both(server, client) })
	}
}

// both passes in both directions and closes both ends when both have come to their end.
func (p *proxy) both(server, client net.Conn) {
	defer server.Close()
	defer client.Close()
	var directions sync.WaitGroup
	directions.Go(func() { p.pass(server, client) })
	directions.Go(func() { p.pass(client, server) })
	directions.Wait()
}

// chunk is what was read at once, and when it may go on.
type chunk struct {
	data []byte
	due  time.Time
}

// pass copies from one connection to the other, each piece as long after it was read as the delay.
func (p *proxy) pass(to, from net.Conn) {
	queue := make(chan chunk, 4096)
	var writer sync.WaitGroup
	defer writer.Wait()
	defer close(queue)
	writer.Go(func() {
		defer closeWrite(to)
		for c := range queue {
			time.Sleep(time.Until(c.due))
			if _, err := to.Write(c.data); err != nil {
				_ = from.Close() // so that the reader ends, too
			}
		}
	})
	for {
		buffer := make([]byte, 32<<10)
		n, err := from.Read(buffer)
		if n > 0 {
			queue <- chunk{buffer[:n], time.Now().Add(p.delay)}
		}
		if err != nil {
			return
		}
	}
}

// closeWrite says that nothing more comes in one direction. The other goes on until its end says so.
func closeWrite(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // it is closed already at worst
	}
}
