// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Resource says how a kind is reached.
type Resource struct {
	schema.GroupVersionResource
	Kind       string
	Namespaced bool
	Deletable  bool // the API offers the delete verb
	Listable   bool // the API offers list and watch
}

// GroupKind returns the kind that the resource has.
func (r Resource) GroupKind() schema.GroupKind { return schema.GroupKind{Group: r.Group, Kind: r.Kind} }

func (r Resource) path(namespace, name string) []string {
	var p []string
	if r.Group == "" {
		p = []string{"api", r.Version}
	} else {
		p = []string{"apis", r.Group, r.Version}
	}
	if r.Namespaced && namespace != "" {
		p = append(p, "namespaces", namespace)
	}
	p = append(p, r.Resource)
	if name != "" {
		p = append(p, name)
	}
	return p
}

// KindError says that a healthy API server does not serve a kind: its definition is missing.
type KindError struct {
	GroupKind schema.GroupKind
	// Version, when set, is the one that was asked for: the kind is served, but not at it.
	Version string
}

// Error implements error.
func (e *KindError) Error() string {
	if e.Version != "" {
		return fmt.Sprintf("the cluster does not serve the kind %s at version %s", e.GroupKind, e.Version)
	}
	return fmt.Sprintf("the cluster does not serve the kind %s", e.GroupKind)
}

// DiscoveryError says that it is unknown whether a kind is served, because the server could not
// say which kinds a group has. It must never be read as "absent".
type DiscoveryError struct {
	GroupKind schema.GroupKind
	Err       error
}

// Error implements error.
func (e *DiscoveryError) Error() string {
	return fmt.Sprintf("discovering the kind %s: %v", e.GroupKind, e.Err)
}

// Unwrap returns the underlying error.
func (e *DiscoveryError) Unwrap() error { return e.Err }

// catalogue is a snapshot of what the server serves, taken by two requests and kept until a kind
// is asked for that is not in it.
type catalogue struct {
	client *discovery.DiscoveryClient

	mu       sync.Mutex
	taken    bool
	versions map[schema.GroupKind][]Resource // the server's preferred version first
	failed   map[string]error                // groups with a version that could not be discovered
}

// Resolve finds how to reach a kind: at the wanted version if it is served, else at the version
// the server prefers. A kind that the last snapshot lacks is looked up anew.
func (c *Cluster) Resolve(ctx context.Context, gk schema.GroupKind, version string) (Resource, error) {
	return c.discovery.resolve(ctx, gk, version)
}

// Resolution is how a kind is reached, or why it can't be: a [KindError] or a [DiscoveryError].
type Resolution struct {
	Resource
	Err error
}

// ResolveAll finds how to reach kinds at exactly the given versions. However many of them the last
// snapshot lacks, one new one is taken.
func (c *Cluster) ResolveAll(ctx context.Context, kinds []schema.GroupVersionKind) map[schema.GroupVersionKind]Resolution {
	return c.discovery.resolveAll(ctx, kinds)
}

// Forget drops what is known about served kinds, so that the next request discovers them anew. To
// be called after definitions were applied or deleted.
func (c *Cluster) Forget() {
	c.discovery.mu.Lock()
	defer c.discovery.mu.Unlock()
	c.discovery.taken = false
}

// Namespaced says whether objects of a kind live in namespaces.
func (c *Cluster) Namespaced(ctx context.Context, gk schema.GroupKind) (bool, error) {
	res, err := c.Resolve(ctx, gk, "")
	return res.Namespaced, err
}

func (c *catalogue) resolve(ctx context.Context, gk schema.GroupKind, version string) (Resource, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := !c.taken
	if fresh {
		if err := c.refresh(ctx); err != nil {
			return Resource{}, &DiscoveryError{GroupKind: gk, Err: err}
		}
	}
	res, err := c.lookup(gk, version)
	if err == nil || fresh {
		return res, err
	}
	if err := c.refresh(ctx); err != nil {
		return Resource{}, &DiscoveryError{GroupKind: gk, Err: err}
	}
	return c.lookup(gk, version)
}

// resolveExactly is resolve at no other version than the wanted one.
func (c *catalogue) resolveExactly(ctx context.Context, gvk schema.GroupVersionKind) (Resource, error) {
	out := c.resolveAll(ctx, []schema.GroupVersionKind{gvk})[gvk]
	return out.Resource, out.Err
}

