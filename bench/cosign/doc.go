// SPDX-License-Identifier: Apache-2.0

// Package cosign pins cosign, which is built from here as a Go tool.
package cosign
