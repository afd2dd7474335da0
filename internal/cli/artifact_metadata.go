// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// metadataFlags is the group of flags that say what an artifact is made from.
type metadataFlags struct {
	source, revision, created string
	annotations               []string
	git, reproducible         bool
}

// AddFlags adds the group to a command.
func (f *metadataFlags) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.source, "source", "", "URL of where the content comes from, by default the Git repository's; credentials in it are left out")
	fs.StringVar(&f.revision, "revision", "", "what it comes from there, by default <branch>@sha1:<commit>")
	fs.StringVar(&f.created, "created", "", "when it was made, as 2006-01-02T15:04:05Z (env SOURCE_DATE_EPOCH), by default the date of the commit")
	fs.BoolVar(&f.git, "git-metadata", true, "take source, revision and created from the Git repository or the CI system where they are not given")
	fs.BoolVar(&f.reproducible, "reproducible", false, "say that it was made in 1970, as Flux does; without it the same commit gives the same digest as well")
	fs.StringArrayVarP(&f.annotations, "annotations", "a", nil, "further annotations, as key=value")
}

// metadata returns what is said about an artifact: what was given, and for the rest what can be told of
// the place that the content is in.
func (f *metadataFlags) metadata(getenv func(string) string, place string) (artifact.Metadata, error) {
	meta := artifact.Metadata{Annotations: map[string]string{}}
	for _, given := range f.annotations {
		key, value, found := strings.Cut(given, "=")
		if !found || key == "" {
			return meta, badUsage("", "--annotations %q is not key=value", given)
		}
		meta.Annotations[key] = value
	}
	created, err := createdAt(f.created, getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return meta, err
	}
	found, err := f.discover(place, getenv)
	if err != nil {
		return meta, err
	}
	meta.Source = withoutUserinfo(cmp.Or(f.source, found.source))
	meta.Revision = cmp.Or(f.revision, found.revision)
	switch {
	case !created.IsZero():
		meta.Created = created
	case f.reproducible:
		meta.Created = time.Unix(0, 0)
	default:
		meta.Created = found.created
	}
	return meta, nil
}

// createdAt reads a time from the flag, or from the variable that reproducible builds agree on.
func createdAt(flag, epoch string) (time.Time, error) {
	switch cmp.Or(flag, epoch) {
	case "":
		return time.Time{}, nil
	case flag:
		at, err := time.Parse(time.RFC3339, flag)
		if err != nil {
			return time.Time{}, badUsage("for example --created=2006-01-02T15:04:05Z", "--created %q is not a time", flag)
		}
		return at, nil
	default:
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return time.Time{}, badUsage("", "the environment's SOURCE_DATE_EPOCH %q is not a number of seconds", epoch)
		}
		return time.Unix(seconds, 0), nil
	}
}

// withoutUserinfo leaves name and password out of a URL. What is no URL stays as it is, as does the
// name in git@example.com:org/repo.
func withoutUserinfo(source string) string {
	u, err := url.Parse(source)
	if err == nil && u.User != nil {
		u.User = nil
		return u.String()
	}
	if scheme, rest, found := strings.Cut(source, "://"); found && err != nil {
		_, after, hasUser := strings.Cut(rest, "@")
		if hasUser {
			return scheme + "://" + after
		}
	}
	return source
}
