// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"

	"github.com/kustomizer/kustomizer/internal/cluster"
)

// fakeServer is as much of an API server as lists, watches and reads need. It counts requests as
// "verb resource", and keeps every event, so that a watch can begin at any resource version.
type fakeServer struct {
	t *testing.T

	mu        sync.Mutex
	version   int
	objects   map[string]map[string]any // by path
	events    []fakeEvent
	news      chan struct{} // closed and replaced at each event
	counts    map[string]int
	forbidden map[string]bool // "verb resource"
	cut       chan struct{}   // closed and replaced to end all watches
}

type fakeEvent struct {
	version    int
	collection string
	line       []byte
	labels     labels.Set
}

func serve(t *testing.T) (*fakeServer, *cluster.Cluster) {
	t.Helper()
	f := &fakeServer{
		t: t, version: 100, objects: map[string]map[string]any{}, news: make(chan struct{}), cut: make(chan struct{}),
		counts: map[string]int{}, forbidden: map[string]bool{},
	}
	server := httptest.NewServer(http.HandlerFunc(f.handle))
	t.Cleanup(server.Close)
	c, err := cluster.Connect(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return f, c
}

func (f *fakeServer) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[what]
}

func (f *fakeServer) forbid(what ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range what {
		f.forbidden[w] = true
	}
}

// put stores an object, written in JSON without a resourceVersion, under its collection's path.
func (f *fakeServer) put(collection, object string) {
	var u map[string]any
	if err := json.Unmarshal([]byte(object), &u); err != nil {
		f.t.Errorf("%s: %v", object, err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	path := f.path(collection, u)
	kind := "MODIFIED"
	if f.objects[path] == nil {
		kind = "ADDED"
	}
	f.objects[path] = u
	f.event(kind, collection, u)
}

// remove removes an object. Where only its label is gone, a watch can't tell the difference.
func (f *fakeServer) remove(collection, namespace, name string, reallyGone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := f.path(collection, map[string]any{"metadata": map[string]any{"namespace": namespace, "name": name}})
	u := f.objects[path]
	f.event("DELETED", collection, u)
	if reallyGone {
		delete(f.objects, path)
		return
	}
	delete(metadata(u), "labels")
}

func (f *fakeServer) cutWatches() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.cut)
	f.cut = make(chan struct{})
}

func metadata(u map[string]any) map[string]any { m, _ := u["metadata"].(map[string]any); return m }

func labelsOf(u map[string]any) labels.Set {
	out := labels.Set{}
	found, _ := metadata(u)["labels"].(map[string]any)
	for k, v := range found {
		out[k], _ = v.(string)
	}
	return out
}

// path inserts the namespace before the resource.
func (f *fakeServer) path(collection string, u map[string]any) string {
	m := metadata(u)
	i := strings.LastIndex(collection, "/")
	return fmt.Sprintf("%s/namespaces/%s%s/%s", collection[:i], m["namespace"], collection[i:], m["name"])
}

func (f *fakeServer) event(kind, collection string, u map[string]any) {
	f.version++
	metadata(u)["resourceVersion"] = strconv.Itoa(f.version)
	line, err := json.Marshal(map[string]any{"type": kind, "object": u})
	if err != nil {
		f.t.Error(err)
	}
	f.events = append(f.events, fakeEvent{f.version, collection, append(line, '\n'), labelsOf(u)})
	close(f.news)
	f.news = make(chan struct{})
}

func (f *fakeServer) handle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if list := discovery(r.URL.Path); list != "" {
		w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		items := strings.ReplaceAll(strings.TrimSpace(list), "\n", ",")
		_, _ = fmt.Fprintf(w, `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[%s]}`, items)
		return
	}
	// /api/v1/namespaces/NS/RESOURCE[/NAME] or /api/v1/RESOURCE
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	root := 2
	if parts[0] == "apis" {
		root = 3
	}
	tail, namespace, name := parts[root:], "", ""
	if tail[0] == "namespaces" && len(tail) > 2 {
		namespace, tail = tail[1], tail[2:]
	}
	if len(tail) > 1 {
		name = tail[1]
	}
	collection := "/" + strings.Join(parts[:root], "/") + "/" + tail[0]
	verb := "list"
	switch {
	case name != "":
		verb = "get"
	case r.URL.Query().Get("watch") != "":
		verb = "watch"
	}
	if !f.allow(verb + " " + tail[0]) {
		fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, tail[0], name)
		return
	}
	switch verb {
	case "get":
		f.get(w, r.URL.Path, tail[0], name)
	case "list":
		f.list(w, r, collection, namespace)
	default:
		f.watch(w, r, collection)
	}
}

func (f *fakeServer) allow(what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[what]++
	return !f.forbidden[what]
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, resource, name string) {
	w.WriteHeader(code)
	body, _ := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason,
		Message: fmt.Sprintf("%s %q: %s", resource, name, reason), Details: &metav1.StatusDetails{Name: name, Kind: resource},
	})
	_, _ = w.Write(body)
}

func (f *fakeServer) get(w http.ResponseWriter, path, resource, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := f.objects[path]; u != nil {
		_ = json.NewEncoder(w).Encode(u)
		return
	}
	fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, resource, name)
}

func (f *fakeServer) list(w http.ResponseWriter, r *http.Request, collection, namespace string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		f.t.Error(err)
	}
	items := []any{}
	for path, u := range f.objects {
		if ns, _ := metadata(u)["namespace"].(string); f.path(collection, u) == path && (namespace == "" || ns == namespace) && selector.Matches(labelsOf(u)) {
			items = append(items, u)
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "List", "apiVersion": "v1", "metadata": map[string]any{"resourceVersion": strconv.Itoa(f.version)}, "items": items,
	})
}

func (f *fakeServer) watch(w http.ResponseWriter, r *http.Request, collection string) {
	from, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		f.t.Error(err)
	}
	f.mu.Lock()
	cut := f.cut
	f.mu.Unlock()
	for sent := 0; ; {
		f.mu.Lock()
		events, news := f.events[sent:], f.news
		f.mu.Unlock()
		sent += len(events)
		for _, e := range events {
			if e.version > from && e.collection == collection && selector.Matches(e.labels) {
				_, _ = w.Write(e.line)
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-cut:
			return
		case <-news:
		}
	}
}

// discovery answers in the aggregated form, in which every supported server does.
func discovery(path string) string {
	switch path {
	case "/api":
		return discovered("", "configmaps/ConfigMap", "pods/Pod", "services/Service")
	case "/apis":
		return discovered("apps", "deployments/Deployment") + discovered("batch", "jobs/Job")
	default:
		return ""
	}
}

// discovered describes a group with one version, on its way into a list of them.
func discovered(group string, names ...string) string {
	var resources []apidiscovery.APIResourceDiscovery
	for _, n := range names {
		name, kind, _ := strings.Cut(n, "/")
		resources = append(resources, apidiscovery.APIResourceDiscovery{
			Resource: name, ResponseKind: &metav1.GroupVersionKind{Group: group, Version: "v1", Kind: kind},
			Scope: apidiscovery.ScopeNamespace, Verbs: []string{"get", "list", "watch", "delete"},
		})
	}
	body, _ := json.Marshal(apidiscovery.APIGroupDiscovery{
		ObjectMeta: metav1.ObjectMeta{Name: group},
		Versions:   []apidiscovery.APIVersionDiscovery{{Version: "v1", Resources: resources, Freshness: apidiscovery.DiscoveryFreshnessCurrent}},
	})
	return string(body) + "\n"
}
