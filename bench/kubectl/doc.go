// SPDX-License-Identifier: Apache-2.0

//go:build !bench

// Package kubectl is, with the tag bench, the program kubectl 1.33. Without it there is nothing to check, so
// that checks of all modules need not compile Kubernetes' client once more.
package kubectl
