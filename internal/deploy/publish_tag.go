// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"time"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// TagGuard says which moves of a tag are refused. The zero value lets every tag be moved. A registry
// can't compare and set in one step, so what two writers do within the same moment is still the last
// one's; the guard looks before, and with Expect after, and says so.
type TagGuard struct {
	Expect      artifact.Digest // the tag must point to this
	NoOverwrite bool            // the tag must not point to anything else
	OnlyIfNewer bool            // what the tag points to must have been created earlier
}

// TagGuardError says why a tag stays where it is, or that it did not stay where it was put.
type TagGuardError struct {
	Tag     artifact.Tag
	Current artifact.Digest // empty if the tag does not exist
	Wanted  artifact.Digest
	Reason  string
}

// Error implements error.
func (e *TagGuardError) Error() string { return fmt.Sprintf("%s is not moved: %s", e.Tag, e.Reason) }

// TagRequest says which tags are to point to an artifact.
type TagRequest struct {
	Client    *registry.Client
	Reference artifact.Reference
	Names     []string // tags of the same repository
	Guard     TagGuard
}

// TagArtifact lets further tags point to an artifact, which is read once: all of them name the same
// digest, whatever happens to its tag meanwhile.
func TagArtifact(ctx context.Context, req TagRequest) ([]registry.Tagged, error) {
	pinned, err := pin(ctx, req.Client, req.Reference)
	if err != nil {
		return nil, err
	}
	var tags []artifact.Tag
	for _, name := range req.Names {
		tag, err := pinned.Repository().Tag(name)
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
	}
	raw, mediaType, err := req.Client.Manifest(ctx, pinned)
	if err != nil {
		return nil, err
	}
	mover := tagMover{client: req.Client, guard: req.Guard, pinned: pinned}
	if req.Guard.OnlyIfNewer {
		manifest, err := artifact.ParseManifest(raw, mediaType)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", pinned, err)
		}
		mover.created = artifact.CreatedOf(manifest.Annotations)
	}
	if err := mover.look(ctx, tags); err != nil {
		return nil, err
	}
	err = mover.move(ctx, mediaType, raw)
	return mover.done, err
}

// pin resolves a reference to a digest.
func pin(ctx context.Context, c *registry.Client, ref artifact.Reference) (artifact.Pinned, error) {
	got, err := resolve(ctx, FetchRequest{Client: c, Reference: ref})
	return got.Pinned, err
}

// tagMover points tags to an artifact, as far as the guard lets it.
type tagMover struct {
	client  *registry.Client
	guard   TagGuard
	pinned  artifact.Pinned
	created time.Time // of the artifact
	// known is what tags were found to point to already.
	known map[artifact.Tag]artifact.Digest

	left []registry.Tagged // to be moved
	done []registry.Tagged
}

// look reads where the tags point to, and refuses before anything is sent.
func (m *tagMover) look(ctx context.Context, tags []artifact.Tag) error {
	for _, tag := range tags {
		now, known := m.known[tag]
		if !known {
			var err error
			if now, err = m.client.Current(ctx, tag); err != nil {
				return err
			}
		}
		if err := m.check(ctx, tag, now); err != nil {
			return err
		}
		m.left = append(m.left, registry.Tagged{Tag: tag, Pinned: m.pinned, Previous: now})
	}
	if !m.moves() {
		m.done, m.left = m.left, nil
	}
	return nil
}

// moves says whether any of the tags points to something else.
func (m *tagMover) moves() bool {
	for _, t := range m.left {
		if t.Previous != m.pinned.Digest() {
			return true
		}
	}
	return false
}

// move sets the tags. What is guarded is looked at once more right before.
func (m *tagMover) move(ctx context.Context, mediaType string, raw []byte) error {
	for _, t := range m.left {
		if m.guard != (TagGuard{}) {
			now, err := m.client.Current(ctx, t.Tag)
			if err != nil {
				return err
			}
			if now != t.Previous {
				return m.refuse(t.Tag, now, "it was moved to %s meanwhile", orNothing(now))
			}
		}
		if t.Previous != m.pinned.Digest() {
			if err := m.client.Point(ctx, t.Tag, m.pinned.Digest(), mediaType, raw); err != nil {
				return err
			}
			if err := m.confirm(ctx, t.Tag); err != nil {
				return err
			}
		}
		m.done = append(m.done, t)
	}
	m.left = nil
	return nil
}

// confirm looks whether a tag that was swapped stayed where it was put.
func (m *tagMover) confirm(ctx context.Context, tag artifact.Tag) error {
	if m.guard.Expect == "" {
		return nil
	}
	now, err := m.client.Current(ctx, tag)
	if err != nil {
		return err
	}
	if now != m.pinned.Digest() {
		return m.refuse(tag, now, "somebody else moved it to %s at the same time", orNothing(now))
	}
	return nil
}

func (m *tagMover) check(ctx context.Context, tag artifact.Tag, now artifact.Digest) error {
	switch {
	case now == m.pinned.Digest():
		return nil
	case m.guard.Expect != "" && now != m.guard.Expect:
		return m.refuse(tag, now, "it points to %s, expected was %s", orNothing(now), m.guard.Expect)
	case m.guard.NoOverwrite && now != "":
		return m.refuse(tag, now, "it points to %s, and overwriting is off", now)
	case m.guard.OnlyIfNewer:
		return m.checkAge(ctx, tag, now)
	default:
		return nil
	}
}

func (m *tagMover) checkAge(ctx context.Context, tag artifact.Tag, now artifact.Digest) error {
	if m.created.IsZero() {
		return m.refuse(tag, now, "%s does not say when it was created", m.pinned.Digest().Short())
	}
	if now == "" {
		return nil
	}
	raw, mediaType, err := m.client.Manifest(ctx, tag.Repository().At(now))
	if err != nil {
		return err
	}
	manifest, err := artifact.ParseManifest(raw, mediaType)
	if err != nil {
		return fmt.Errorf("reading %s: %w", tag.Repository().At(now), err)
	}
	there := artifact.CreatedOf(manifest.Annotations)
	ours := m.created.UTC().Truncate(time.Second)
	switch {
	case there.IsZero():
		return m.refuse(tag, now, "what it points to, %s, does not say when it was created", now.Short())
	case !ours.After(there):
		return m.refuse(tag, now, "what it points to was created at %s, this at %s", there.Format(time.RFC3339), ours.Format(time.RFC3339))
	default:
		return nil
	}
}

func (m *tagMover) refuse(tag artifact.Tag, now artifact.Digest, format string, args ...any) error {
	return &TagGuardError{Tag: tag, Current: now, Wanted: m.pinned.Digest(), Reason: fmt.Sprintf(format, args...)}
}

func orNothing(d artifact.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.String()
}
