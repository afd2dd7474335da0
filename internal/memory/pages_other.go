// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package memory

// onHugePages does nothing: elsewhere the system decides.
func onHugePages() error { return nil }
