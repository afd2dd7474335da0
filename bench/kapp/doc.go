// SPDX-License-Identifier: Apache-2.0

// Package kapp pins carvel.dev/kapp, which is built from here as a Go tool.
package kapp
