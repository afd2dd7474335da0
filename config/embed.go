// SPDX-License-Identifier: Apache-2.0

// Package config embeds the YAML that `kustomizer install` applies, from where it is stored. The
// same directory is a kustomize base: `kubectl kustomize config` prints it.
package config

import "embed"

//go:generate go run ../hack/generate crd

// Files holds the CustomResourceDefinitions in crd, the agent's rights in rbac, and the agent with
// its namespace in manager.
//
//go:embed crd/*.yaml rbac/*.yaml manager/*.yaml
var Files embed.FS
