// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"fmt"
	"time"

	"github.com/kustomizer/kustomizer/internal/object"
)

// UsageError says that a command was called in a way that can't work: a flag, an argument or a
// setting is missing or wrong.
type UsageError struct {
	Message string
	Hint    string
}

// Error implements error.
func (e *UsageError) Error() string { return e.Message }

// NoClusterError says that nothing tells which cluster is meant.
type NoClusterError struct{}

// Error implements error.
func (*NoClusterError) Error() string { return "no cluster is configured" }

// KubeconfigError says that the kubeconfig can't be used as it is.
type KubeconfigError struct{ Err error }

// Error implements error.
func (e *KubeconfigError) Error() string { return "reading the kubeconfig: " + e.Err.Error() }

// Unwrap returns the underlying error.
func (e *KubeconfigError) Unwrap() error { return e.Err }

// SignalError says that a signal ended a command. It is the cause of the context's end.
type SignalError struct {
	Name   string // such as "interrupt"
	Number int    // such as 2
}

// Error implements error.
func (e *SignalError) Error() string { return "stopped by a signal: " + e.Name }

// TimeoutError says that a command's own time limit ended it. It is the cause of the context's end.
type TimeoutError struct{ After time.Duration }

// Error implements error.
func (e *TimeoutError) Error() string { return fmt.Sprintf("timed out after %s", e.After) }

// Unwrap returns what it is the cause of: who reads an answer when the context ends is told the cause alone.
func (e *TimeoutError) Unwrap() error { return context.DeadlineExceeded }

// DeclinedError says that a person was asked and said no.
type DeclinedError struct{}

// Error implements error.
func (*DeclinedError) Error() string { return "not confirmed: nothing was changed" }

// RefusedError says that a command will not do what it was asked to, because the state of things
// forbids it.
type RefusedError struct {
	Message string
	Hint    string
}

// Error implements error.
func (e *RefusedError) Error() string { return e.Message }

// NotFoundError says that what a command is about does not exist.
type NotFoundError struct {
	What string
	Hint string
}

// Error implements error.
func (e *NotFoundError) Error() string { return e.What + " was not found" }

// ConditionError says that a resource's own condition ends the wait for it: it failed, and waiting
// longer would change nothing.
type ConditionError struct {
	ID      object.ID
	Reason  string
	Message string
}

// Error implements error.
func (e *ConditionError) Error() string {
	return fmt.Sprintf("%s is not ready: %s: %s", e.ID, e.Reason, e.Message)
}

// WaitError says that the time to wait for a resource was up, and what it said last.
type WaitError struct {
	ID      object.ID
	After   time.Duration
	Reason  string
	Message string
}

// Error implements error.
func (e *WaitError) Error() string {
	line := fmt.Sprintf("timed out after %s waiting for %s", e.After, e.ID)
	if e.Reason == "" {
		return line + ": no controller has looked at it yet"
	}
	return line + ": " + e.Reason + ": " + e.Message
}
