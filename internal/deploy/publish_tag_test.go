// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/deploy"
)

func TestASwapNoticesWhoWasFaster(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	first, other := p.publish(t, "first"), p.publish(t, "other")
	if _, err := deploy.TagArtifact(t.Context(), deploy.TagRequest{Client: p.client, Reference: first.Pinned.Reference(), Names: []string{"latest"}}); err != nil {
		t.Fatal(err)
	}
	// Right after the swap somebody else moves the tag.
	var swapped atomic.Bool
	p.reg.Wrap(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/latest") && swapped.CompareAndSwap(false, true) {
				_, _ = p.client.Tag(r.Context(), other.Pinned, "latest")
			}
		})
	})
	_, err := deploy.Publish(t.Context(), deploy.PublishRequest{
		Client: p.client, Tag: p.tag, Objects: []*unstructured.Unstructured{configMap("mine")},
		Guard: deploy.TagGuard{Expect: first.Pinned.Digest()},
	})
	var guard *deploy.TagGuardError
	if !errors.As(err, &guard) || guard.Current != other.Pinned.Digest() {
		t.Errorf("got %v", err)
	}
}

func TestARefusedTagSendsNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.publish(t, "first")
	requests := p.since(func() {
		_, err := deploy.Publish(t.Context(), deploy.PublishRequest{
			Client: p.client, Tag: p.tag, Objects: []*unstructured.Unstructured{configMap("mine")}, Guard: deploy.TagGuard{NoOverwrite: true},
		})
		var guard *deploy.TagGuardError
		if !errors.As(err, &guard) {
			t.Errorf("got %v", err)
		}
	})
	if diff := cmp.Diff([]string{"HEAD manifests"}, requests); diff != "" {
		t.Error(diff)
	}
}

func TestVersionsOfAnIndexKeepItsChildren(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	got := p.publish(t, "a")
	raw, mediaType, err := p.client.Manifest(t.Context(), got.Pinned)
	if err != nil {
		t.Fatal(err)
	}
	index, err := p.tag.Repository().Tag("index")
	if err != nil {
		t.Fatal(err)
	}
	config := artifact.Blob{Descriptor: artifact.Descriptor{Digest: artifact.DigestOf(nil)}, Open: artifact.BytesOpener(nil)}
	p.pushManifest(t, index, artifact.Manifest{SchemaVersion: 2, MediaType: artifact.MediaTypeIndex, Manifests: []artifact.Descriptor{
		{MediaType: mediaType, Digest: got.Pinned.Digest(), Size: int64(len(raw))},
	}}, config)
	planned, err := deploy.PlanDeletion(t.Context(), deploy.DeleteVersionsRequest{Client: p.client, Repository: p.tag.Repository(), Tags: []string{"latest"}})
	if err != nil || len(planned.Tags) != 1 || len(planned.Digests) != 0 {
		t.Errorf("got %+v, %v", planned, err)
	}
}
