// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/render"
	"github.com/kustomizer/kustomizer/internal/store"
)

// Compare lists what differs between two sets of objects, in the order of [object.Sort]: objects that
// are only in the second are created, those only in the first are deleted. The values of Secrets are
// masked, so that another value has another mask.
func Compare(before, after []*unstructured.Unstructured) []Difference {
	old, wanted := byID(before), byID(after)
	var ids []object.ID
	for id := range old {
		ids = append(ids, id)
	}
	for id := range wanted {
		if old[id] == nil {
			ids = append(ids, id)
		}
	}
	object.SortIDs(ids)
	var out []Difference
	for _, id := range slices.Compact(ids) {
		x, y := maskSecret(old[id], wanted[id])
		d := Difference{ID: id, Action: plan.Configure, Before: plan.Manifest(x), After: plan.Manifest(y)}
		switch {
		case x == nil:
			d.Action = plan.Create
		case y == nil:
			d.Action = plan.Delete
		default:
			d.Fields = plan.FieldChanges(x, y, "")
			if len(d.Fields) == 0 {
				continue
			}
		}
		out = append(out, d)
	}
	return out
}

func byID(objs []*unstructured.Unstructured) map[object.ID]*unstructured.Unstructured {
	out := make(map[object.ID]*unstructured.Unstructured, len(objs))
	for _, u := range objs {
		out[object.Of(u)] = u
	}
	return out
}

// ArtifactObjects returns the objects of an artifact, built as the agent builds them.
func ArtifactObjects(ctx context.Context, req PullRequest) ([]*unstructured.Unstructured, error) {
	work, err := os.MkdirTemp("", "kustomizer-pull-")
	if err != nil {
		return nil, fmt.Errorf("making room for the artifact: %w", err)
	}
	defer os.RemoveAll(work)
	st, err := store.Open(filepath.Join(work, "blobs"), 0)
	if err != nil {
		return nil, err
	}
	got, err := Fetch(ctx, FetchRequest{
		Client: req.Client, Store: st, Reference: req.Reference, LayerMediaType: req.LayerMediaType, WorkDir: work, Verify: req.Verify,
	})
	if err != nil {
		return nil, err
	}
	objs, _, err := Render(ctx, st, got.Layer, View{Keys: req.Keys}, work)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", got.Pinned, err)
	}
	return objs, nil
}

// TreeObjects returns the objects of a directory, built as the agent would build them if it were
// published. Work is an empty directory.
func TreeObjects(ctx context.Context, tree artifact.Tree, work string) ([]*unstructured.Unstructured, error) {
	packed, _, err := artifact.PackTree(ctx, tree, artifact.Metadata{}, artifact.PackOptions{}, work)
	if err != nil {
		return nil, err
	}
	layer, err := packed.Layers[0].Open()
	if err != nil {
		return nil, fmt.Errorf("reading the packed files: %w", err)
	}
	defer layer.Close()
	dir := filepath.Join(work, "tree")
	if _, err := artifact.Extract(ctx, layer, packed.Layers[0].MediaType, dir, tree.Limits); err != nil {
		return nil, err
	}
	result, err := render.Tree(ctx, render.Request{Root: dir})
	if err != nil {
		return nil, err
	}
	return result.Objects, nil
}
