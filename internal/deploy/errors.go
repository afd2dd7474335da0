// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"fmt"
	"strings"

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
	for _, n := range sick {
		parts = append(parts, fmt.Sprintf("%s %s: %s", n.ID, word, n.Status.Cause))
	}
	if e.Timeout {
		return "timed out waiting for health: " + strings.Join(parts, "; ")
	}
	return strings.Join(parts, "; ")
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
