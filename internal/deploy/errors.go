// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// RefusedError says that the API server, or a decision, refuses a set; nothing of it was written.
type RefusedError struct{ Steps []plan.Step }

// Error implements error.
func (e *RefusedError) Error() string {
	errs := make([]error, 0, len(e.Steps))
	for _, s := range e.Steps {
		errs = append(errs, fmt.Errorf("%s: %s", s.ID, s.Reason))
	}
	return errors.Join(errs...).Error()
}

// Cause returns the cause that the error names first.
func (e *RefusedError) Cause() cause.Cause {
	if len(e.Steps) == 0 {
		return cause.Cause{}
	}
	return e.Steps[0].Cause
}

// NotRecordedError says that a set was not applied, because what would be applied can't be put on record.
type NotRecordedError struct{ Err error }

// Error implements error.
func (e *NotRecordedError) Error() string {
	return "nothing was applied, because it can't be put on record: " + e.Err.Error()
}

// Unwrap returns why it can't.
func (e *NotRecordedError) Unwrap() error { return e.Err }

// HeldError says that the brake holds deletions back.
type HeldError struct {
	Owner plan.Owner
	Brake plan.Brake
}

// Error implements error.
func (e *HeldError) Error() string {
	names := make([]string, 0, len(e.Brake.Objects))
	for _, id := range e.Brake.Objects {
		names = append(names, id.String())
	}
	const show = 10
	if len(names) > show {
		names = append(names[:show], fmt.Sprintf("and %d more", len(e.Brake.Objects)-show))
	}
	return fmt.Sprintf("deletions are held: %s. Held: %s (plan %s)", e.Brake.Reason, strings.Join(names, ", "), e.Brake.Hash)
}

// NotHealthyError says that objects will not become healthy by themselves, or did not in time.
type NotHealthyError struct {
	Report  observe.Report
	Timeout bool
}

// Error implements error.
func (e *NotHealthyError) Error() string {
	sick := e.Report.Failed
	word := "failed"
	if len(sick) == 0 {
		sick, word = e.Report.Pending, "not ready"
	}
	parts := make([]string, 0, len(sick))
	for _, n := range e.first(sick) {
		parts = append(parts, fmt.Sprintf("%s %s: %s", n.ID, word, n.Status.Cause))
	}
	if more := len(sick) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	if e.Timeout {
		return "timed out waiting for health: " + strings.Join(parts, "; ")
	}
	return strings.Join(parts, "; ")
}

// first returns the objects to name: those whose cause says more than "not ready" come first, as
// what others wait for.
func (*NotHealthyError) first(sick []observe.NotReady) []observe.NotReady {
	const show = 10
	ordered := slices.Clone(sick)
	slices.SortStableFunc(ordered, func(a, b observe.NotReady) int {
		return vagueness(a) - vagueness(b)
	})
	return ordered[:min(len(ordered), show)]
}

func vagueness(n observe.NotReady) int {
	switch n.Status.Cause.Code {
	case "", cause.NotReadyYet, cause.Unknown:
		return 1
	default:
		return 0
	}
}

// Cause returns the cause that the error names first.
func (e *NotHealthyError) Cause() cause.Cause {
	for _, sick := range [][]observe.NotReady{e.Report.Failed, e.Report.Pending} {
		if len(sick) > 0 {
			return e.first(sick)[0].Status.Cause
		}
	}
	return cause.Cause{}
}

// StillThereError says that deleted objects are still there, and what holds them.
type StillThereError struct{ Report observe.Report }

// Error implements error.
func (e *StillThereError) Error() string {
	parts := make([]string, 0, len(e.Report.Pending))
	for _, n := range e.Report.Pending {
		parts = append(parts, fmt.Sprintf("%s: %s", n.ID, n.Status.Cause))
	}
	return "timed out waiting until deleted objects are gone: " + strings.Join(parts, "; ")
}

// PruneError says that deletions failed.
type PruneError struct{ Err error }

// Error implements error.
func (e *PruneError) Error() string { return "pruning: " + e.Err.Error() }

// Unwrap returns what failed.
func (e *PruneError) Unwrap() error { return e.Err }

// ConflictError says that objects of the set belong to other owners, who keep them.
type ConflictError struct{ Steps []plan.Step }

// Error implements error.
func (e *ConflictError) Error() string {
	parts := make([]string, 0, len(e.Steps))
	for _, s := range e.Steps {
		parts = append(parts, fmt.Sprintf("%s: %s", s.ID, s.Reason))
	}
	return strings.Join(parts, "; ")
}
