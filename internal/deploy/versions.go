// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sync/errgroup"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// VersionFilter says which tags of a repository are meant. The zero value means all but those that
// belong to other artifacts, such as signatures.
type VersionFilter struct {
	SemVer *semver.Constraints // tags that are versions in a range; nil for any
	Regex  *regexp.Regexp      // tags that match; nil for any
}

// Version is a tag and what it points to.
type Version struct {
	Tag         artifact.Tag
	Digest      artifact.Digest
	MediaType   string
	Size        int64 // of all layers; zero for an index
	Created     time.Time
	Annotations map[string]string
	children    []artifact.Digest // of an index
}

// Versions lists the tags of a repository with what they point to. With a range of versions the newest
// comes first, else they are in descending order of their names.
func Versions(ctx context.Context, c *registry.Client, repo artifact.Repository, filter VersionFilter) ([]Version, error) {
	names, err := c.Tags(ctx, repo)
	if err != nil {
		return nil, err
	}
	return readVersions(ctx, c, repo, filter.apply(names))
}

// apply keeps the tags that are meant, in order.
func (f VersionFilter) apply(names []string) []string {
	versions := map[string]*semver.Version{}
	kept := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		if artifact.IsCompanionTag(name) || f.Regex != nil && !f.Regex.MatchString(name) {
			return true
		}
		if f.SemVer == nil {
			return false
		}
		v, err := semver.NewVersion(name)
		versions[name] = v
		return err != nil || !f.SemVer.Check(v)
	})
	slices.SortFunc(kept, func(a, b string) int {
		if f.SemVer != nil {
			return cmp.Or(versions[b].Compare(versions[a]), strings.Compare(b, a))
		}
		return strings.Compare(b, a)
	})
	return slices.Compact(kept)
}

