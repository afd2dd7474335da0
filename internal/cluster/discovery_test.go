// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
)

// server answers discovery as an API server without aggregated discovery does.
type server struct {
	mu       sync.Mutex
	kinds    map[schema.GroupVersion][]string // served, the preferred version of a group first
	order    []schema.GroupVersion
	broken   map[schema.GroupVersion]bool
	down     bool
	requests int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.down {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	switch r.URL.Path {
	case "/api":
		answer(w, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case "/apis":
		answer(w, s.groups())
	default:
		s.kindsOf(w, strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/apis/"), "/api/"))
	}
}

func (s *server) groups() metav1.APIGroupList {
	out := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for _, gv := range s.order {
		if gv.Group == "" {
			continue
		}
		i := slices.IndexFunc(out.Groups, func(g metav1.APIGroup) bool { return g.Name == gv.Group })
		version := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
		if i < 0 {
			out.Groups = append(out.Groups, metav1.APIGroup{Name: gv.Group, PreferredVersion: version})
			i = len(out.Groups) - 1
		}
		out.Groups[i].Versions = append(out.Groups[i].Versions, version)
	}
	return out
}

func (s *server) kindsOf(w http.ResponseWriter, path string) {
	gv, err := schema.ParseGroupVersion(path)
	kinds, served := s.kinds[gv]
	if err != nil || !served {
		http.NotFound(w, nil)
		return
	}
	if s.broken[gv] {
		http.Error(w, "the backend is away", http.StatusServiceUnavailable)
		return
	}
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	for _, kind := range kinds {
		plural := strings.ToLower(kind) + "s"
		list.APIResources = append(list.APIResources,
			metav1.APIResource{Name: plural, Kind: kind, Namespaced: kind != "Planet", Verbs: []string{"get", "list", "watch", "delete"}},
			metav1.APIResource{Name: plural + "/status", Kind: kind, Verbs: []string{"get"}})
	}
	answer(w, list)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client sees a short answer
}

func (s *server) serve(gv schema.GroupVersion, kinds ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[gv] = kinds
	s.order = append(s.order, gv)
}

func (s *server) drop(gv schema.GroupVersion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kinds, gv)
	s.order = slices.DeleteFunc(s.order, func(other schema.GroupVersion) bool { return other == gv })
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

var (
	coreV1   = schema.GroupVersion{Version: "v1"}
	spaceV1  = schema.GroupVersion{Group: "space.test", Version: "v1"}
	spaceV2  = schema.GroupVersion{Group: "space.test", Version: "v2"}
	brokenV1 = schema.GroupVersion{Group: "broken.test", Version: "v1"}
)

func newServer(t *testing.T) (*server, *cluster.Cluster) {
	t.Helper()
	s := &server{kinds: map[schema.GroupVersion][]string{}, broken: map[schema.GroupVersion]bool{brokenV1: true}}
	s.serve(coreV1, "ConfigMap")
	s.serve(spaceV2, "Rocket", "Planet")
	s.serve(spaceV1, "Rocket")
	s.serve(brokenV1, "Thing")
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return s, connect(t, &rest.Config{Host: web.URL})
}

func connect(t *testing.T, config *rest.Config) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Connect(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestResolve(t *testing.T) {
	t.Parallel()
	_, c := newServer(t)
	cases := map[string]struct {
		kind    schema.GroupVersionKind
		want    string // version, resource, scope
		exactly string // the same at exactly the version, or the code of the cause
	}{
		"the wanted version":          {spaceV1.WithKind("Rocket"), "v1 rockets true", "v1 rockets true"},
		"the preferred version":       {schema.GroupVersionKind{Group: "space.test", Kind: "Rocket"}, "v2 rockets true", "KindMissing"},
		"a version that is gone":      {schema.GroupVersionKind{Group: "space.test", Version: "v0", Kind: "Rocket"}, "v2 rockets true", "KindMissing"},
		"a kind of the whole cluster": {spaceV2.WithKind("Planet"), "v2 planets false", "v2 planets false"},
		"a kind of the core":          {coreV1.WithKind("ConfigMap"), "v1 configmaps true", "v1 configmaps true"},
		"a kind that is missing":      {spaceV1.WithKind("Station"), "KindMissing", "KindMissing"},
		"a group that is missing":     {schema.GroupVersionKind{Group: "nowhere.test", Version: "v1", Kind: "Thing"}, "KindMissing", "KindMissing"},
		"a group that is broken":      {brokenV1.WithKind("Thing"), "DiscoveryFailed", "DiscoveryFailed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, describe(c.Resolve(t.Context(), tc.kind.GroupKind(), tc.kind.Version))); diff != "" {
				t.Errorf("resolved (-want +got):\n%s", diff)
			}
			got := c.ResolveAll(t.Context(), []schema.GroupVersionKind{tc.kind})[tc.kind]
			if diff := cmp.Diff(tc.exactly, describe(got.Resource, got.Err)); diff != "" {
				t.Errorf("resolved exactly (-want +got):\n%s", diff)
			}
		})
	}
}

func describe(res cluster.Resource, err error) string {
	if err != nil {
		var kind *cluster.KindError
		var disc *cluster.DiscoveryError
		switch {
		case errors.As(err, &kind):
			return string(cause.KindMissing)
		case errors.As(err, &disc):
			return string(cause.DiscoveryFailed)
		}
		return err.Error()
	}
	scope := "false"
	if res.Namespaced {
		scope = "true"
	}
	return res.Version + " " + res.Resource + " " + scope
}

func TestDiscoveryIsAskedAsSeldomAsCanBe(t *testing.T) {
	t.Parallel()
	s, c := newServer(t)
	resolve := func(kinds ...schema.GroupVersionKind) int {
		t.Helper()
		before := s.count()
		c.ResolveAll(t.Context(), kinds)
		return s.count() - before
	}
	once := resolve(coreV1.WithKind("ConfigMap"))
	if once == 0 {
		t.Fatal("discovery was not asked at all")
	}
	if n := resolve(coreV1.WithKind("ConfigMap"), spaceV1.WithKind("Rocket")); n != 0 {
		t.Errorf("%d requests for what is known", n)
	}
	if n := resolve(spaceV1.WithKind("A"), spaceV1.WithKind("B"), spaceV2.WithKind("C")); n != once {
		t.Errorf("%d requests for three unknown kinds, want %d", n, once)
	}
}

func TestNewKindsAreFound(t *testing.T) {
	t.Parallel()
	s, c := newServer(t)
	station := spaceV2.WithKind("Station")
	if _, err := c.Resolve(t.Context(), station.GroupKind(), "v2"); describe(cluster.Resource{}, err) != "KindMissing" {
		t.Fatalf("error: %v", err)
	}
	s.serve(spaceV2, "Rocket", "Planet", "Station")
	if _, err := c.Resolve(t.Context(), station.GroupKind(), "v2"); err != nil {
		t.Errorf("a kind that was missing: %v", err)
	}
	v3 := schema.GroupVersion{Group: "space.test", Version: "v3"}
	s.serve(v3, "Rocket")
	if got := c.ResolveAll(t.Context(), []schema.GroupVersionKind{v3.WithKind("Rocket")}); got[v3.WithKind("Rocket")].Err != nil {
		t.Errorf("a new version of a known kind: %v", got)
	}
}

func TestServerThatIsAwayHasNoMissingKinds(t *testing.T) {
	t.Parallel()
	s, c := newServer(t)
	s.mu.Lock()
	s.down = true
	s.mu.Unlock()
	_, err := c.Resolve(t.Context(), spaceV1.WithKind("Rocket").GroupKind(), "v1")
	if got := describe(cluster.Resource{}, err); got != "DiscoveryFailed" {
		t.Errorf("resolved: %s", got)
	}
	if got := cluster.CauseOf(err).Code; got != cause.ServerUnavailable {
		t.Errorf("cause %s", got)
	}
	if _, _, err := c.Kinds(t.Context()); err == nil {
		t.Error("kinds of a server that is away")
	}
}

// A definition that is deleted leaves a path that the server answers with 404, which is not "the
// object does not exist yet".
func TestApplyToAKindThatIsGone(t *testing.T) {
	t.Parallel()
	s, c := newServer(t)
	rocket := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "space.test/v1", "kind": "Rocket", "metadata": map[string]any{"name": "one", "namespace": "shop"},
	}}
	if _, err := c.Resolve(t.Context(), spaceV1.WithKind("Rocket").GroupKind(), "v1"); err != nil {
		t.Fatal(err)
	}
	s.drop(spaceV1)
	_, err := c.Apply(t.Context(), rocket, cluster.ApplyOptions{Manager: "test"})
	if got := describe(cluster.Resource{}, err); got != "KindMissing" {
		t.Errorf("applied: %s (%v)", got, err)
	}
	if apierrors.IsNotFound(err) {
		t.Error("it counts as not found")
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	_, c := newServer(t)
	kinds, failed, err := c.Kinds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, res := range kinds {
		got[res.GroupResource().String()+" "+res.Version] = true
	}
	want := []string{"configmaps v1", "planets.space.test v2", "rockets.space.test v2"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"broken.test"}, failed); diff != "" {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
}
