// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// atOnce bounds how many requests a command makes to a registry at the same time.
const atOnce = 8

// ImagesError says which images that an artifact names do not exist.
type ImagesError struct{ Missing []string }

// Error implements error.
func (e *ImagesError) Error() string {
	return "images that are referenced do not exist: " + strings.Join(e.Missing, ", ")
}

// RequireImages asks the registries for images, and says which of them are missing. That it can't be
// told of one is an error of its own.
func RequireImages(ctx context.Context, c *registry.Client, images []string) error {
	missing, errs := make([]bool, len(images)), make([]error, len(images))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, image := range images {
		group.Go(func() error {
			missing[i], errs[i] = isMissing(ctx, c, image)
			return nil
		})
	}
	_ = group.Wait() // each has its own place for errors
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var names []string
	for i, image := range images {
		if missing[i] {
			names = append(names, image)
		}
	}
	if len(names) > 0 {
		return &ImagesError{Missing: names}
	}
	return nil
}

func isMissing(ctx context.Context, c *registry.Client, image string) (bool, error) {
	ref, err := artifact.ParseImage(image)
	if err != nil {
		return false, fmt.Errorf("looking for the image %s: %w", image, err)
	}
	if pinned, ok := ref.Pinned(); ok {
		exists, err := c.Exists(ctx, pinned)
		return !exists, err
	}
	tag, _ := ref.Tag()
	_, err = c.Resolve(ctx, tag)
	if registry.IsNotFound(err) {
		return true, nil
	}
	return false, err
}
