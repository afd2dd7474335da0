// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Scheme is the prefix of references on the command line and in resources.
const Scheme = "oci://"

// DefaultHost is the registry of a reference that names none.
const DefaultHost = "docker.io"

// What the distribution specification allows.
var (
	hostPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	pathPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`) // of one part between slashes
	tagPattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

// Repository is a place in a registry that holds the versions of one artifact. Values are
// comparable; the zero value names nothing.
type Repository struct {
	host string // with port, if one was given; lower case
	path string
}

// Host returns the registry's host, with the port if one was given.
func (r Repository) Host() string { return r.host }

// Path returns the repository's path within its registry.
func (r Repository) Path() string { return r.path }

// String returns host/path.
func (r Repository) String() string { return r.host + "/" + r.path }

// URL returns oci://host/path.
func (r Repository) URL() string { return Scheme + r.String() }

// IsZero says whether the repository names nothing.
func (r Repository) IsZero() bool { return r == Repository{} }

// Tag returns the reference to a tag in the repository.
func (r Repository) Tag(name string) (Tag, error) {
	if err := CheckTagName(name); err != nil {
		return Tag{}, err
	}
	return Tag{repository: r, name: name}, nil
}

// At returns the reference to a digest in the repository.
func (r Repository) At(d Digest) Pinned { return Pinned{repository: r, digest: d} }

// Tag refers to what a tag points to at the time of asking, which may change.
type Tag struct {
	repository Repository
	name       string
}

// Repository returns where the tag is.
func (t Tag) Repository() Repository { return t.repository }

// Name returns the tag alone.
func (t Tag) Name() string { return t.name }

// String returns host/path:tag.
func (t Tag) String() string { return t.repository.String() + ":" + t.name }

// URL returns oci://host/path:tag.
func (t Tag) URL() string { return Scheme + t.String() }

// Pinned refers to an artifact by digest: it always means the same bytes.
type Pinned struct {
	repository Repository
	digest     Digest
}

// Repository returns where the artifact is.
func (p Pinned) Repository() Repository { return p.repository }

// Digest returns the digest of the artifact's manifest.
func (p Pinned) Digest() Digest { return p.digest }

// String returns host/path@digest.
func (p Pinned) String() string { return p.repository.String() + "@" + p.digest.String() }

// URL returns oci://host/path@digest.
func (p Pinned) URL() string { return Scheme + p.String() }

// IsZero says whether the reference names nothing.
func (p Pinned) IsZero() bool { return p == Pinned{} }

// Reference is what a user gave: a repository, and in it a tag, a digest or neither.
type Reference struct {
	repository Repository
	tag        string
	digest     Digest
}

// Repository returns the repository of the reference.
func (r Reference) Repository() Repository { return r.repository }

// Tag returns the reference as a tag, if it is one.
func (r Reference) Tag() (Tag, bool) {
	return Tag{repository: r.repository, name: r.tag}, r.tag != ""
}

// Pinned returns the reference as a digest, if it is one.
func (r Reference) Pinned() (Pinned, bool) {
	return Pinned{repository: r.repository, digest: r.digest}, r.digest != ""
}

// IsRepository says whether the reference has neither tag nor digest.
func (r Reference) IsRepository() bool { return r.tag == "" && r.digest == "" }

// String returns the reference without scheme.
func (r Reference) String() string {
	switch {
	case r.tag != "":
		return r.repository.String() + ":" + r.tag
	case r.digest != "":
		return r.repository.String() + "@" + r.digest.String()
	default:
		return r.repository.String()
	}
}

// URL returns the reference with scheme.
func (r Reference) URL() string { return Scheme + r.String() }

// Reference returns the tag as a [Reference].
func (t Tag) Reference() Reference { return Reference{repository: t.repository, tag: t.name} }

// Reference returns the pinned artifact as a [Reference].
func (p Pinned) Reference() Reference { return Reference{repository: p.repository, digest: p.digest} }

// ReferenceError says why a reference can't be read.
type ReferenceError struct {
	Given  string // as the user gave it, shortened
	Reason string
	Hint   string // what to write instead, or empty
}

// Error returns the reference and the reason on one line.
func (e *ReferenceError) Error() string { return fmt.Sprintf("reference %q: %s", e.Given, e.Reason) }

// ParseReference reads host/path, host/path:tag or host/path@digest, with or without oci://.
func ParseReference(s string) (Reference, error) {
	ref, problem := parse(strings.TrimPrefix(s, Scheme))
	if _, after, found := strings.Cut(s, "@"); found && strings.Contains(after, "/") {
		problem = &ReferenceError{Reason: "must not hold credentials", Hint: "keep them with kustomizer login"}
		s = "…@" + after
	}
	if problem != nil {
		problem.Given = clip(s)
		return Reference{}, problem
	}
	return ref, nil
}

// ParseURL reads a reference that must begin with oci://, as the command line and resources want it.
func ParseURL(s string) (Reference, error) {
	if !strings.HasPrefix(s, Scheme) {
		return Reference{}, &ReferenceError{
			Given: clip(s), Reason: "must begin with " + Scheme, Hint: "for example oci://ghcr.io/org/app:1.0.0",
		}
	}
	return ParseReference(s)
}

// ParseTag reads a reference that must have a tag, with or without oci://.
func ParseTag(s string) (Tag, error) {
	ref, err := ParseReference(s)
	if err != nil {
		return Tag{}, err
	}
	tag, ok := ref.Tag()
	if !ok {
		return Tag{}, &ReferenceError{Given: clip(s), Reason: "has no tag", Hint: "add one: " + ref.repository.URL() + ":1.0.0"}
	}
	return tag, nil
}

// ParsePinned reads a reference that must have a digest, with or without oci://.
func ParsePinned(s string) (Pinned, error) {
	ref, err := ParseReference(s)
	if err != nil {
		return Pinned{}, err
	}
	pinned, ok := ref.Pinned()
	if !ok {
		return Pinned{}, &ReferenceError{Given: clip(s), Reason: "has no digest", Hint: "add one: " + ref.repository.URL() + "@sha256:…"}
	}
	return pinned, nil
}

// ParseRepository reads a reference that must have neither tag nor digest, with or without oci://.
func ParseRepository(s string) (Repository, error) {
	ref, err := ParseReference(s)
	if err != nil {
		return Repository{}, err
	}
	if !ref.IsRepository() {
		return Repository{}, &ReferenceError{
			Given: clip(s), Reason: "must have neither tag nor digest", Hint: "leave it out: " + ref.repository.URL(),
		}
	}
	return ref.repository, nil
}

func parse(s string) (Reference, *ReferenceError) {
	if scheme, _, found := strings.Cut(s, "://"); found {
		return Reference{}, &ReferenceError{Reason: fmt.Sprintf("has the scheme %s://", clip(scheme)), Hint: "use " + Scheme}
	}
	rest, digest, hasDigest := strings.Cut(s, "@")
	name, tag, hasTag := cutTag(rest)
	if hasDigest && hasTag {
		return Reference{}, &ReferenceError{Reason: "has both a tag and a digest", Hint: "give one of the two"}
	}
	repository, problem := parseRepository(name)
	if problem != nil {
		return Reference{}, problem
	}
	ref := Reference{repository: repository}
	if hasTag {
		if err := CheckTagName(tag); err != nil {
			return Reference{}, &ReferenceError{Reason: err.Error()}
		}
		ref.tag = tag
	}
	if hasDigest {
		d, err := ParseDigest(digest)
		if err != nil {
			return Reference{}, &ReferenceError{Reason: err.Error()}
		}
		ref.digest = d
	}
	return ref, nil
}

// cutTag splits at the colon after the last slash; an earlier one belongs to the port.
func cutTag(s string) (name, tag string, found bool) {
	colon := strings.LastIndex(s, ":")
	if colon < 0 || colon < strings.LastIndex(s, "/") {
		return s, "", false
	}
	return s[:colon], s[colon+1:], true
}

func parseRepository(name string) (Repository, *ReferenceError) {
	if name == "" {
		return Repository{}, &ReferenceError{Reason: "names no repository", Hint: "for example oci://ghcr.io/org/app:1.0.0"}
	}
	first, rest, found := strings.Cut(name, "/")
	if !found || !looksLikeHost(first) {
		path, problem := parsePath(name)
		if problem != nil {
			return Repository{}, problem
		}
		if !found {
			path = "library/" + path
		}
		return Repository{host: DefaultHost, path: path}, nil
	}
	host, err := ParseHost(first)
	if err != nil {
		return Repository{}, &ReferenceError{Reason: err.Error()}
	}
	path, problem := parsePath(rest)
	if problem != nil {
		return Repository{}, problem
	}
	return Repository{host: host, path: path}, nil
}

// looksLikeHost is the rule by which every registry client tells ghcr.io/app from me/app.
func looksLikeHost(s string) bool {
	return s == "" || strings.ContainsAny(s, ".:[") || strings.EqualFold(s, "localhost")
}

// ParseHost checks a registry's host with its optional port, and returns it in lower case.
func ParseHost(s string) (string, error) {
	name, port, hasPort := cutPort(s)
	if hasPort {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strings.HasPrefix(port, "0") {
			return "", fmt.Errorf("registry host %q has the port %q: want a number from 1 to 65535", clip(s), clip(port))
		}
	}
	name = strings.ToLower(name)
	if bracketed, ok := strings.CutPrefix(name, "["); ok {
		address, err := netip.ParseAddr(strings.TrimSuffix(bracketed, "]"))
		if err != nil || !address.Is6() || !strings.HasSuffix(name, "]") {
			return "", fmt.Errorf("registry host %q is not an IPv6 address in brackets", clip(s))
		}
	} else if !validHost(name) {
		return "", fmt.Errorf("registry host %q is not a host name", clip(s))
	}
	if hasPort {
		name += ":" + port
	}
	if name == "index."+DefaultHost || name == "registry-1."+DefaultHost {
		return DefaultHost, nil
	}
	return name, nil
}

func cutPort(s string) (name, port string, found bool) {
	colon := strings.LastIndex(s, ":")
	if colon < 0 || strings.HasSuffix(s, "]") {
		return s, "", false
	}
	return s[:colon], s[colon+1:], true
}

func validHost(s string) bool {
	return len(s) <= 253 && hostPattern.MatchString(s)
}

func parsePath(path string) (string, *ReferenceError) {
	const most = 255
	if path == "" {
		return "", &ReferenceError{Reason: "names a registry but no repository", Hint: "for example oci://ghcr.io/org/app:1.0.0"}
	}
	if lower := strings.ToLower(path); lower != path {
		return "", &ReferenceError{
			Reason: fmt.Sprintf("repository %q has upper-case letters, which registries don't accept", clip(path)),
			Hint:   fmt.Sprintf("write %q", clip(lower)),
		}
	}
	if len(path) > most {
		return "", &ReferenceError{Reason: fmt.Sprintf("repository has %d characters, more than %d", len(path), most)}
	}
	for part := range strings.SplitSeq(path, "/") {
		switch {
		case part == "":
			return "", &ReferenceError{Reason: fmt.Sprintf("repository %q has an empty part", clip(path))}
		case !pathPattern.MatchString(part):
			return "", &ReferenceError{
				Reason: fmt.Sprintf("repository part %q must be letters and digits, separated by one of . _ __ -", clip(part)),
			}
		}
	}
	return path, nil
}

// CheckTagName says what is wrong with a tag, if anything is.
func CheckTagName(name string) error {
	const most = 128
	switch {
	case name == "":
		return fmt.Errorf("tag is empty")
	case len(name) > most:
		return fmt.Errorf("tag has %d characters, more than %d", len(name), most)
	case !tagPattern.MatchString(name):
		return fmt.Errorf("tag %q must be letters, digits, '.', '_' and '-', and begin with a letter, a digit or '_'", clip(name))
	default:
		return nil
	}
}
