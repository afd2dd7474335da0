// SPDX-License-Identifier: Apache-2.0

package render

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// isRemoteFile reports whether kustomize would download a file of that name.
func isRemoteFile(path string) bool {
	u, err := url.Parse(path)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// isRemote reports whether kustomize would download a file of that name or clone a repository. It
// answers yes for everything that kustomize loads from elsewhere, whether or not there is a local file
// of that name, and for a few spellings that are no more than suspicious.
func isRemote(path string) bool {
	lower := strings.ToLower(path)
	prefixes := []string{"http://", "https://", "ssh://", "file://", "git::", "gh:", "github.com/", "github.com:"}
	return isRemoteFile(path) || scpStyle().MatchString(path) ||
		slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(lower, p) })
}

// scpStyle matches user@host:path and user@host/path.
func scpStyle() *regexp.Regexp { return regexp.MustCompile(`(?s)^[a-zA-Z][a-zA-Z0-9-]*@.*[:/]`) }

// withoutCredentials removes user, password and query from a URL.
func withoutCredentials(source string) string {
	source, _, _ = strings.Cut(source, "?")
	scheme, rest, found := strings.Cut(source, "://")
	if !found {
		return source
	}
	host, path, slash := strings.Cut(rest, "/")
	host = host[strings.LastIndex(host, "@")+1:]
	if slash {
		host += "/"
	}
	return scheme + "://" + host + path
}
