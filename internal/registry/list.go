// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

const (
	maxTags     = 10_000
	maxTagPages = 50
	tagsPerPage = "1000"
)

var nextLink = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`<([^>]+)>\s*;\s*rel="?next"?`)
})

// Tags lists the tags of a repository, in the registry's order. More than 10,000 are refused, as is a
// listing without end.
func (c *Client) Tags(ctx context.Context, repo artifact.Repository) ([]string, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	tags := []string{}
	query := url.Values{"n": {tagsPerPage}}
	for range maxTagPages {
		page, next, err := c.tagPage(ctx, repo, query)
		if err != nil {
			return nil, c.fail(opList, repo, repo, err)
		}
		tags = append(tags, page...)
		if len(tags) > maxTags {
			break
		}
		if next == nil {
			return tags, nil
		}
		query = next
	}
	return nil, c.fail(opList, repo, repo, &refusedError{
		code: TooLarge, detail: fmt.Sprintf("there are more than %d tags, or more than %d pages of them", maxTags, maxTagPages),
	})
}

func (c *Client) tagPage(ctx context.Context, repo artifact.Repository, query url.Values) (tags []string, next url.Values, err error) {
	req, err := c.request(ctx, http.MethodGet, repo, "tags/list", query)
	if err != nil {
		return nil, nil, err
	}
	resp, err := c.do(req, repo, false)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, nil, err
	}
	raw, err := io.ReadAll(resp.Body) // bounded by the transport
	if err != nil {
		return nil, nil, err
	}
	var page struct {
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(raw, &page); err != nil {
		return nil, nil, &refusedError{code: Invalid, detail: "the list of tags is not JSON"}
	}
	return page.Tags, nextPage(resp.Header.Get("Link")), nil
}

// nextPage returns the query of the next page. Of the link only the query is used, so that a registry
// can't lead elsewhere.
func nextPage(link string) url.Values {
	found := nextLink().FindStringSubmatch(link)
	if found == nil {
		return nil
	}
	u, err := url.Parse(found[1])
	if err != nil {
		return nil
	}
	return u.Query()
}
