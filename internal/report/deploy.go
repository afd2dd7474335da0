// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/record"
)

// ofDeploy words why a set was not made true, or not in whole.
func ofDeploy(err error) (Problem, bool) {
	if _, ok := as[*deploy.HeldError](err); ok {
		return Problem{Code: ReasonPruneHeld, Exit: ExitRefused, Hint: "look at what would be deleted; release exactly that with --approve-prune, or by: kustomizer approve prune"}, true
	}
	if e, ok := as[*deploy.NotHealthyError](err); ok {
		return Problem{Code: ReasonHealthCheckFailed, Exit: ExitNotReady, Hint: e.Cause().Code.Hint()}, true
	}
	if _, ok := as[*deploy.ConflictError](err); ok {
		return Problem{Code: ReasonOwnershipConflict, Exit: ExitRefused, Hint: "remove the object from one of the two sets; an inventory takes it over from another inventory with --adopt"}, true
	}
	if e, ok := as[*deploy.RefusedError](err); ok {
		return ofRefused(e.Cause().Code), true
	}
	if _, ok := as[*record.ConflictError](err); ok {
		return Problem{Code: "RecordConflict", Exit: ExitRefused, Hint: "another run is at work on the same set: wait until it has ended"}, true
	}
	return Problem{}, false
}

// ofRefused words that the API server refuses a set, by the first cause. Most are mistakes in the
// manifests; some are not.
func ofRefused(code cause.Code) Problem {
	p := Problem{Code: "Refused", Exit: ExitInvalid, Hint: "correct the manifests: nothing of them was applied"}
	switch code {
	case "", cause.Unknown, cause.InvalidObject:
		return p
	}
	if hint := code.Hint(); hint != "" {
		p.Hint = hint + "; nothing was applied"
	}
	switch code {
	case cause.PermissionDenied, cause.Unauthorized:
		p.Exit = ExitAuth
	case cause.ServerUnavailable, cause.Throttled, cause.DiscoveryFailed, cause.WebhookUnavailable, cause.NamespaceGoing,
		cause.BeingDeleted, cause.QuotaExceeded:
		p.Exit = ExitFailed // nothing is wrong with the manifests: the same may be accepted later
	}
	return p
}
