// SPDX-License-Identifier: Apache-2.0

// Package controller is the agent: it turns Flux's resources into requests, and outcomes into
// status, events and the time of the next look. It decides nothing about objects itself.
package controller
