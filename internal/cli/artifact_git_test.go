// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/google/go-cmp/cmp"
)

// checkout is a repository with one commit, whose remote has credentials in its URL.
func checkout(t *testing.T) (dir string, repo *git.Repository, commit plumbing.Hash) {
	t.Helper()
	dir = t.TempDir()
	repo, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: "refs/heads/main"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{"https://x-token:s3cret@example.com/org/app.git"}}); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "deploy"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "deploy", "a.yaml"), []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree, err := repo.Worktree()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Add("deploy/a.yaml"); err != nil {
		t.Fatal(err)
	}
	at := &object.Signature{Name: "Jane", Email: "jane@example.com", When: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("east", 3600))}
	commit, err = tree.Commit("first", &git.CommitOptions{Author: at, Committer: at})
	if err != nil {
		t.Fatal(err)
	}
	return dir, repo, commit
}

func none(string) string { return "" }

func compareOrigin(t *testing.T, want, got origin) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(origin{})); diff != "" {
		t.Error(diff)
	}
}

func TestOriginOfABranch(t *testing.T) {
	t.Parallel()
	dir, _, commit := checkout(t)
	compareOrigin(t, origin{
		source: "https://example.com/org/app.git", revision: "main@sha1:" + commit.String(), created: time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC),
	}, originOf(filepath.Join(dir, "deploy"), none))
}

func TestOriginOfADetachedCommit(t *testing.T) {
	t.Parallel()
	dir, repo, commit := checkout(t)
	if err := repo.Storer.SetReference(plumbing.NewHashReference(plumbing.HEAD, commit)); err != nil {
		t.Fatal(err)
	}
	if got := originOf(dir, none).revision; got != "sha1:"+commit.String() {
		t.Errorf("without a tag: %s", got)
	}
	if _, err := repo.CreateTag("v1.0.0", commit, &git.CreateTagOptions{Message: "one", Tagger: &object.Signature{Name: "Jane"}}); err != nil {
		t.Fatal(err)
	}
	if got := originOf(dir, none).revision; got != "v1.0.0@sha1:"+commit.String() {
		t.Errorf("with a tag: %s", got)
	}
	ci := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "org/app", "GITHUB_REF_NAME": "release", "GITHUB_SHA": commit.String()}
	if got := originOf(dir, func(name string) string { return ci[name] }).revision; got != "release@sha1:"+commit.String() {
		t.Errorf("in CI: %s", got)
	}
}

func TestOriginFromCIWithoutARepository(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		want origin
	}{
		"nothing known": {nil, origin{}},
		"GitHub": {
			map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://ghe.example.com", "GITHUB_REPOSITORY": "org/app", "GITHUB_REF_NAME": "main", "GITHUB_SHA": "abc"},
			origin{source: "https://ghe.example.com/org/app", revision: "main@sha1:abc"},
		},
		"GitLab": {
			map[string]string{"GITLAB_CI": "true", "CI_PROJECT_URL": "https://token:s3cret@gitlab.com/org/app", "CI_COMMIT_REF_NAME": "v1", "CI_COMMIT_SHA": "abc", "CI_COMMIT_TIMESTAMP": "2026-01-02T03:04:05+01:00"},
			origin{source: "https://gitlab.com/org/app", revision: "v1@sha1:abc", created: time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compareOrigin(t, c.want, originOf(t.TempDir(), func(name string) string { return c.env[name] }))
		})
	}
}

func TestWhatIsGivenWinsOverTheRepository(t *testing.T) {
	t.Parallel()
	dir, _, _ := checkout(t)
	f := metadataFlags{git: true, source: "https://jane:s3cret@example.com/other", created: "2020-01-01T00:00:00Z"}
	meta, err := f.metadata(none, dir)
	if err != nil || meta.Source != "https://example.com/other" || meta.Created.Year() != 2020 || meta.Revision == "" {
		t.Errorf("got %+v, %v", meta, err)
	}
	f.git = false
	if meta, err := f.metadata(none, dir); err != nil || meta.Revision != "" {
		t.Errorf("turned off: %+v, %v", meta, err)
	}
}
