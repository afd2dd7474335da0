// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/kustomizer/kustomizer/internal/object"
)

// maxPages bounds how many pages of a kind are looked through.
const maxPages = 40

// metadataOnly asks for objects without their content, and takes them whole where a server can't do that.
const metadataOnly = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

// TooManyError says that there are more objects of a kind than are looked through.
type TooManyError struct {
	Resource string
	Seen     int
}

// Error implements error.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("there are more than %d %s", e.Seen, e.Resource)
}

// Discovery lags behind the definitions: it may still name a kind for a moment that is gone. So long is it
// asked again.
const (
	firstGoneWait = 100 * time.Millisecond // then twice as long each time
	lastGoneWait  = 16 * firstGoneWait
)

// LookThrough shows the metadata of each object of a selection, page by page. Where there are more
// than it looks through, the error is a [TooManyError]. Of a kind that is no longer served there is
// nothing; where it can't be told whether it is, the error is the server's "not found".
func (c *Cluster) LookThrough(ctx context.Context, res Resource, sel Selection, see func(*metav1.ObjectMeta)) error {
	seen, err := c.lookThrough(ctx, res, sel, see)
	for wait := firstGoneWait; seen == 0 && apierrors.IsNotFound(err) && wait <= lastGoneWait; wait *= 2 {
		now, served, unknown := c.served(ctx, res)
		if unknown != nil {
			return err
		}
		if !served {
			return nil
		}
		if now == res {
			pause(ctx, wait)
		}
		res = now
		seen, err = c.lookThrough(ctx, res, sel, see)
	}
	return err
}

// Expendable says whether an object needs no one's care when its namespace goes: it goes with another
// one, it is going already, or Kubernetes put it there by itself and would do so again.
func Expendable(kind schema.GroupKind, m *metav1.ObjectMeta) bool {
	if len(m.OwnerReferences) > 0 || m.DeletionTimestamp != nil {
		return true
	}
	switch kind {
	case schema.GroupKind{Kind: "ConfigMap"}:
		return m.Name == "kube-root-ca.crt"
	case schema.GroupKind{Kind: "ServiceAccount"}:
		return m.Name == "default"
	}
	return false
}

// served says how the kind of a resource is reached now, and whether it is served at all. That
// discovery lacks a kind is not enough: a server that has just begun may not know of all definitions.
func (c *Cluster) served(ctx context.Context, res Resource) (Resource, bool, error) {
	c.Forget()
	now, err := c.Resolve(ctx, res.GroupKind(), res.Version)
	var missing *KindError
	if !errors.As(err, &missing) {
		return now, true, err
	}
	definition := object.ID{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: res.Resource + "." + res.Group}
	if _, err = c.Get(ctx, definition, "v1"); apierrors.IsNotFound(err) {
		return Resource{}, false, nil
	}
	return res, true, err
}

// pause waits for a while, or until the context ends.
func pause(ctx context.Context, d time.Duration) {
	passed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-passed.Done()
}

// lookThrough is [Cluster.LookThrough] of exactly this resource. It returns how many objects it has shown.
func (c *Cluster) lookThrough(ctx context.Context, res Resource, sel Selection, see func(*metav1.ObjectMeta)) (int, error) {
	token, seen := "", 0
	for range maxPages {
		req := c.rest.Get().AbsPath(res.path(sel.Namespace, "")...).
			Param("limit", strconv.Itoa(pageSize)).SetHeader("Accept", metadataOnly).
			WarningHandler(rest.NoWarnings{}) // that a kind is deprecated is no reason not to look
		sel.params(func(k, v string) { req.Param(k, v) })
		if token != "" {
			req.Param("continue", token)
		}
		result := req.Do(ctx)
		if err := result.Error(); err != nil {
			return seen, err
		}
		body, err := result.Raw()
		if err != nil {
			return seen, err
		}
		var page metav1.PartialObjectMetadataList
		if err := json.Unmarshal(body, &page); err != nil {
			return seen, fmt.Errorf("decoding a list of %s: %w", res.Resource, err)
		}
		for i := range page.Items {
			see(&page.Items[i].ObjectMeta)
		}
		seen += len(page.Items)
		if token = page.Continue; token == "" {
			return seen, nil
		}
	}
	return seen, &TooManyError{Resource: res.Resource, Seen: seen}
}
