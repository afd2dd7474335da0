// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// surroundings are what may differ between two that publish the same content.
type surroundings struct {
	umask    string
	env      []string
	mode     os.FileMode // of the files
	age      time.Duration
	reversed bool   // the files come into being in the other order
	inside   bool   // the command is run from within the content, which is named by "."
	user     uint32 // 0 for the one that runs the test
}

// TestTheSameContentHasOneDigestWhereverItIsPushed runs the real program, as different users in different
// places have it, over content that was written in different ways, for each form that content has.
func TestTheSameContentHasOneDigestWhereverItIsPushed(t *testing.T) {
	t.Parallel()
	binary, registry := forEverybody(t, testkit.Binary(t)), testkit.MemRegistry(t)
	all := map[string]surroundings{
		"plain":            {umask: "022"},
		"umask 0":          {umask: "000", mode: 0o666},
		"umask 077":        {umask: "077", mode: 0o600},
		"executable files": {umask: "022", mode: 0o755},
		"another zone":     {umask: "022", env: []string{"TZ=Pacific/Kiritimati", "LC_ALL=tr_TR.UTF-8", "LANG=tr_TR.UTF-8"}},
		"plain C locale":   {umask: "022", env: []string{"TZ=America/St_Johns", "LC_ALL=C"}},
		"one processor":    {umask: "022", env: []string{"GOMAXPROCS=1"}},
		"two processors":   {umask: "022", env: []string{"GOMAXPROCS=2"}},
		"eight processors": {umask: "022", env: []string{"GOMAXPROCS=8", "GOGC=1"}},
		"old files":        {umask: "022", age: 30 * 365 * 24 * time.Hour},
		"files of the future, in the other order": {umask: "027", age: -365 * 24 * time.Hour, reversed: true},
		"from within":       {umask: "022", inside: true},
		"other user's name": {umask: "022", env: []string{"USER=somebody", "LOGNAME=somebody", "HOSTNAME=elsewhere"}},
	}
	if os.Getuid() == 0 { // only root can be somebody else
		all["nobody"] = surroundings{umask: "022", user: 65534}
	}
	for _, form := range []string{"-k", "-f", "--path"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			var want string
			for _, name := range slices.Sorted(maps.Keys(all)) {
				got := all[name].push(t, binary, registry.Host, form)
				if want == "" {
					want = got
				}
				if got != want {
					t.Errorf("%s: %s, elsewhere %s", name, got, want)
				}
			}
		})
	}
}

// forEverybody copies a program to where each user can run it.
func forEverybody(t *testing.T, binary string) string {
	t.Helper()
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(openDir(t), "kustomizer")
	if err := os.WriteFile(name, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// openDir returns a directory that each user can write to, and get to: where temporary files go may be
// its owner's alone.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if !reachable(t, dir) {
		var err error
		if dir, err = os.MkdirTemp("/tmp", "kustomizer-test-"); err != nil { //nolint:usetesting // its directories are those that others can't get to
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// reachable says whether others may pass through all directories above one.
func reachable(t *testing.T, dir string) bool {
	t.Helper()
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return false
		}
	}
	return true
}

// push publishes the content in one of its forms and returns the digest.
func (s surroundings) push(t *testing.T, binary, host, form string) string {
	t.Helper()
	home, dir := openDir(t), filepath.Join(openDir(t), "content")
	s.write(t, dir, form)
	place := dir
	if s.inside {
		place = "."
	}
	url := "oci://" + host + "/" + testkit.Unique(t) + ":1"
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `umask "$0" && exec "$@"`, s.umask,
		binary, "push", "artifact", url, form+"="+place, "--source=https://example.com/app", "--revision=main@sha1:0", "-o=json")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home}, s.env...)
	if s.inside {
		cmd.Dir = dir
	}
	if s.user != 0 {
		cmd.Dir = home
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.user, Gid: s.user}}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", s, err, stderr.String())
	}
	var result struct{ Digest string }
	if err := json.Unmarshal(out, &result); err != nil || result.Digest == "" {
		t.Fatalf("%v printed %s: %v", s, out, err)
	}
	return result.Digest
}

// write writes the content: as many files as make more than one block of what is compressed.
func (s surroundings) write(t *testing.T, dir, form string) {
	t.Helper()
	mode := cmp.Or(s.mode, 0o644)
	files := map[string]string{}
	for i := range 30 {
		files[fmt.Sprintf("team-%d/app-%02d.yaml", i%3, i)] = fmt.Sprintf(
			"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app-%d\ndata:\n  key: %s\n", i, strings.Repeat(fmt.Sprintf("value-%d-", i*i), 6000))
	}
	names := slices.Sorted(maps.Keys(files))
	if form == "-k" {
		files["kustomization.yaml"] = "resources:\n- " + strings.Join(names, "\n- ") + "\n"
		names = append(names, "kustomization.yaml")
	}
	if s.reversed {
		slices.Reverse(names)
	}
	for _, name := range names {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(files[name]), mode); err != nil {
			t.Fatal(err)
		}
		changed := time.Now().Add(-s.age)
		if err := errors.Join(os.Chmod(at, mode), os.Chtimes(at, changed, changed)); err != nil {
			t.Fatal(err)
		}
	}
}
