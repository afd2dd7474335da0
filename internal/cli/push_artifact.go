// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/render"
)

func newPushCmd(a *app) *cobra.Command {
	return verb("push", "Publish artifacts", newPushArtifactCmd(a))
}

// pushArtifact is the flags of "push artifact".
type pushArtifact struct {
	registryFlags
	metadataFlags
	output
	kustomize  string
	tags       []string
	allowEmpty bool
}

// pushResult is what is printed with -o. The first fields are Flux's.
type pushResult struct {
	URL        string         `json:"url"`
	Repository string         `json:"repository"`
	Tag        string         `json:"tag"`
	Digest     string         `json:"digest"`
	Sent       bool           `json:"sent"` // false if all of it was there before
	Tags       []taggedResult `json:"tags"`
	Objects    []string       `json:"objects"`
}

func newPushArtifactCmd(a *app) *cobra.Command {
	var f pushArtifact
	cmd := &cobra.Command{
		Use:   "artifact URL",
		Short: "Build manifests and publish them as an artifact",
		Long: "Build a kustomization, publish the objects as an OCI artifact and let a tag point to it. The same content\n" +
			"and the same annotations give the same digest on every machine. A tag that is there is moved.",
		Example: "  kustomizer push artifact oci://ghcr.io/me/app:1.0.0 -k ./deploy\n\n" +
			"  # With where it comes from\n" +
			"  kustomizer push artifact oci://ghcr.io/me/app:1.0.0 -k ./deploy \\\n" +
			"    --source=\"$(git config --get remote.origin.url)\" \\\n" +
			"    --revision=\"$(git branch --show-current)/$(git rev-parse HEAD)\"\n\n" +
			"  # Under a second tag, with the digest for a script\n" +
			"  kustomizer push artifact oci://ghcr.io/me/app:1.0.0 -k ./deploy --tag=latest -o json",
		Args: positional("URL"),
	}
	f.AddFlags(cmd)
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		tag, meta, err := f.check(a, cmd, args[0])
		if err != nil {
			return err
		}
		client, err := f.client(a, tag.Repository().Host())
		if err != nil {
			return err
		}
		defer client.Close()
		objs, err := f.build(ctx, a)
		if err != nil {
			return err
		}
		a.ui.Note("pushing image %s", tag)
		got, err := deploy.Publish(ctx, deploy.PublishRequest{
			Client: client, Tag: tag, MoreTags: f.tags, Objects: objs, Metadata: meta, AllowEmpty: f.allowEmpty,
		})
		if err != nil {
			a.sayMoved(got.Tags)
			return err
		}
		return f.say(a, tag, objs, got)
	})
	return cmd
}

// AddFlags adds the command's flags.
func (f *pushArtifact) AddFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.registryFlags.AddFlags(fs)
	f.metadataFlags.AddFlags(fs)
	f.output.AddFlags(cmd, "", formatJSON, formatYAML)
	fs.StringVarP(&f.kustomize, "kustomize", "k", "", "directory with a kustomization.yaml (required)")
	fs.StringSliceVar(&f.tags, "tag", nil, "further tags that are to point to the artifact")
	fs.BoolVar(&f.allowEmpty, "allow-empty", false, "publish also if there are no objects")
}

// check looks at all that was given before anything is built or sent.
func (f *pushArtifact) check(a *app, cmd *cobra.Command, given string) (artifact.Tag, artifact.Metadata, error) {
	tag, err := tagURL(given)
	if err == nil {
		err = requireFlags(cmd, "kustomize")
	}
	if err == nil {
		err = f.output.check()
	}
	if err == nil {
		err = checkTags(f.tags)
	}
	if err != nil {
		return artifact.Tag{}, artifact.Metadata{}, err
	}
	meta, err := f.metadata(a.getenv)
	return tag, meta, err
}

// build renders the objects and lists them.
func (f *pushArtifact) build(ctx context.Context, a *app) ([]*unstructured.Unstructured, error) {
	a.ui.Note("building manifests...")
	objs, err := render.Overlay(ctx, f.kustomize)
	if err != nil {
		return nil, err
	}
	if !f.structured() {
		for _, u := range objs {
			a.ui.Result("%s", object.Of(u))
		}
	}
	return objs, nil
}

func (f *pushArtifact) say(a *app, tag artifact.Tag, objs []*unstructured.Unstructured, got deploy.Published) error {
	a.ui.Note("published digest %s", got.Pinned)
	if !got.Sent {
		a.ui.Note("nothing was sent: the registry has all of it")
	}
	a.sayMoved(got.Tags)
	if !f.structured() {
		return nil
	}
	result := pushResult{
		URL: got.Pinned.URL(), Repository: tag.Repository().String(), Tag: tag.Name(),
		Digest: got.Pinned.Digest().String(), Sent: got.Sent, Tags: taggedResults(got.Tags), Objects: []string{},
	}
	for _, u := range objs {
		result.Objects = append(result.Objects, object.Of(u).String())
	}
	return a.print(f.output, result)
}

// metadataFlags is the group of flags that say what an artifact is made from.
type metadataFlags struct {
	source, revision, created string
	annotations               []string
}

// AddFlags adds the group to a command.
func (f *metadataFlags) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.source, "source", "", "URL of where the manifests come from; credentials in it are left out")
	fs.StringVar(&f.revision, "revision", "", "what they come from there, such as main@sha1:<commit>")
	fs.StringVar(&f.created, "created", "", "when it was made, as 2006-01-02T15:04:05Z (env SOURCE_DATE_EPOCH); left out by default")
	fs.StringArrayVarP(&f.annotations, "annotations", "a", nil, "further annotations, as key=value")
}

func (f *metadataFlags) metadata(getenv func(string) string) (artifact.Metadata, error) {
	meta := artifact.Metadata{Source: withoutUserinfo(f.source), Revision: f.revision, Annotations: map[string]string{}}
	for _, given := range f.annotations {
		key, value, found := strings.Cut(given, "=")
		if !found || key == "" {
			return meta, badUsage("", "--annotations %q is not key=value", given)
		}
		meta.Annotations[key] = value
	}
	var err error
	meta.Created, err = createdAt(f.created, getenv("SOURCE_DATE_EPOCH"))
	return meta, err
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
