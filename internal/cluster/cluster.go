// SPDX-License-Identifier: Apache-2.0

// Package cluster is a connection to a Kubernetes cluster: which cluster, as whom, and the few
// requests that the engine makes: get, list, watch, dry-run, apply, delete.
package cluster

import (
	"context"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/kustomizer/kustomizer/internal/object"
)

// Cluster is a connection to one cluster as one user. It is safe for concurrent use. The zero
// value is not usable: see [Connect].
type Cluster struct {
	rest      rest.Interface
	discovery *catalogue
	host      string
	limit     *limiter
}

// Connect makes a connection from a REST configuration without sending a request. The
// configuration's own client-side rate limit is replaced by none: how many requests are under way at a
// time follows from how the API server answers, those who share the connection are served in turn (see
// [Calling]), and 429 with Retry-After is honoured. A write that has begun when its context ends is
// given some seconds to come to its end.
func Connect(cfg *rest.Config) (*Cluster, error) {
	cfg = rest.CopyConfig(cfg)
	if cfg.UserAgent == "" {
		cfg.UserAgent = "kustomizer"
	}
	cfg.QPS = -1
	limit := newLimiter(time.Now)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return limited{next: finishing{next, finishWithin}, limit: limit}
	})
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("configuring the connection to %s: %w", cfg.Host, err)
	}
	disc, err := discovery.NewDiscoveryClientForConfigAndClient(cfg, httpClient)
	if err != nil {
		return nil, fmt.Errorf("configuring discovery at %s: %w", cfg.Host, err)
	}
	client, err := restClient(cfg, httpClient)
	if err != nil {
		return nil, fmt.Errorf("configuring the connection to %s: %w", cfg.Host, err)
	}
	return &Cluster{rest: client, discovery: &catalogue{client: disc}, host: cfg.Host, limit: limit}, nil
}

func restClient(cfg *rest.Config, httpClient *http.Client) (rest.Interface, error) {
	cfg = rest.CopyConfig(cfg)
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	cfg.AcceptContentTypes, cfg.ContentType = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	cfg.GroupVersion = &schema.GroupVersion{}
	cfg.APIPath = "/"
	return rest.RESTClientForConfigAndClient(cfg, httpClient)
}

// Host returns the API server's address, for messages.
func (c *Cluster) Host() string { return c.host }

// ID returns the identity of the cluster: the UID of its kube-system namespace, which lives as
// long as the cluster does.
func (c *Cluster) ID(ctx context.Context) (string, error) {
	ns, err := c.Get(ctx, object.ID{Kind: "Namespace", Name: "kube-system"}, "v1")
	if err != nil {
		return "", fmt.Errorf("reading the cluster's identity: %w", err)
	}
	return string(ns.GetUID()), nil
}

// Get reads one object at the given API version, or at the version the server prefers where that
// is empty or no longer served. The error is an API status error, a [KindError] or a
// [DiscoveryError].
func (c *Cluster) Get(ctx context.Context, id object.ID, version string) (*unstructured.Unstructured, error) {
	res, err := c.Resolve(ctx, id.GroupKind(), version)
	if err != nil {
		return nil, err
	}
	return decode(c.rest.Get().AbsPath(res.path(id.Namespace, id.Name)...).Do(ctx))
}

// Create creates an object under the given field manager.
func (c *Cluster) Create(ctx context.Context, u *unstructured.Unstructured, manager string) (*unstructured.Unstructured, error) {
	return c.send(ctx, u, func(path []string, body []byte) *rest.Request {
		return c.rest.Post().AbsPath(path[:len(path)-1]...).Param("fieldManager", manager).Body(body)
	})
}

// Update replaces an object under the given field manager. The object carries the
// resourceVersion of the read it was made from: a conflict means that it changed since.
func (c *Cluster) Update(ctx context.Context, u *unstructured.Unstructured, manager string) (*unstructured.Unstructured, error) {
	return c.send(ctx, u, func(path []string, body []byte) *rest.Request {
		return c.rest.Put().AbsPath(path...).Param("fieldManager", manager).Body(body)
	})
}

func (c *Cluster) send(ctx context.Context, u *unstructured.Unstructured, request func(path []string, body []byte) *rest.Request) (*unstructured.Unstructured, error) {
	id := object.Of(u)
	res, err := c.discovery.resolveExactly(ctx, u.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	body, err := u.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", id, err)
	}
	return decode(request(res.path(id.Namespace, id.Name), body).SetHeader("Content-Type", runtime.ContentTypeJSON).Do(ctx))
}

func decode(res rest.Result) (*unstructured.Unstructured, error) {
	if err := res.Error(); err != nil {
		return nil, err
	}
	body, err := res.Raw()
	if err != nil {
		return nil, err
	}
	u, err := decodeObject(body)
	if err != nil {
		return nil, fmt.Errorf("decoding the API server's answer: %w", err)
	}
	return u, nil
}
