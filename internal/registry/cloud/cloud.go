// SPDX-License-Identifier: Apache-2.0

// Package cloud finds credentials for the clouds' own registries: it has the identity that a machine, a
// pod or a CI job has in its cloud exchanged for a credential that lives for hours. It stands apart
// from the rest of the registry because the clouds' libraries bring much with them.
package cloud

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/fluxcd/pkg/auth/azure"
	"github.com/fluxcd/pkg/auth/gcp"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// Provider is a cloud that has registries of its own.
type Provider string

// The clouds, named as Flux names them.
const (
	AWS   Provider = aws.ProviderName
	Azure Provider = azure.ProviderName
	GCP   Provider = gcp.ProviderName
)

// Providers returns all clouds.
func Providers() []Provider { return []Provider{AWS, Azure, GCP} }

// Serves says whether a host is one of the cloud's registries. No other host may see its credentials.
func (p Provider) Serves(host string) bool {
	_, err := p.library().ParseArtifactRepository(host)
	return err == nil
}

// Hosts says in words how the cloud's registries are named.
func (p Provider) Hosts() string {
	switch p {
	case AWS:
		return "ACCOUNT.dkr.ecr.REGION.amazonaws.com and public.ecr.aws"
	case Azure:
		return "NAME.azurecr.io"
	default:
		return "LOCATION-docker.pkg.dev and gcr.io"
	}
}

func (p Provider) library() auth.ArtifactRegistryCredentialsProvider {
	switch p {
	case AWS:
		return aws.Provider{}
	case Azure:
		return azure.Provider{}
	default:
		return gcp.Provider{}
	}
}

// missing says what gives this machine an identity in the cloud.
func (p Provider) missing() string {
	switch p {
	case AWS:
		return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE; or run where the machine has a role"
	case Azure:
		return "set AZURE_TENANT_ID and AZURE_CLIENT_ID with AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE; or run where the machine has a managed identity"
	default:
		return "set GOOGLE_APPLICATION_CREDENTIALS to a file with credentials, or run: gcloud auth application-default login; or run where the machine has a service account"
	}
}

// Credentials implement [registry.Credentials] for the registries of one cloud. They are asked for when
// they are needed, and again shortly before they end.
type Credentials struct {
	provider Provider

	mu    sync.Mutex
	known map[string]issued
}

type issued struct {
	credential registry.Credential
	until      time.Time
}

// margin is for how long a credential must still be good to be used again.
const margin = time.Minute

// New returns the credentials of a cloud. It asks for none.
func New(p Provider) *Credentials { return &Credentials{provider: p, known: map[string]issued{}} }

// Lookup returns the credential for the registry of a repository, or nothing if it is not the cloud's.
func (c *Credentials) Lookup(ctx context.Context, repo artifact.Repository) (registry.Credential, error) {
	return c.ForHost(ctx, repo.Host())
}

// ForHost returns the credential for a registry, or nothing if it is not the cloud's.
func (c *Credentials) ForHost(ctx context.Context, host string) (registry.Credential, error) {
	if !c.provider.Serves(host) {
		return registry.Credential{}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.known[host]; ok && time.Until(known.until) > margin {
		return known.credential, nil
	}
	got, err := c.ask(ctx, host)
	if err != nil {
		return registry.Credential{}, err
	}
	c.known[host] = got
	return got.credential, nil
}

// Sources names the cloud.
func (c *Credentials) Sources() []string { return []string{c.source()} }

func (c *Credentials) source() string { return "--provider " + string(c.provider) }

// patience bounds the whole way to a credential. Where a machine is in no cloud, nothing answers at the
// address from which it would get an identity, and the libraries go on asking for minutes.
const patience = 30 * time.Second

func (c *Credentials) ask(ctx context.Context, host string) (issued, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := auth.GetArtifactRegistryCredentials(bounded, c.provider.library(), host)
	switch {
	case ctx.Err() != nil:
		return issued{}, fmt.Errorf("asking %s for credentials: %w", c.provider, context.Cause(ctx))
	case bounded.Err() != nil:
		return issued{}, c.fail("nothing that gives this machine an identity there answered in time")
	case err != nil:
		return issued{}, c.fail(err.Error())
	}
	config, err := got.Authorization()
	if err != nil {
		return issued{}, c.fail(err.Error())
	}
	return issued{credential: registry.Credential{Username: config.Username, Password: config.Password}, until: got.ExpiresAt}, nil
}

// fail leaves out of a reason what the library says of every failure, and of a controller, which this is not.
func (c *Credentials) fail(reason string) error {
	reason = strings.TrimPrefix(reason, "failed to get access token for artifact registry: ")
	reason = strings.TrimPrefix(reason, "failed to create provider access token for the controller: ")
	return &registry.CredentialsError{Source: c.source(), Reason: artifact.OneLine(reason), Hint: c.provider.missing()}
}
