// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newObject(gvk schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u
}

// readOCIRepository gets an OCIRepository as the server has it, and as a typed object.
func readOCIRepository(ctx context.Context, c client.Reader, key types.NamespacedName) (*sourcev1.OCIRepository, *unstructured.Unstructured, error) {
	raw := newObject(sourcev1.GroupVersion.WithKind(sourcev1.OCIRepositoryKind))
	if err := c.Get(ctx, key, raw); err != nil {
		return nil, nil, err
	}
	repo := &sourcev1.OCIRepository{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, repo); err != nil {
		return nil, nil, fmt.Errorf("decoding OCIRepository %s: %w", key, err)
	}
	return repo, raw, nil
}

// shortestInterval bounds how often anything is looked at again by itself. What the definitions allow
// as an interval includes none at all, which would mean never.
const shortestInterval = time.Second

func intervalOf(d metav1.Duration) time.Duration { return max(d.Duration, shortestInterval) }

// jitter spreads what would otherwise come at the same time: a percentage by which an interval is
// made longer or shorter at random.
type jitter struct{ percent int }

func (j jitter) of(d time.Duration) time.Duration {
	if j.percent <= 0 || d <= 0 {
		return d
	}
	span := float64(d) * float64(j.percent) / 100
	return d + time.Duration((rand.Float64()*2-1)*span) //nolint:gosec // spreads load; nobody gains from guessing it
}
