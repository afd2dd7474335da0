// SPDX-License-Identifier: Apache-2.0

// Package deploy is the pipeline, and the only package that knows the order of its steps: resolve,
// verify, pull, decrypt, render, rehearse, plan, record, apply, wait, prune, settle. The command
// line and the agent both make a [Request] and read an [Outcome].
package deploy