func (c *catalogue) resolveAll(ctx context.Context, kinds []schema.GroupVersionKind) map[schema.GroupVersionKind]Resolution {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[schema.GroupVersionKind]Resolution{}
	for fresh := false; ; fresh = true {
		if !c.taken || fresh {
			fresh = true
			if err := c.refresh(ctx); err != nil {
				for _, gvk := range kinds {
					out[gvk] = Resolution{Err: &DiscoveryError{GroupKind: gvk.GroupKind(), Err: err}}
				}
				return out
			}
		}
		missing := false
		for _, gvk := range kinds {
			res, err := c.lookupExactly(gvk)
			out[gvk] = Resolution{Resource: res, Err: err}
			missing = missing || err != nil
		}
		if fresh || !missing {
			return out
		}
	}
}

func (c *catalogue) lookup(gk schema.GroupKind, version string) (Resource, error) {
	found := c.versions[gk]
	if i := slices.IndexFunc(found, func(r Resource) bool { return r.Version == version }); i >= 0 {
		return found[i], nil
	}
	if len(found) > 0 {
		return found[0], nil
	}
	if err := c.failed[gk.Group]; err != nil {
		return Resource{}, &DiscoveryError{GroupKind: gk, Err: err}
	}
	return Resource{}, &KindError{GroupKind: gk}
}

func (c *catalogue) lookupExactly(gvk schema.GroupVersionKind) (Resource, error) {
	res, err := c.lookup(gvk.GroupKind(), gvk.Version)
	if err != nil || res.Version == gvk.Version {
		return res, err
	}
	if err := c.failed[gvk.Group]; err != nil {
		return Resource{}, &DiscoveryError{GroupKind: gvk.GroupKind(), Err: err}
	}
	return Resource{}, &KindError{GroupKind: gvk.GroupKind(), Version: gvk.Version}
}

func (c *catalogue) refresh(ctx context.Context) error {
	groups, byVersion, failed, err := c.client.GroupsAndMaybeResourcesWithContext(ctx)
	if err != nil {
		return err
	}
	if byVersion == nil { // a server that does not aggregate discovery
		byVersion, failed = c.eachVersion(ctx, groups)
	}
	c.versions, c.failed = map[schema.GroupKind][]Resource{}, map[string]error{}
	for gv, err := range failed {
		c.failed[gv.Group] = err
	}
	for _, group := range groups.Groups {
		for _, gv := range preferredFirst(group) {
			c.add(gv, byVersion[gv])
		}
	}
	c.taken = true
	return nil
}

// eachVersion discovers the kinds of each version by a request of its own.
func (c *catalogue) eachVersion(ctx context.Context, groups *metav1.APIGroupList) (map[schema.GroupVersion]*metav1.APIResourceList, map[schema.GroupVersion]error) {
	found, failed := map[schema.GroupVersion]*metav1.APIResourceList{}, map[schema.GroupVersion]error{}
	for _, group := range groups.Groups {
		for _, gv := range preferredFirst(group) {
			list, err := c.client.ServerResourcesForGroupVersionWithContext(ctx, gv.String())
			if err != nil {
				failed[gv] = err
				continue
			}
			found[gv] = list
		}
	}
	return found, failed
}

func preferredFirst(group metav1.APIGroup) []schema.GroupVersion {
	out := make([]schema.GroupVersion, 0, len(group.Versions))
	for _, v := range group.Versions {
		gv := schema.GroupVersion{Group: group.Name, Version: v.Version}
		if v.Version == group.PreferredVersion.Version {
			out = slices.Insert(out, 0, gv)
			continue
		}
		out = append(out, gv)
	}
	return out
}

func (c *catalogue) add(gv schema.GroupVersion, list *metav1.APIResourceList) {
	if list == nil {
		return
	}
	for _, r := range list.APIResources {
		if strings.Contains(r.Name, "/") {
			continue // a subresource
		}
		gk := schema.GroupKind{Group: gv.Group, Kind: r.Kind}
		c.versions[gk] = append(c.versions[gk], Resource{
			GroupVersionResource: gv.WithResource(r.Name),
			Kind:                 r.Kind,
			Namespaced:           r.Namespaced,
			Deletable:            slices.Contains(r.Verbs, "delete"),
			Listable:             slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "watch"),
		})
	}
}

// Kinds returns every kind that is served, at its preferred version, and the groups whose
// discovery failed. Its use is to look over a whole cluster, as the removal of an installation does.
func (c *Cluster) Kinds(ctx context.Context) ([]Resource, []string, error) {
	c.discovery.mu.Lock()
	defer c.discovery.mu.Unlock()
	if err := c.discovery.refresh(ctx); err != nil {
		return nil, nil, err
	}
	var out []Resource
	for _, found := range c.discovery.versions {
		out = append(out, found[0])
	}
	var failed []string
	for group := range c.discovery.failed {
		failed = append(failed, group)
	}
	slices.Sort(failed)
	slices.SortFunc(out, func(a, b Resource) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind))
	})
	return out, failed, nil
}
