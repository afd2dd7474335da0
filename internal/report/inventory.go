// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/record"
)

// ofInventory words why an inventory is not applied, or not deleted.
func ofInventory(err error) (Problem, bool) {
	if e, ok := as[*diffError](err); ok {
		return ofDiff(e), true
	}
	if _, ok := as[*deploy.NoInventoryError](err); ok {
		return Problem{Code: "NotFound", Exit: ExitNotFound, Hint: "see which there are: kustomizer get inventories -A"}, true
	}
	if _, ok := as[*deploy.NoRecordError](err); ok {
		return Problem{Code: "NotFound", Exit: ExitNotFound, Hint: "has it been applied yet? where the agent is in another namespace, name that by FLUX_SYSTEM_NAMESPACE"}, true
	}
	if _, ok := as[*deploy.AgentInventoryError](err); ok {
		return Problem{Code: "AgentInventory", Exit: ExitRefused, Hint: "to take it out: kustomizer uninstall"}, true
	}
	if _, ok := as[*deploy.EmptySetError](err); ok {
		return Problem{Code: "Empty", Exit: ExitInvalid, Hint: "to delete what an inventory holds: kustomizer delete inventory"}, true
	}
	if _, ok := as[*deploy.DamagedRecordError](err); ok {
		return Problem{Code: "RecordDamaged", Exit: ExitRefused, Hint: "mend the ConfigMaps that are named, or delete the objects by hand"}, true
	}
	if _, ok := as[*record.NotInventoryError](err); ok {
		return Problem{Code: "NoInventory", Exit: ExitRefused, Hint: "choose another name for the inventory, or remove that ConfigMap"}, true
	}
	if _, ok := as[*record.HeldError](err); ok {
		return Problem{Code: "Locked", Exit: ExitRefused, Hint: "wait until it has ended, then try again"}, true
	}
	return Problem{}, false
}

// diffError is an error of a command whose exit code 1 means differences.
type diffError struct{ err error }

// Error implements error.
func (e *diffError) Error() string { return e.err.Error() }

// Unwrap returns the error.
func (e *diffError) Unwrap() error { return e.err }

// OfDiff marks an error as one of a command whose exit code 1 means that there are differences: its
// own general failure has another code.
func OfDiff(err error) error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok && isJoin(err, many.Unwrap()) { // only a join at the top is taken apart
		errs := make([]error, 0, len(many.Unwrap()))
		for _, one := range many.Unwrap() {
			errs = append(errs, OfDiff(one))
		}
		return errors.Join(errs...)
	}
	return &diffError{err: err}
}

func ofDiff(e *diffError) Problem {
	p := Of(e.err)
	if p.Exit == ExitFailed {
		p.Exit = ExitDiffFailed
	}
	return p
}
