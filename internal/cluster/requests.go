// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kustomizer/kustomizer/internal/object"
)

// pageSize bounds how many objects one list request returns.
const pageSize = 500

// Selection says which objects of a kind a list or watch is about.
type Selection struct {
	Namespace     string // empty for all namespaces
	LabelSelector string // as kubectl's -l
	FieldSelector string
}

// List reads all objects of a selection, in pages, together with the resource version at which
// the list was taken.
func (c *Cluster) List(ctx context.Context, res Resource, sel Selection) ([]*unstructured.Unstructured, string, error) {
	var out []*unstructured.Unstructured
	for token := ""; ; {
		req := c.rest.Get().AbsPath(res.path(sel.Namespace, "")...).Param("limit", strconv.Itoa(pageSize))
		sel.params(func(k, v string) { req.Param(k, v) })
		if token != "" {
			req.Param("continue", token)
		}
		result := req.Do(ctx)
		if err := result.Error(); err != nil {
			return nil, "", err
		}
		body, err := result.Raw()
		if err != nil {
			return nil, "", err
		}
		page, err := decodeList(body)
		if err != nil {
			return nil, "", fmt.Errorf("decoding a list of %s: %w", res.Resource, err)
		}
		for i := range page.Items {
			out = append(out, &page.Items[i])
		}
		if token = page.GetContinue(); token == "" {
			return out, page.GetResourceVersion(), nil
		}
	}
}

func (s Selection) params(set func(key, value string)) {
	if s.LabelSelector != "" {
		set("labelSelector", s.LabelSelector)
	}
	if s.FieldSelector != "" {
		set("fieldSelector", s.FieldSelector)
	}
}

// Watch follows a selection from a resource version on, with bookmarks, until the context ends or
// the server closes the stream.
func (c *Cluster) Watch(ctx context.Context, res Resource, sel Selection, from string) (watch.Interface, error) {
	req := c.rest.Get().AbsPath(res.path(sel.Namespace, "")...).
		Param("watch", "true").Param("allowWatchBookmarks", "true")
	if from != "" {
		req.Param("resourceVersion", from)
	}
	sel.params(func(k, v string) { req.Param(k, v) })
	stream, err := req.Stream(ctx)
	if err != nil {
		return nil, err
	}
	return newStreamWatcher(ctx, stream), nil
}

// ApplyOptions govern a server-side apply.
type ApplyOptions struct {
	Manager string // field manager
	DryRun  bool
	// UID, when set, must be the live object's: an object that was deleted, or replaced by a
	// namesake, since it was looked at is not touched (409).
	UID types.UID
	// ResourceVersion, when set, must be the live object's.
	ResourceVersion string
	// Rehearsed says that a dry-run of the same content was accepted, with the server's warnings about
	// its fields: the server is spared from looking for unknown ones once more.
	Rehearsed bool
}

// Applied is the answer to a server-side apply.
type Applied struct {
	Object  *unstructured.Unstructured
	Created bool // the object did not exist before (in a dry-run: does not exist)
}

// Apply sends an object by server-side apply with forced ownership. Unless it is a dry-run, it is
// a write. Its source: https://kubernetes.io/docs/reference/using-api/server-side-apply/.
func (c *Cluster) Apply(ctx context.Context, u *unstructured.Unstructured, opts ApplyOptions) (Applied, error) {
	id := object.Of(u)
	res, err := c.discovery.resolveExactly(ctx, u.GroupVersionKind())
	if err != nil {
		return Applied{}, err
	}
	body, err := applyBody(u, opts)
	if err != nil {
		return Applied{}, fmt.Errorf("encoding %s: %w", id, err)
	}
	req := c.rest.Patch(types.ApplyPatchType).AbsPath(res.path(id.Namespace, id.Name)...).
		Param("fieldManager", opts.Manager).Param("force", "true").Body(body)
	if opts.DryRun {
		req.Param("dryRun", metav1.DryRunAll)
	} else if opts.Rehearsed {
		req.Param("fieldValidation", metav1.FieldValidationIgnore)
	}
	status := 0
	result := req.Do(ctx).StatusCode(&status)
	live, err := decode(result)
	if apierrors.IsNotFound(err) && !IsNamespaceMissing(err) {
		return Applied{}, c.noLonger(ctx, u, err)
	}
	return Applied{Object: live, Created: status == http.StatusCreated}, err
}

// noLonger explains that the server does not know the path of a kind that it once served: the
// definition is gone since the last discovery.
func (c *Cluster) noLonger(ctx context.Context, u *unstructured.Unstructured, notFound error) error {
	c.Forget()
	if _, err := c.discovery.resolveExactly(ctx, u.GroupVersionKind()); err != nil {
		return err
	}
	return notFound
}

func applyBody(u *unstructured.Unstructured, opts ApplyOptions) ([]byte, error) {
	if opts.UID != "" || opts.ResourceVersion != "" {
		u = u.DeepCopy()
		u.SetUID(opts.UID)
		u.SetResourceVersion(opts.ResourceVersion)
	}
	return u.MarshalJSON()
}

// Patch changes an object by a patch of the given type. Subresource may be empty or "status".
func (c *Cluster) Patch(ctx context.Context, ref Ref, kind types.PatchType, body []byte, manager string) (*unstructured.Unstructured, error) {
	res, err := c.Resolve(ctx, ref.ID.GroupKind(), ref.Version)
	if err != nil {
		return nil, err
	}
	path := res.path(ref.ID.Namespace, ref.ID.Name)
	if ref.Subresource != "" {
		path = append(path, ref.Subresource)
	}
	return decode(c.rest.Patch(kind).AbsPath(path...).Param("fieldManager", manager).Body(body).Do(ctx))
}

// Ref names an object, the version to reach it at and, where one is meant, its subresource.
type Ref struct {
	ID          object.ID
	Version     string
	Subresource string
}

// DeleteOptions govern a deletion.
type DeleteOptions struct {
	UID             types.UID // the object that was judged; required
	ResourceVersion string    // the state in which it was judged; required
	Propagation     metav1.DeletionPropagation
	DryRun          bool
}

// Delete deletes the object that was judged, in the state in which it was judged, and nothing
// else: a change since then is a conflict.
func (c *Cluster) Delete(ctx context.Context, id object.ID, version string, opts DeleteOptions) error {
	if opts.UID == "" || opts.ResourceVersion == "" {
		return fmt.Errorf("deleting %s: uid and resourceVersion of the judged object are required", id)
	}
	res, err := c.Resolve(ctx, id.GroupKind(), version)
	if err != nil {
		return err
	}
	policy := cmp.Or(opts.Propagation, metav1.DeletePropagationBackground)
	options := metav1.DeleteOptions{
		TypeMeta:          metav1.TypeMeta{Kind: "DeleteOptions", APIVersion: "v1"},
		Preconditions:     &metav1.Preconditions{UID: &opts.UID, ResourceVersion: &opts.ResourceVersion},
		PropagationPolicy: &policy,
	}
	if opts.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	body, err := json.Marshal(options)
	if err != nil {
		return err
	}
	return c.rest.Delete().AbsPath(res.path(id.Namespace, id.Name)...).
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
}

// Version returns the API server's version, such as v1.36.3.
func (c *Cluster) Version(ctx context.Context) (string, error) {
	info, err := c.discovery.client.ServerVersionWithContext(ctx)
	if err != nil {
		return "", err
	}
	return info.GitVersion, nil
}
