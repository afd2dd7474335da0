// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/kustomizer/kustomizer/internal/cluster"
)

const (
	rocketsV1         = "/apis/space.test/v1/namespaces/shop/rockets"
	rocketsV2         = "/apis/space.test/v2/namespaces/shop/rockets"
	rocketsDefinition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rockets.space.test"
)

// storage answers some paths with objects, and leaves the rest to discovery.
type storage struct {
	*server
	objects map[string]any
}

func (s storage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v, ok := s.objects[r.URL.Path]; ok {
		answer(w, v)
		return
	}
	s.server.ServeHTTP(w, r)
}

// What is looked through may have changed since it was discovered.
func TestLookThroughAKindThatChanges(t *testing.T) {
	t.Parallel()
	one := metav1.PartialObjectMetadataList{Items: []metav1.PartialObjectMetadata{{ObjectMeta: metav1.ObjectMeta{Name: "one"}}}}
	cases := map[string]struct {
		change  func(*server)
		objects map[string]any
		seen    int
		unknown bool // the list ends with the server's "not found"
	}{
		"nothing happens": {func(*server) {}, map[string]any{rocketsV1: one}, 1, false},
		"it is gone": {func(s *server) {
			s.drop(spaceV1)
			s.drop(spaceV2)
		}, nil, 0, false},
		"it is served at another version": {func(s *server) { s.drop(spaceV1) }, map[string]any{rocketsV2: one}, 1, false},
		"its definition is still there": {func(s *server) {
			s.drop(spaceV1)
			s.drop(spaceV2)
		}, map[string]any{rocketsDefinition: metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "rockets.space.test"}}}, 0, true},
		"it is still discovered": {func(*server) {}, nil, 0, true},
		"discovery is down": {func(s *server) {
			s.drop(spaceV1)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.broken[spaceV2] = true
		}, nil, 0, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{kinds: map[schema.GroupVersion][]string{}, broken: map[schema.GroupVersion]bool{}}
			s.serve(schema.GroupVersion{Group: "apiextensions.k8s.io", Version: "v1"}, "CustomResourceDefinition")
			s.serve(spaceV2, "Rocket")
			s.serve(spaceV1, "Rocket")
			web := httptest.NewServer(storage{s, tc.objects})
			t.Cleanup(web.Close)
			c := connect(t, &rest.Config{Host: web.URL})
			res, err := c.Resolve(t.Context(), spaceV1.WithKind("Rocket").GroupKind(), "v1")
			if err != nil {
				t.Fatal(err)
			}
			tc.change(s)
			seen := 0
			err = c.LookThrough(t.Context(), res, cluster.Selection{Namespace: "shop"}, func(*metav1.ObjectMeta) { seen++ })
			if seen != tc.seen || apierrors.IsNotFound(err) != tc.unknown || err != nil && !tc.unknown {
				t.Errorf("seen were %d, and it ended with %v", seen, err)
			}
		})
	}
}

// Who waits for discovery to notice gives up with the context.
func TestLookThroughEndsWithItsContext(t *testing.T) {
	t.Parallel()
	_, c := newServer(t)
	res, err := c.Resolve(t.Context(), spaceV1.WithKind("Rocket").GroupKind(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("enough"))
	defer cancel()
	err = c.LookThrough(ctx, res, cluster.Selection{Namespace: "shop"}, func(*metav1.ObjectMeta) {})
	if err == nil || ctx.Err() == nil {
		t.Errorf("it ended with %v", err)
	}
}
