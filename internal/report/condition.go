// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"regexp"
	"strings"
)

// The reasons of the Ready condition that the command line knows more about than that it is not
// ready. Most are Flux's own.
const (
	ReasonPruneHeld            = "PruneHeld"
	ReasonOwnershipConflict    = "OwnershipConflict"
	ReasonUnsupportedField     = "UnsupportedField"
	ReasonBuildFailed          = "BuildFailed"
	ReasonHealthCheckFailed    = "HealthCheckFailed"
	ReasonAuthenticationFailed = "AuthenticationFailed"
	ReasonAccessDenied         = "AccessDenied"
	ReasonVerificationError    = "VerificationError"
	ReasonURLInvalid           = "URLInvalid"
)

// ofCondition words why a resource is not ready.
func ofCondition(err error) (Problem, bool) {
	var failed *ConditionError
	var late *WaitError
	switch {
	case errors.As(err, &failed):
		return Problem{Code: failed.Reason, Exit: exitOfReason(failed.Reason), Hint: hintOfReason(failed)}, true
	case errors.As(err, &late):
		p := Problem{Code: "TimedOut", Exit: ExitNotReady, Hint: "it goes on in the cluster; see: kustomizer events --for " + late.ID.Kind + "/" + late.ID.Name}
		if late.Reason == "" {
			p.Hint = "does the agent run? kubectl get pods -n flux-system; install it with: kustomizer install"
		}
		return p, true
	default:
		return Problem{}, false
	}
}

func exitOfReason(reason string) int {
	switch reason {
	case ReasonPruneHeld, ReasonOwnershipConflict:
		return ExitRefused
	case ReasonHealthCheckFailed:
		return ExitNotReady
	case ReasonAuthenticationFailed, ReasonAccessDenied:
		return ExitAuth
	case ReasonVerificationError:
		return ExitUnverified
	case ReasonBuildFailed:
		return ExitInvalid
	default:
		return ExitFailed
	}
}

func hintOfReason(e *ConditionError) string {
	switch e.Reason {
	case ReasonPruneHeld:
		if strings.Contains(e.Message, Release(e)) {
			return "" // it is said already
		}
		return "look at what would be deleted and release it: " + Release(e)
	case ReasonOwnershipConflict:
		return "remove the object from one of the two sets"
	case ReasonUnsupportedField:
		return "remove the field named in the message: it is not implemented yet, and none is ignored"
	case ReasonBuildFailed:
		return "correct the manifests and push again; nothing was applied"
	case ReasonAuthenticationFailed:
		return "check the Secret that secretRef names: kustomizer create secret oci --help"
	default:
		return ""
	}
}

// Release returns the command that releases a held deletion.
func Release(e *ConditionError) string {
	return "kustomizer approve prune ks/" + e.ID.Name + " -n " + e.ID.Namespace
}

// HeldPlan returns the hash of the plan whose deletions are held, which the message of a
// condition with the reason PruneHeld carries as "plan <64 hex digits>".
func HeldPlan(message string) (string, bool) {
	match := regexp.MustCompile(`\bplan (?:sha256:)?([0-9a-f]{64})\b`).FindStringSubmatch(message)
	if match == nil {
		return "", false
	}
	return match[1], true
}
