// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"net"
	"syscall"
	"testing"
)

// A message that differs each time would be written to a status, and told as an event, each time.
func TestABrokenConnectionIsToldInTheSameWordsEachTime(t *testing.T) {
	t.Parallel()
	var said []string
	for _, port := range []int{40001, 40002} {
		e := &Error{Op: "resolving", Reference: "registry.example/app:1.0.0"}
		e.explain(&net.OpError{
			Op: "read", Net: "tcp", Err: syscall.ECONNRESET,
			Source: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port},
			Addr:   &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5000},
		})
		said = append(said, e.Error())
	}
	if said[0] != said[1] {
		t.Errorf("said %q, then %q", said[0], said[1])
	}
}
