// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// ignoreFile lists patterns for its directory and all below it, in the form of .gitignore.
const ignoreFile = ".sourceignore"

// maxIgnoreFile bounds what is read of one.
const maxIgnoreFile = 1 << 20

// defaultIgnored is what Flux leaves out of artifacts: files of version control, and such as are no
// manifests.
func defaultIgnored() []string {
	return []string{
		".git", ".gitignore", ".gitmodules", ".gitattributes",
		"*.jpg", "*.jpeg", "*.gif", "*.png", "*.wmv", "*.flv", "*.tar.gz", "*.zip",
	}
}

// ignorer decides what of a tree is left out. It is asked for a directory before what is in it.
type ignorer struct {
	dir      string
	patterns []gitignore.Pattern
	read     map[string]bool // directories whose ignore file was read
}

func newIgnorer(dir string, patterns []string) *ignorer {
	i := &ignorer{dir: dir, read: map[string]bool{}}
	i.add(strings.Join(patterns, "\n"), nil)
	return i
}

func (i *ignorer) add(text string, domain []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" && !strings.HasPrefix(line, "#") {
			i.patterns = append(i.patterns, patternOf(line, domain))
		}
	}
}

// patternOf returns what a line says. Lines without special characters, or with a star as the only one before
// them, are most of all, and those that are asked for every file of a tree: they are compared and not parsed.
func patternOf(line string, domain []string) gitignore.Pattern {
	text, suffix := strings.CutPrefix(line, "*")
	if len(domain) > 0 || strings.ContainsAny(text, `!/*?[\ `) {
		return gitignore.ParsePattern(line, domain)
	}
	return plainPattern{text: text, suffix: suffix}
}

// plainPattern leaves out what is called by a name, or whose name ends so, and what is below it.
type plainPattern struct {
	text   string
	suffix bool
}

// Match implements [gitignore.Pattern].
func (p plainPattern) Match(path []string, _ bool) gitignore.MatchResult {
	for _, name := range path {
		if name == p.text || p.suffix && strings.HasSuffix(name, p.text) {
			return gitignore.Exclude
		}
	}
	return gitignore.NoMatch
}

// Ignored says whether a path is left out.
func (i *ignorer) Ignored(at string, dir bool) (bool, error) {
	if err := i.readBelow(path.Dir(at)); err != nil {
		return false, err
	}
	if path.Base(at) == ignoreFile {
		return true, nil
	}
	return gitignore.NewMatcher(i.patterns).Match(strings.Split(at, "/"), dir), nil
}

// readBelow reads the ignore file of a directory, once.
func (i *ignorer) readBelow(dir string) error {
	if i.read[dir] {
		return nil
	}
	i.read[dir] = true
	name := filepath.Join(i.dir, filepath.FromSlash(dir), ignoreFile)
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading what to leave out: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("reading what to leave out: %s is no plain file", name)
	}
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("reading what to leave out: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxIgnoreFile+1))
	if err != nil {
		return fmt.Errorf("reading what to leave out: %w", err)
	}
	if len(text) > maxIgnoreFile {
		return fmt.Errorf("reading what to leave out: %s has more than %d bytes", name, maxIgnoreFile)
	}
	var domain []string
	if dir != "." {
		domain = strings.Split(dir, "/")
	}
	i.add(string(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))), domain)
	return nil
}
