// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
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

// LookThrough shows the metadata of each object of a selection, page by page. Where there are more
// than it looks through, the error is a [TooManyError].
func (c *Cluster) LookThrough(ctx context.Context, res Resource, sel Selection, see func(*metav1.ObjectMeta)) error {
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
			return err
		}
		body, err := result.Raw()
		if err != nil {
			return err
		}
		var page metav1.PartialObjectMetadataList
		if err := json.Unmarshal(body, &page); err != nil {
			return fmt.Errorf("decoding a list of %s: %w", res.Resource, err)
		}
		for i := range page.Items {
			see(&page.Items[i].ObjectMeta)
		}
		seen += len(page.Items)
		if token = page.Continue; token == "" {
			return nil
		}
	}
	return &TooManyError{Resource: res.Resource, Seen: seen}
}
