// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// The age key pair of these tests.
const (
	killedRecipient = "age1zwup6zp9dmxe5mykx2s0f9l6n4ev4wenrjj6ml78xs5p9nnyfvqs3wx6zx"
	killedIdentity  = "AGE-SECRET-KEY-1U2QHCUYRWSNEVPDNWRLZ8P0075QL208MD4R5QXWQZDJRSPUUJLCS8FPZ6C\n"
)

// killer stands between a push and a real registry, and kills the push at one of its requests.
type killer struct {
	forward http.Handler
	at      int32 // number of the request, from 1
	after   bool  // the registry has carried it out, its answer is not passed on
	victim  chan *testkit.Process
	seen    atomic.Int32
}

// ServeHTTP implements http.Handler.
func (k *killer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if k.seen.Add(1) != k.at {
		k.forward.ServeHTTP(w, r)
		return
	}
	if k.after {
		k.forward.ServeHTTP(httptest.NewRecorder(), r)
	}
	victim := <-k.victim // it may send requests before its start was reported
	victim.Kill()
	panic(http.ErrAbortHandler)
}

// pushKilled is one push that is killed.
type pushKilled struct {
	binary, dir, key, temp string
	repositories           *testkit.Repositories
	encrypted              bool
}

// TestAPushThatIsKilledLeavesTagsWhole kills the real program at each request of a push to a real registry,
// before the registry has seen it and after. Both tags are what they were, or all of what was pushed;
// and what is encrypted lies open nowhere.
func TestAPushThatIsKilledLeavesTagsWhole(t *testing.T) {
	t.Parallel()
	for name, encrypted := range map[string]bool{"plain": false, "encrypted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &pushKilled{binary: testkit.Binary(t), dir: t.TempDir(), temp: t.TempDir(), repositories: testkit.Registry(t), encrypted: encrypted}
			p.key = p.write(t, "key", killedIdentity)
			moments := []bool{false, true}
			if encrypted {
				moments = moments[:1] // on the wire it is the same
			}
			for _, after := range moments {
				killed := 0
				for at := int32(1); p.survives(t, at, after); at++ {
					killed++
				}
				if killed < 7 { // two tags, the manifest, the layer, the config, an upload of each
					t.Errorf("only %d requests were seen (after: %t)", killed, after)
				}
			}
			p.nothingLiesOpen(t)
		})
	}
}

func (p *pushKilled) write(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(p.dir, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// survives pushes and kills at a request. It returns false when the push came to its end before.
func (p *pushKilled) survives(t *testing.T, at int32, after bool) bool {
	t.Helper()
	name := fmt.Sprintf("app-%d-%t", at, after)
	tree := filepath.Join(p.dir, name)
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	old, wanted := content("old"), content("new")
	p.write(t, filepath.Join(name, "app.yaml"), old)
	p.run(t, p.push(p.repositories.Host, name)...)

	target, err := url.Parse("http://" + p.repositories.Host)
	if err != nil {
		t.Fatal(err)
	}
	k := &killer{at: at, after: after, victim: make(chan *testkit.Process, 1), forward: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the registry answers with addresses of its own
	}}}
	proxy := httptest.NewServer(k)
	defer proxy.Close()
	p.write(t, filepath.Join(name, "app.yaml"), wanted)
	victim := testkit.Start(t, testkit.Command{Path: p.binary, Args: p.push(strings.TrimPrefix(proxy.URL, "http://"), name), Env: []string{"TMPDIR=" + p.temp}})
	k.victim <- victim
	code := victim.Wait(t, time.Minute)

	for _, tag := range []string{"1.0.0", "latest"} {
		got := p.run(t, "pull", "artifact", "oci://"+p.repositories.Repository(name)+":"+tag, "--age-identities="+p.key)
		if got != old && got != wanted {
			t.Errorf("killed at request %d (after: %t): %s holds %q", at, after, tag, got)
		}
		if code == 0 && got != wanted {
			t.Errorf("not killed, and %s holds %q", tag, got)
		}
	}
	// The next push makes up for it.
	p.run(t, p.push(p.repositories.Host, name)...)
	if got := p.run(t, "pull", "artifact", "oci://"+p.repositories.Repository(name)+":latest", "--age-identities="+p.key); got != wanted {
		t.Errorf("killed at request %d (after: %t) and pushed again: %q", at, after, got)
	}
	return k.seen.Load() >= at
}

func content(text string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata:\n  name: app\nstringData:\n  password: canary-" + text + "\n"
}

func (p *pushKilled) push(host, name string) []string {
	args := []string{
		"push", "artifact", "oci://" + host + "/" + p.repositories.Prefix + "/" + name + ":1.0.0", "--tag=latest", "--path=" + filepath.Join(p.dir, name),
	}
	if p.encrypted {
		args = append(args, "--age-recipients="+killedRecipient)
	}
	return args
}

func (p *pushKilled) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.binary, args...)
	cmd.Env = append(os.Environ(), "HOME="+p.dir, "DOCKER_CONFIG="+p.dir)
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, failed.String())
	}
	return out.String()
}

// nothingLiesOpen looks at what killed pushes have left in the temporary directory.
func (p *pushKilled) nothingLiesOpen(t *testing.T) {
	t.Helper()
	if !p.encrypted {
		return
	}
	err := filepath.WalkDir(p.temp, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(name)
		if bytes.Contains(raw, []byte("canary")) {
			t.Errorf("%s holds the plaintext", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
