// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/record"
)

// ofDeploy words why a set was not made true, or not in whole.
func ofDeploy(err error) (Problem, bool) {
	if _, ok := as[*deploy.HeldError](err); ok {
		return Problem{Code: ReasonPruneHeld, Exit: ExitRefused, Hint: "look at what would be deleted; release exactly that with --approve-prune, or by: kustomizer approve prune"}, true
	}
	if e, ok := as[*deploy.NotHealthyError](err); ok {
		return Problem{Code: ReasonHealthCheckFailed, Exit: ExitNotReady, Hint: hintOf(e.Cause().Code)}, true
	}
	if _, ok := as[*deploy.StillThereError](err); ok {
		return Problem{Code: "StillThere", Exit: ExitNotReady, Hint: "they stay on record: see what their finalizers wait for, then do it again"}, true
	}
	if e, ok := as[*deploy.NotRecordedError](err); ok {
		return ofNotRecorded(e), true
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
	if hint := hintOf(code); hint != "" {
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

// ofNotRecorded: what keeps a record from being stored, if it is not the server's state of the moment,
// is a refusal.
func ofNotRecorded(e *deploy.NotRecordedError) Problem {
	why := cluster.CauseOf(e.Err)
	p := Problem{Code: "NotRecorded", Exit: exitOfCause(why.Code), Hint: hintOf(why.Code)}
	if _, ok := as[*record.TooLargeError](e); ok {
		p.Hint = "divide the set into several"
	}
	if p.Exit == ExitFailed && why.Code != cause.ServerUnavailable && why.Code != cause.Throttled {
		p.Exit = ExitRefused
	}
	return p
}
