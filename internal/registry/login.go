// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Authenticate checks whether a registry accepts a credential, as docker login does.
func (c *Client) Authenticate(ctx context.Context, registryHost string, credential Credential) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	err := c.authenticate(ctx, registryHost, credential)
	if err == nil {
		return nil
	}
	e := &Error{Op: opLogin, Reference: registryHost, Host: registryHost, Code: Unreachable}
	e.explain(err)
	return e
}

func (c *Client) authenticate(ctx context.Context, registryHost string, credential Credential) error {
	options := []name.Option{}
	if c.options.Insecure {
		options = append(options, name.Insecure)
	}
	target, err := name.NewRegistry(registryHost, options...)
	if err != nil {
		return err
	}
	// A token service checks the credential when the token is asked for; a registry that takes it
	// directly does so at the next request.
	tr, err := transport.NewWithContext(ctx, target, credential.authenticator(), c.base, nil)
	if err != nil {
		return err
	}
	url := fmt.Sprintf("%s://%s/v2/", target.Scheme(), target.RegistryStr())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return err
	}
	defer drain(resp)
	return transport.CheckError(resp, http.StatusOK)
}
