// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// Credential is what is presented to a registry: a name with a password, or one of the tokens. It
// hides itself from everything that prints it.
type Credential struct {
	Username, Password string
	IdentityToken      string // exchanged for a registry token
	RegistryToken      string // sent as it is
}

// IsZero says whether there is nothing to present.
func (c Credential) IsZero() bool { return c == Credential{} }

// String hides the credential.
func (c Credential) String() string { return "[hidden]" }

// GoString hides the credential.
func (c Credential) GoString() string { return "[hidden]" }

// LogValue hides the credential.
func (c Credential) LogValue() slog.Value { return slog.StringValue("[hidden]") }

// Credentials find what to present to a registry.
type Credentials interface {
	// Lookup returns the credential for a repository, or the zero value if there is none.
	Lookup(ctx context.Context, repo artifact.Repository) (Credential, error)
	// Sources says where it looks, in words for a person.
	Sources() []string
}

// CredentialsError says that a place where credentials are kept can't be read. It never holds any.
type CredentialsError struct {
	Source string
	Reason string
	Hint   string
}

// Error names the place and the reason.
func (e *CredentialsError) Error() string { return e.Source + ": " + e.Reason }

// Anonymous has no credentials.
type Anonymous struct{}

// Lookup returns nothing.
func (Anonymous) Lookup(context.Context, artifact.Repository) (Credential, error) {
	return Credential{}, nil
}

// Sources returns nothing.
func (Anonymous) Sources() []string { return nil }

// Static presents the same credential to one host. Other hosts get none.
type Static struct {
	Host       string // of an [artifact.Repository]
	Credential Credential
	Source     string // in words, for example "--creds"
}

// Lookup returns the credential if the host is the right one.
func (s Static) Lookup(_ context.Context, repo artifact.Repository) (Credential, error) {
	if repo.Host() != s.Host {
		return Credential{}, nil
	}
	return s.Credential, nil
}

// Sources returns the given source.
func (s Static) Sources() []string { return []string{s.Source} }

// Secret is the content of a Secret of type kubernetes.io/dockerconfigjson. Credential helpers that
// it names are not run.
type Secret struct {
	entries []secretEntry // those for longer paths first
	source  string
}

type secretEntry struct {
	host, path string // as patterns of path.Match per part
	credential Credential
}

// NewSecret reads the value of a Secret's key .dockerconfigjson. The source names the Secret in words,
// for example "secret flux-system/ghcr-auth".
func NewSecret(dockerConfigJSON []byte, source string) (*Secret, error) {
	var config struct {
		Auths map[string]struct {
			Username      string `json:"username"`
			Password      string `json:"password"`
			Auth          string `json:"auth"`
			IdentityToken string `json:"identitytoken"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
	}
	if err := json.Unmarshal(dockerConfigJSON, &config); err != nil {
		return nil, &CredentialsError{Source: source, Reason: "its .dockerconfigjson is not a Docker configuration in JSON"}
	}
	s := &Secret{source: source}
	for key, auth := range config.Auths {
		c := Credential{Username: auth.Username, Password: auth.Password, IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken}
		if auth.Auth != "" && c.Password == "" {
			var err error
			if c.Username, c.Password, err = decodeAuth(auth.Auth); err != nil {
				return nil, &CredentialsError{Source: source, Reason: fmt.Sprintf("the auth of %q is not base64 of name:password", artifact.OneLine(key))}
			}
		}
		host, at := splitKey(key)
		s.entries = append(s.entries, secretEntry{host: host, path: at, credential: c})
	}
	slices.SortFunc(s.entries, func(a, b secretEntry) int {
		if d := len(b.path) - len(a.path); d != 0 {
			return d
		}
		return strings.Compare(a.host+a.path, b.host+b.path)
	})
	return s, nil
}

func decodeAuth(auth string) (user, password string, err error) {
	raw, err := base64.StdEncoding.DecodeString(auth)
	if err != nil {
		return "", "", err
	}
	user, password, found := strings.Cut(string(raw), ":")
	if !found {
		return "", "", errors.New("no colon")
	}
	return user, strings.Trim(password, "\x00"), nil
}

// splitKey reads the key of an entry: a host, or a URL, with or without a path.
func splitKey(key string) (host, at string) {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, at, _ = strings.Cut(key, "/")
	at = strings.Trim(at, "/")
	if at == "v1" || at == "v2" {
		at = ""
	}
	host = strings.ToLower(host)
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = artifact.DefaultHost
	}
	return host, at
}

// Lookup returns the entry for the longest path that contains the repository.
func (s *Secret) Lookup(_ context.Context, repo artifact.Repository) (Credential, error) {
	for _, e := range s.entries {
		if matchHost(e.host, repo.Host()) && within(e.path, repo.Path()) {
			return e.credential, nil
		}
	}
	return Credential{}, nil
}

// Sources returns the Secret's name, and the hosts that it has entries for.
func (s *Secret) Sources() []string {
	hosts := []string{}
	for _, e := range s.entries {
		hosts = append(hosts, artifact.OneLine(e.host))
	}
	slices.Sort(hosts)
	if len(hosts) == 0 {
		return []string{s.source + " (no entries)"}
	}
	return []string{fmt.Sprintf("%s (entries for %s)", s.source, strings.Join(slices.Compact(hosts), ", "))}
}

// matchHost compares hosts part by part, so that *.example.com has as many parts as what it matches.
func matchHost(pattern, host string) bool {
	want, got := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], got[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

func within(dir, at string) bool {
	return dir == "" || at == dir || strings.HasPrefix(at, dir+"/")
}

// NewBasicSecret reads a Secret's username and password, for one host.
func NewBasicSecret(host, user, password, source string) Credentials {
	return Static{Host: host, Credential: Credential{Username: user, Password: password}, Source: source}
}
