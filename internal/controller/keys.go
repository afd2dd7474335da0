// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/secrets"
)

// ageKeyExtension ends the names of those keys of a Secret that hold private keys of age, as with Flux.
const ageKeyExtension = ".agekey"

// ageKeys finds the private keys that a Kustomization's artifact may be decrypted with: those of the Secret
// that it names, else those of the agent.
type ageKeys struct {
	reader client.Reader // not cached: Secrets are read when they are needed
	// fallback is the agent's own Secret; without a name there is none.
	fallback types.NamespacedName
}

// of returns a function that reads the keys. It is called for what is encrypted only, so that all else
// costs no request.
func (k ageKeys) of(ks *kustomizev1.Kustomization) deploy.Keys {
	return func(ctx context.Context) (*secrets.Identities, error) {
		if d := ks.Spec.Decryption; d != nil && d.SecretRef != nil {
			return k.read(ctx, types.NamespacedName{Namespace: ks.Namespace, Name: d.SecretRef.Name})
		}
		if k.fallback.Name != "" {
			return k.read(ctx, k.fallback)
		}
		return nil, errors.New("the artifact is encrypted with age, and there is no key: spec.decryption.secretRef names no Secret")
	}
}

func (k ageKeys) read(ctx context.Context, name types.NamespacedName) (*secrets.Identities, error) {
	secret := &corev1.Secret{}
	if err := k.reader.Get(ctx, name, secret); err != nil {
		return nil, fmt.Errorf("reading Secret/%s with the keys: %w", name, err)
	}
	found := &secrets.Identities{}
	for _, key := range slices.Sorted(maps.Keys(secret.Data)) {
		if !strings.HasSuffix(key, ageKeyExtension) {
			continue
		}
		if err := found.Add(fmt.Sprintf("Secret/%s[%s]", name, key), secret.Data[key]); err != nil {
			return nil, err
		}
	}
	if found.Empty() {
		return nil, fmt.Errorf("the artifact is encrypted with age, and Secret/%s has no key whose name ends in %s", name, ageKeyExtension)
	}
	return found, nil
}