// readVersions reads what tags point to, several at a time. A tag that goes meanwhile is left out;
// one that can't be read is an error.
func readVersions(ctx context.Context, c *registry.Client, repo artifact.Repository, names []string) ([]Version, error) {
	found := make([]*Version, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, name := range names {
		group.Go(func() error {
			tag, err := repo.Tag(name)
			if err != nil {
				return fmt.Errorf("reading the tags of %s: %w", repo, err)
			}
			found[i], err = readVersion(ctx, c, tag)
			if registry.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out := make([]Version, 0, len(found))
	for _, v := range found {
		if v != nil {
			out = append(out, *v)
		}
	}
	return out, nil
}

func readVersion(ctx context.Context, c *registry.Client, tag artifact.Tag) (*Version, error) {
	raw, d, err := c.TagManifest(ctx, tag)
	if err != nil {
		return nil, err
	}
	v := &Version{Tag: tag, Digest: d.Digest, MediaType: d.MediaType}
	manifest, err := artifact.ParseManifest(raw, d.MediaType)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", tag, err)
	}
	v.MediaType, v.Annotations, v.Created = manifest.MediaType, manifest.Annotations, artifact.CreatedOf(manifest.Annotations)
	for _, layer := range manifest.Layers {
		v.Size += layer.Size
	}
	for _, child := range manifest.Manifests {
		v.children = append(v.children, child.Digest)
	}
	return v, nil
}

// DeleteVersionsRequest says which tags of a repository are to go: some by name, or all that a filter
// means but the newest few.
type DeleteVersionsRequest struct {
	Client     *registry.Client
	Repository artifact.Repository
	Tags       []string
	Keep       int // newest ones to keep; where it is not zero, Tags must be empty
	Filter     VersionFilter
}

// VersionsToDelete is what a deletion takes.
type VersionsToDelete struct {
	Repository artifact.Repository
	Tags       []Version
	Digests    []artifact.Digest // that no tag is left to point to: they are removed as well
	Companions []string          // tags of their signatures and the like, as far as they are there
}

// UndatedError says that the age of versions can't be told.
type UndatedError struct{ Tags []string }

// Error implements error.
func (e *UndatedError) Error() string {
	return "which versions are the newest can't be told: there is no date in " + strings.Join(e.Tags, ", ")
}

// NoTagError says that a repository does not have a tag.
type NoTagError struct {
	Repository artifact.Repository
	Tag        string
}

// Error implements error.
func (e *NoTagError) Error() string { return fmt.Sprintf("%s has no tag %s", e.Repository, e.Tag) }

// PlanDeletion reads all tags of a repository and decides what goes. A digest that a tag points to
// that stays, be it by way of an index, stays too.
func PlanDeletion(ctx context.Context, req DeleteVersionsRequest) (VersionsToDelete, error) {
	names, err := req.Client.Tags(ctx, req.Repository)
	if err != nil {
		return VersionsToDelete{}, err
	}
	all, err := readVersions(ctx, req.Client, req.Repository, VersionFilter{}.apply(names))
	if err != nil {
		return VersionsToDelete{}, err
	}
	doomed, err := req.choose(all)
	if err != nil {
		return VersionsToDelete{}, err
	}
	out := VersionsToDelete{Repository: req.Repository}
	needed := map[artifact.Digest]bool{}
	for _, v := range all {
		if doomed[v.Tag.Name()] {
			out.Tags = append(out.Tags, v)
			continue
		}
		needed[v.Digest] = true
		for _, child := range v.children {
			needed[child] = true
		}
	}
	for _, v := range out.Tags {
		if needed[v.Digest] {
			continue
		}
		needed[v.Digest] = true // once is enough
		out.Digests = append(out.Digests, v.Digest)
		for _, companion := range artifact.CompanionTags(v.Digest) {
			if slices.Contains(names, companion) {
				out.Companions = append(out.Companions, companion)
			}
		}
	}
	return out, nil
}

// choose returns the names of the tags that are to go.
func (r DeleteVersionsRequest) choose(all []Version) (map[string]bool, error) {
	doomed := map[string]bool{}
	if r.Keep == 0 {
		for _, name := range r.Tags {
			if !slices.ContainsFunc(all, func(v Version) bool { return v.Tag.Name() == name }) {
				return nil, &NoTagError{Repository: r.Repository, Tag: name}
			}
			doomed[name] = true
		}
		return doomed, nil
	}
	names := make([]string, 0, len(all))
	byName := map[string]Version{}
	for _, v := range all {
		names, byName[v.Tag.Name()] = append(names, v.Tag.Name()), v
	}
	names = r.Filter.apply(names)
	if r.Filter.SemVer == nil {
		if err := newestFirst(names, byName); err != nil {
			return nil, err
		}
	}
	for _, name := range names[min(r.Keep, len(names)):] {
		doomed[name] = true
	}
	return doomed, nil
}

func newestFirst(names []string, versions map[string]Version) error {
	var undated []string
	for _, name := range names {
		if versions[name].Created.IsZero() {
			undated = append(undated, name)
		}
	}
	if len(undated) > 0 {
		slices.Sort(undated)
		return &UndatedError{Tags: undated}
	}
	slices.SortStableFunc(names, func(a, b string) int { return versions[b].Created.Compare(versions[a].Created) })
	return nil
}

// DeleteVersions does what was planned. Tags go first, so that nothing points to what is removed. Where
// a registry can't remove a tag alone, it goes with its digest if that goes as well. What is returned
// are the tags that are gone, also with an error.
func DeleteVersions(ctx context.Context, c *registry.Client, plan VersionsToDelete) ([]artifact.Tag, error) {
	var gone []artifact.Tag
	for _, v := range plan.Tags {
		now, err := c.Current(ctx, v.Tag)
		if err != nil {
			return gone, err
		}
		if now != "" && now != v.Digest {
			return gone, &TagGuardError{Tag: v.Tag, Current: now, Reason: "it was moved to " + now.String() + " meanwhile, and is left there"}
		}
		if err := c.DeleteTag(ctx, v.Tag); err != nil && !slices.Contains(plan.Digests, v.Digest) {
			return gone, err
		}
		gone = append(gone, v.Tag)
	}
	for _, name := range plan.Companions {
		tag, err := plan.Repository.Tag(name)
		if err != nil {
			return gone, err
		}
		digest, err := c.Current(ctx, tag)
		if err != nil {
			return gone, err
		}
		if digest == "" {
			continue
		}
		if err := c.Delete(ctx, plan.Repository.At(digest)); err != nil {
			return gone, err
		}
		_ = c.DeleteTag(ctx, tag) // gone with its digest, on most registries
	}
	for _, digest := range plan.Digests {
		if err := c.Delete(ctx, plan.Repository.At(digest)); err != nil {
			return gone, err
		}
	}
	return gone, nil
}
