// SPDX-License-Identifier: Apache-2.0

// Package oras pins oras.land/oras, which is built from here as a Go tool.
package oras
