// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// OwnRegistry starts the sandbox's registry, CNCF Distribution, for one test: empty and in memory.
// With a line of htpasswd it wants that user's password. It returns the address; plain HTTP is spoken there.
func OwnRegistry(t testing.TB, htpasswd string) string {
	t.Helper()
	s := sandbox(t)
	dir, addr := t.TempDir(), freeAddress(t)
	config := fmt.Sprintf("version: 0.1\nlog:\n  level: error\nstorage:\n  inmemory:\n  delete:\n    enabled: true\n"+
		"http:\n  addr: %s\n  secret: test\n", addr)
	if htpasswd != "" {
		file := filepath.Join(dir, "htpasswd")
		if err := os.WriteFile(file, []byte(htpasswd+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("auth:\n  htpasswd:\n    realm: test\n    path: %s\n", file)
	}
	file := filepath.Join(dir, "registry.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	Start(t, Command{Path: filepath.Join(filepath.Dir(s.Launcher), "registry"), Args: []string{"serve", file}, Dir: dir})
	Eventually(t, "the registry answers", time.Minute, func() error {
		resp, err := http.Get("http://" + addr + "/v2/")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	return addr
}

// freeAddress returns an address on loopback that nobody listened on a moment ago.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
