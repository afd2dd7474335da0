// SPDX-License-Identifier: Apache-2.0

// Package kwok pins sigs.k8s.io/kwok, which is built from here as a Go tool.
package kwok
