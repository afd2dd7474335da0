// SPDX-License-Identifier: Apache-2.0

package report

import "github.com/kustomizer/kustomizer/internal/deploy"

// ofInstall words why install refuses, or an agent refuses to start.
func ofInstall(err error) (Problem, bool) {
	if e, ok := as[*deploy.OtherEngineError](err); ok {
		return Problem{Hint: e.Hint(), Code: "OtherEngine", Exit: ExitRefused}, true
	}
	if e, ok := as[*deploy.FenceError](err); ok {
		return Problem{Hint: e.Hint(), Code: "OtherEngine", Exit: ExitRefused}, true
	}
	if _, ok := as[*deploy.ForeignAgentError](err); ok {
		return Problem{Hint: "upgrade it with that tool, or take it over with --force", Code: "ForeignAgent", Exit: ExitRefused}, true
	}
	if _, ok := as[*deploy.DefinitionError](err); ok {
		return Problem{Hint: "have its owner upgrade it, then install again", Code: "DefinitionTooOld", Exit: ExitRefused}, true
	}
	return Problem{}, false
}
