// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/record"
)

// ofDeploy words why a set was not made true, or not in whole.
func ofDeploy(err error) (Problem, bool) {
	if _, ok := as[*deploy.HeldError](err); ok {
		return Problem{Code: ReasonPruneHeld, Exit: ExitRefused, Hint: "look at what would be deleted; release exactly that with --approve-prune, or by: kustomizer approve prune"}, true
	}
	if _, ok := as[*deploy.NotHealthyError](err); ok {
		return Problem{Code: ReasonHealthCheckFailed, Exit: ExitNotReady}, true
	}
	if _, ok := as[*deploy.ConflictError](err); ok {
		return Problem{Code: ReasonOwnershipConflict, Exit: ExitRefused, Hint: "remove the object from one of the two sets"}, true
	}
	if _, ok := as[*deploy.RefusedError](err); ok {
		return Problem{Code: "Refused", Exit: ExitInvalid, Hint: "correct the manifests: nothing of them was applied"}, true
	}
	if _, ok := as[*record.ConflictError](err); ok {
		return Problem{Code: "RecordConflict", Exit: ExitRefused, Hint: "another run is at work on the same set: wait until it has ended"}, true
	}
	return Problem{}, false
}
