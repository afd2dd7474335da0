// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/render"
	"github.com/kustomizer/kustomizer/internal/store"
)

// View says what of an artifact is looked at, and how.
type View struct {
	Path            string // directory in the artifact
	TargetNamespace string
	Keys            Keys // for an artifact that is encrypted; nil for none
}

// Render unpacks a stored layer into a directory of its own below work, renders the view of it and
// removes it again. The second result says why there are no objects, where there are none.
func Render(ctx context.Context, st *store.Store, layer artifact.Descriptor, view View, work string) ([]*unstructured.Unstructured, string, error) {
	dir, err := os.MkdirTemp(work, "tree-")
	if err != nil {
		return nil, "", fmt.Errorf("making room for the artifact's files: %w", err)
	}
	defer os.RemoveAll(dir)
	tree, err := openFiles(ctx, st, layer, view.Keys, dir)
	if err != nil {
		return nil, "", err
	}
	defer tree.close()
	result, err := render.Tree(ctx, render.Request{Files: tree.files, Path: view.Path, TargetNamespace: view.TargetNamespace})
	if err != nil {
		return nil, "", err
	}
	if len(result.Objects) == 0 {
		return nil, result.Empty.String(), nil
	}
	return result.Objects, "", nil
}
