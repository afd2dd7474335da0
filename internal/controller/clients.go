// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"sync"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kustomizer/kustomizer/internal/registry"
)

// registryClients keeps one registry client for each source, with its connections and tokens, until
// the source's credentials change: a poll then costs one request and no handshake.
type registryClients struct {
	reader    client.Reader // not cached: Secrets are read when they are needed
	throttle  *registry.Throttle
	userAgent string

	mu  sync.Mutex
	all map[types.NamespacedName]keptClient
}

type keptClient struct {
	identity string // what the client was made from
	client   *registry.Client
}

// credentialsError says that a source's credentials can't be used.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// of returns the client for a source.
func (r *registryClients) of(ctx context.Context, repo *sourcev1.OCIRepository) (*registry.Client, error) {
	identity := fmt.Sprintf("insecure=%t", repo.Spec.Insecure)
	var credentials registry.Credentials = registry.Anonymous{}
	if ref := repo.Spec.SecretRef; ref != nil {
		secret, err := r.secret(ctx, types.NamespacedName{Namespace: repo.Namespace, Name: ref.Name})
		if err != nil {
			return nil, &credentialsError{err}
		}
		source := fmt.Sprintf("Secret/%s/%s", repo.Namespace, ref.Name)
		credentials, err = registry.NewSecret(secret.Data[corev1.DockerConfigJsonKey], source)
		if err != nil {
			return nil, &credentialsError{err}
		}
		identity += fmt.Sprintf(" secret=%s/%s", secret.UID, secret.ResourceVersion)
	}
	return r.keep(client.ObjectKeyFromObject(repo), identity, registry.Options{
		Credentials: credentials, Insecure: repo.Spec.Insecure, SkipVerify: repo.Spec.Insecure,
		UserAgent: r.userAgent, Throttle: r.throttle,
	})
}

func (r *registryClients) secret(ctx context.Context, key types.NamespacedName) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	if err := r.reader.Get(ctx, key, secret); err != nil {
		return nil, fmt.Errorf("reading Secret/%s: %w", key, err)
	}
	if secret.Type != corev1.SecretTypeDockerConfigJson {
		return nil, fmt.Errorf("Secret/%s is of type %s, not %s", key, secret.Type, corev1.SecretTypeDockerConfigJson)
	}
	return secret, nil
}

func (r *registryClients) keep(key types.NamespacedName, identity string, options registry.Options) (*registry.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if kept, ok := r.all[key]; ok && kept.identity == identity {
		return kept.client, nil
	}
	made, err := registry.New(options)
	if err != nil {
		return nil, err
	}
	if r.all == nil {
		r.all = map[types.NamespacedName]keptClient{}
	}
	if old, ok := r.all[key]; ok {
		old.client.Close()
	}
	r.all[key] = keptClient{identity: identity, client: made}
	return made, nil
}

func (r *registryClients) drop(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.all[key]; ok {
		old.client.Close()
		delete(r.all, key)
	}
}
