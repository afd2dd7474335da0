// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/registry/cloud"
	"github.com/kustomizer/kustomizer/internal/report"
)

// registryFlags is the group of flags that say how a registry is reached.
type registryFlags struct {
	connectionFlags
	creds    string
	provider providerFlag
}

// AddFlags adds the group to a command.
func (f *registryFlags) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.creds, "creds", "", "credentials for the registry, as USER:PASSWORD; visible to others on this machine, so prefer kustomizer login")
	f.provider.AddFlags(fs, "provider", "the registry")
	f.connectionFlags.AddFlags(fs)
}

// chosen says whether the flags say which credentials to take.
func (f *registryFlags) chosen() bool { return f.creds != "" || f.provider.isCloud() }

// client makes a client for the registry of a repository, with the credentials of the flags or those
// that docker login and kustomizer login keep.
func (f *registryFlags) client(a *app, host string) (*registry.Client, error) {
	credentials, err := f.credentials(a, host)
	if err != nil {
		return nil, err
	}
	if f.creds != "" {
		a.ui.Warn("credentials on the command line are visible to others: prefer %s login", a.program.name())
	}
	return f.connect(a, credentials)
}

func (f *registryFlags) credentials(a *app, host string) (registry.Credentials, error) {
	if err := f.provider.check(host, f.creds != ""); err != nil {
		return nil, err
	}
	if f.provider.isCloud() {
		return cloud.New(f.provider.cloud()), nil
	}
	if f.creds == "" {
		return a.docker(), nil
	}
	user, password, found := strings.Cut(f.creds, ":")
	if !found || user == "" || password == "" {
		return nil, badUsage("", "--creds wants USER:PASSWORD")
	}
	return registry.Static{
		Host: host, Source: "--creds", Credential: registry.Credential{Username: user, Password: password},
	}, nil
}

func (a *app) docker() registry.Docker { return registry.Docker{Getenv: a.getenv} }

func (a *app) userAgent() string { return "kustomizer/" + a.program.Version }

// tagURL reads an argument that must be the reference of a tag.
func tagURL(given string) (artifact.Tag, error) {
	ref, err := artifact.ParseURL(given)
	if err != nil {
		return artifact.Tag{}, err
	}
	tag, ok := ref.Tag()
	if !ok {
		return artifact.Tag{}, badUsage("name one: "+ref.Repository().URL()+":1.0.0", "%q has no tag", given)
	}
	return tag, nil
}

// artifactURL reads an argument that must be the reference of a tag or of a digest.
func artifactURL(given string) (artifact.Reference, error) {
	ref, err := artifact.ParseURL(given)
	if err != nil {
		return artifact.Reference{}, err
	}
	if ref.IsRepository() {
		return artifact.Reference{}, badUsage("name one: "+ref.URL()+":1.0.0", "%q has neither tag nor digest", given)
	}
	return ref, nil
}

// checkTags says which of several tags can't be one.
func checkTags(names []string) error {
	for _, name := range names {
		if err := artifact.CheckTagName(name); err != nil {
			return &report.UsageError{Message: err.Error()}
		}
	}
	return nil
}

// taggedResult is what is printed of a tag with -o.
type taggedResult struct {
	URL      string `json:"url"`
	Tag      string `json:"tag"`
	Digest   string `json:"digest"`
	Previous string `json:"previous,omitempty"`
	Moved    bool   `json:"moved"`
}

func taggedResults(tagged []registry.Tagged) []taggedResult {
	out := []taggedResult{}
	for _, t := range tagged {
		out = append(out, taggedResult{
			URL: t.Tag.URL(), Tag: t.Tag.Name(), Digest: t.Pinned.Digest().String(), Previous: t.Previous.String(), Moved: t.Moved(),
		})
	}
	return out
}

// sayMoved says which tags pointed to something else before.
func (a *app) sayMoved(tagged []registry.Tagged) {
	for _, t := range tagged {
		if t.Moved() {
			a.ui.Note("moved %s from %s to %s", t.Tag.Name(), t.Previous, t.Pinned.Digest())
		}
	}
}
