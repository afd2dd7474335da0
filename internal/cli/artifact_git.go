// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// origin is where content comes from, as far as it can be told.
type origin struct {
	source, revision string
	created          time.Time
}

// originOf reads where the files of a directory come from: from its Git repository, and from what the
// CI system says about itself where the repository does not, such as the branch of a checked out
// commit.
func originOf(dir string, getenv func(string) string) origin {
	ci := ciOrigin(getenv)
	repo, err := git.PlainOpenWithOptions(dir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err != nil {
		return origin{source: ci.source, revision: ci.revision(), created: ci.created}
	}
	out := origin{source: cmp.Or(remoteOf(repo), ci.source)}
	head, err := repo.Head()
	if err != nil {
		return out // nothing was committed yet
	}
	sha := head.Hash().String()
	switch {
	case head.Name().IsBranch():
		out.revision = head.Name().Short() + "@sha1:" + sha
	case ci.sha == sha && ci.ref != "":
		out.revision = ci.revision()
	default:
		out.revision = strings.TrimPrefix(tagAt(repo, head.Hash())+"@sha1:"+sha, "@")
	}
	if commit, err := repo.CommitObject(head.Hash()); err == nil {
		out.created = commit.Committer.When.UTC()
	}
	return out
}

// remoteOf returns the URL of the remote origin, or of the only remote.
func remoteOf(repo *git.Repository) string {
	remotes, err := repo.Remotes()
	if err != nil {
		return ""
	}
	for _, r := range remotes {
		config := r.Config()
		if len(config.URLs) > 0 && (config.Name == git.DefaultRemoteName || len(remotes) == 1) {
			return withoutUserinfo(config.URLs[0])
		}
	}
	return ""
}

// tagAt returns the tag of a commit, the first by name if there are several.
func tagAt(repo *git.Repository, commit plumbing.Hash) string {
	tags, err := repo.Tags()
	if err != nil {
		return ""
	}
	found := ""
	err = tags.ForEach(func(ref *plumbing.Reference) error {
		at := ref.Hash()
		if annotated, err := repo.TagObject(at); err == nil && annotated.TargetType == plumbing.CommitObject {
			at = annotated.Target
		} else if err != nil && !errors.Is(err, plumbing.ErrObjectNotFound) && !errors.Is(err, object.ErrUnsupportedObject) {
			return storer.ErrStop
		}
		if name := ref.Name().Short(); at == commit && (found == "" || name < found) {
			found = name
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return found
}

// ciRun is what a CI system says about the run that it is in.
type ciRun struct {
	source, ref, sha string
	created          time.Time
}

// revision returns ref@sha1:commit, as far as both are known.
func (r ciRun) revision() string {
	switch {
	case r.sha == "":
		return ""
	case r.ref == "":
		return "sha1:" + r.sha
	default:
		return r.ref + "@sha1:" + r.sha
	}
}

func ciOrigin(getenv func(string) string) ciRun {
	switch {
	case getenv("GITHUB_ACTIONS") == "true" && getenv("GITHUB_REPOSITORY") != "":
		return ciRun{
			source: cmp.Or(getenv("GITHUB_SERVER_URL"), "https://github.com") + "/" + getenv("GITHUB_REPOSITORY"),
			ref:    getenv("GITHUB_REF_NAME"), sha: getenv("GITHUB_SHA"),
		}
	case getenv("GITLAB_CI") == "true":
		run := ciRun{source: withoutUserinfo(getenv("CI_PROJECT_URL")), ref: getenv("CI_COMMIT_REF_NAME"), sha: getenv("CI_COMMIT_SHA")}
		if at, err := time.Parse(time.RFC3339, getenv("CI_COMMIT_TIMESTAMP")); err == nil {
			run.created = at.UTC()
		}
		return run
	default:
		return ciRun{}
	}
}

// placeOf returns the directory that a file or directory is in, for [originOf].
func placeOf(inputs ...string) string {
	for _, input := range inputs {
		if input == "" || input == "-" || strings.Contains(input, "://") {
			continue
		}
		if isDirectory(input) {
			return input
		}
		return filepath.Dir(input)
	}
	return ""
}

// discover fills in what was not given.
func (f *metadataFlags) discover(place string, getenv func(string) string) (origin, error) {
	if !f.git || place == "" {
		return origin{}, nil
	}
	dir, err := filepath.Abs(place)
	if err != nil {
		return origin{}, fmt.Errorf("looking for the Git repository of %s: %w", place, err)
	}
	return originOf(dir, getenv), nil
}
