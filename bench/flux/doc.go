// SPDX-License-Identifier: Apache-2.0

// Package flux pins github.com/fluxcd/source-controller, which is built from here as a Go tool.
package flux
