// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/health"
)

// judge says whether an object is as it is waited for, and if not, what it is waiting for.
func judge(t Target, r record) (bool, health.Status) {
	switch {
	case r.presence == unseen && r.problem.Code != "":
		return false, health.Status{State: health.Unknown, Cause: r.problem, Message: "could not be looked at"}
	case r.presence == unseen:
		return false, notYet(health.Unknown, "not looked at yet")
	case t.Absent:
		return judgeAbsent(t, r)
	case r.presence != present:
		return t.MayVanish && r.presence == gone, notYet(health.NotFound, "not found yet")
	case t.UID != "" && r.uid != t.UID:
		return false, withCause(health.InProgress, cause.Conflict, "another object of this name has taken its place")
	case t.MinResourceVersion != "" && older(r.resourceVersion, t.MinResourceVersion):
		return false, notYet(health.InProgress, "its state after the apply has not been seen yet")
	default:
		return r.status.State == health.Current, explained(r)
	}
}

// judgeAbsent: an object that is gone from lists is not gone until a read says so; a namesake with
// another UID is another object.
func judgeAbsent(t Target, r record) (bool, health.Status) {
	switch {
	case r.presence == doubtful:
		return false, withCause(health.Terminating, cause.BeingDeleted, "gone from the list, not yet known to be deleted")
	case r.presence == gone, t.UID != "" && r.uid != t.UID:
		return true, health.Status{State: health.NotFound}
	case r.status.State == health.Terminating:
		return false, r.status
	default:
		return false, withCause(health.InProgress, cause.BeingDeleted, "not deleted yet")
	}
}

// explained puts what the pods say in the place of a cause that says no more than "not ready".
func explained(r record) health.Status {
	s := r.status
	if r.podSays.Code != "" && s.State != health.Current && health.Generic(s.Cause.Code) {
		s.Cause = r.podSays
	}
	return s
}

func notYet(state health.State, message string) health.Status {
	return withCause(state, cause.NotReadyYet, message)
}

func withCause(state health.State, code cause.Code, message string) health.Status {
	return health.Status{State: state, Cause: cause.Cause{Code: code, Detail: message}, Message: message}
}
