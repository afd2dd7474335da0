// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"path"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// tree is the set of paths that an archive has used so far.
type tree struct {
	limits   Limits
	explicit map[string]bool   // entries by clean path
	isDir    map[string]bool   // all paths, with the directories that files imply
	folded   map[string]string // by what a forgiving file system takes as the same
	caser    cases.Caser
}

func newTree(limits Limits) *tree {
	return &tree{
		limits: limits, explicit: map[string]bool{}, isDir: map[string]bool{},
		folded: map[string]string{}, caser: cases.Fold(),
	}
}

// cleanPath returns the path that an entry is written to, or the empty string for the root.
func (t *tree) cleanPath(name string, dir bool) (string, *RefusedError) {
	if problem := t.checkBytes(name); problem != nil {
		return "", problem
	}
	clean := strings.TrimPrefix(name, "./")
	if dir {
		clean = strings.TrimSuffix(clean, "/")
		if clean == "" || clean == "." {
			return "", nil
		}
	}
	if strings.HasPrefix(clean, "/") {
		return "", refuse(PathEscapes, name, "the path is absolute")
	}
	parts := strings.Split(clean, "/")
	for _, part := range parts {
		switch part {
		case "..":
			return "", refuse(PathEscapes, name, "the path leaves its directory")
		case "", ".":
			return "", refuse(BadPath, name, "the path has an empty part or a dot for one")
		}
	}
	if len(parts) > t.limits.Depth {
		return "", refuse(PathTooDeep, name, "%d levels, more than %d", len(parts), t.limits.Depth)
	}
	if !filepath.IsLocal(filepath.FromSlash(clean)) {
		return "", refuse(BadPath, name, "the path means something else on this system")
	}
	return clean, nil
}

func (t *tree) checkBytes(name string) *RefusedError {
	switch {
	case name == "":
		return refuse(BadPath, name, "the path is empty")
	case len(name) > t.limits.PathBytes:
		return refuse(PathTooLong, name, "%d bytes, more than %d", len(name), t.limits.PathBytes)
	case !utf8.ValidString(name):
		return refuse(BadPath, name, "the path is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return refuse(BadPath, name, "the path has control characters")
	case strings.Contains(name, `\`):
		return refuse(PathEscapes, name, "the path has a backslash, which separates directories elsewhere")
	case len(name) >= 2 && name[1] == ':' && unicode.IsLetter(rune(name[0])):
		return refuse(PathEscapes, name, "the path begins with a drive letter")
	default:
		return nil
	}
}

// add takes a path into the tree, with the directories above it.
func (t *tree) add(name, clean string, dir bool) *RefusedError {
	if t.explicit[clean] {
		if t.isDir[clean] != dir {
			return refuse(FileAndDirectory, name, "the archive has it as both")
		}
		return refuse(DuplicatePath, name, "the archive has it twice")
	}
	if known, seen := t.isDir[clean]; seen && known != dir {
		return refuse(FileAndDirectory, name, "the archive has it as both")
	}
	t.explicit[clean] = true
	for at, isDir := clean, dir; at != "."; at, isDir = path.Dir(at), true {
		if known, seen := t.isDir[at]; seen {
			if known != isDir {
				return refuse(FileAndDirectory, name, "%q is a file", clip(at))
			}
			if at != clean {
				break
			}
		}
		t.isDir[at] = isDir
		if problem := t.fold(name, at); problem != nil {
			return problem
		}
	}
	if len(t.isDir) > t.limits.Entries {
		return refuse(TooManyEntries, name, "more than %d files and directories", t.limits.Entries)
	}
	return nil
}

func (t *tree) fold(name, at string) *RefusedError {
	key := t.folding(at)
	if other, seen := t.folded[key]; seen && other != at {
		return refuse(PathCollides, name, "it is the same file as %q on systems that ignore case or accents' form", clip(other))
	}
	t.folded[key] = at
	return nil
}

// folding returns what a forgiving file system takes as the same. Most paths are ASCII, of which that
// is the lower case.
func (t *tree) folding(at string) string {
	if !strings.ContainsFunc(at, func(r rune) bool { return r > unicode.MaxASCII }) {
		return strings.ToLower(at)
	}
	return norm.NFC.String(t.caser.String(norm.NFD.String(at)))
}
