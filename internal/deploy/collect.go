// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/render"
	"github.com/kustomizer/kustomizer/internal/store"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// Sources says where the objects of a set come from. What is given is taken together, in the order
// of the fields; the patches are applied over all of it, one after another.
type Sources struct {
	Kustomize string               // directory with a kustomization
	Files     []string             // files, directories, and "-" for Stdin
	Artifacts []artifact.Reference // tags or digests
	Patches   []string             // patch files, see [render.Patch]
	Stdin     io.Reader
	Keys      Keys // for artifacts that are encrypted; nil for none
	// Client returns a client for the registry of a host; it is closed when it is not needed any
	// more. It is called only where there are artifacts.
	Client func(host string) (*registry.Client, error)
	Verify *trust.Policy // what is demanded of the artifacts; nil for nothing
}

// Collected is what sources hold.
type Collected struct {
	Objects   []*unstructured.Unstructured // normalised, in the order of [object.Sort]
	Artifacts []artifact.Pinned            // what the artifacts were, in the order in which they were named
	Verified  []*trust.Verified            // by what each of them is trusted; nil where nothing was demanded
	Digest    string                       // of the objects: the same objects have the same one
}

// Collect reads, pulls, builds and patches. An object that is given twice is an error that names
// both places.
func Collect(ctx context.Context, src Sources) (Collected, error) {
	c := collector{seen: map[object.ID]object.Position{}}
	if err := c.local(ctx, src); err != nil {
		return Collected{}, err
	}
	if err := c.pull(ctx, src); err != nil {
		return Collected{}, err
	}
	objs := c.objects
	for _, patch := range src.Patches {
		patched, err := render.Patch(ctx, objs, patch)
		if err != nil {
			return Collected{}, err
		}
		objs = patched
	}
	if err := render.Normalise(objs); err != nil {
		return Collected{}, err
	}
	object.Sort(objs)
	digest, err := digestOf(objs)
	return Collected{Objects: objs, Artifacts: c.artifacts, Verified: c.verified, Digest: digest}, err
}

// digestOf returns the digest of objects in an order. It is made from JSON, which is much quicker
// written than YAML.
func digestOf(objs []*unstructured.Unstructured) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	for _, u := range objs {
		if err := encoder.Encode(u.Object); err != nil {
			return "", fmt.Errorf("encoding %s: %w", object.Of(u), err)
		}
	}
	return artifact.DigestOf(text.Bytes()).String(), nil
}

// collector takes objects together and remembers where each came from.
type collector struct {
	objects   []*unstructured.Unstructured
	artifacts []artifact.Pinned
	verified  []*trust.Verified
	seen      map[object.ID]object.Position
}

func (c *collector) add(u *unstructured.Unstructured, at object.Position) error {
	id := object.Of(u)
	if first, twice := c.seen[id]; twice {
		return &render.BuildError{Position: at, Reason: fmt.Sprintf("%s is there twice: first in %s", id, first)}
	}
	c.seen[id] = at
	c.objects = append(c.objects, u)
	return nil
}

// maxProblems is how many things wrong with what was given are told at once.
const maxProblems = 10

// local takes the kustomization and the files. What is wrong with any of them is told together.
func (c *collector) local(ctx context.Context, src Sources) error {
	var problems []error
	if src.Kustomize != "" {
		objs, err := render.Overlay(ctx, src.Kustomize)
		problems = append(problems, err)
		for _, u := range objs {
			problems = append(problems, c.add(u, object.Position{File: filepath.ToSlash(src.Kustomize)}))
		}
	}
	located, err := render.Filenames(ctx, src.Files, src.Stdin)
	problems = append(problems, err)
	for _, l := range located {
		problems = append(problems, c.add(l.Object, l.Position))
	}
	problems = slices.DeleteFunc(problems, func(err error) bool { return err == nil })
	return errors.Join(problems[:min(len(problems), maxProblems)]...)
}

// pull takes the artifacts: each is resolved once, and everything after that is by digest.
func (c *collector) pull(ctx context.Context, src Sources) error {
	if len(src.Artifacts) == 0 {
		return nil
	}
	work, err := os.MkdirTemp("", "kustomizer-pull-")
	if err != nil {
		return fmt.Errorf("making room for the artifacts: %w", err)
	}
	defer os.RemoveAll(work)
	st, err := store.Open(filepath.Join(work, "blobs"), 0)
	if err != nil {
		return err
	}
	for _, ref := range src.Artifacts {
		if err := c.pullOne(ctx, src, ref, FetchRequest{Store: st, Reference: ref, WorkDir: work, Verify: src.Verify}); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) pullOne(ctx context.Context, src Sources, ref artifact.Reference, req FetchRequest) error {
	client, err := src.Client(ref.Repository().Host())
	if err != nil {
		return err
	}
	defer client.Close()
	req.Client = client
	got, err := Fetch(ctx, req)
	if err != nil {
		return err
	}
	objs, _, err := Render(ctx, req.Store, got.Layer, View{Keys: src.Keys}, req.WorkDir)
	if err != nil {
		return fmt.Errorf("building %s: %w", got.Pinned, err)
	}
	for _, u := range objs {
		if err := c.add(u, object.Position{File: got.Pinned.URL()}); err != nil {
			return err
		}
	}
	c.artifacts = append(c.artifacts, got.Pinned)
	c.verified = append(c.verified, got.Verified)
	return nil
}
