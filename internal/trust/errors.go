// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// Reason is why an artifact is not trusted, in one stable word.
type Reason string

// The reasons of an [UntrustedError].
const (
	NoSignature  Reason = "NoSignature"  // there is nothing that could be verified
	NotTrusted   Reason = "NotTrusted"   // there are signatures, and none of them is as the policy demands
	TooMany      Reason = "TooMany"      // more signatures than are looked at, and none of those that were fits
	NotEnforcing Reason = "NotEnforcing" // the Notation trust policy lets anything pass
)

// UntrustedError says that an artifact may not be used.
type UntrustedError struct {
	Digest artifact.Digest
	Reason Reason
	Tried  []string // why each signature that was found does not count, one line each
}

// Error implements error.
func (e *UntrustedError) Error() string {
	s := fmt.Sprintf("verifying %s: ", e.Digest)
	switch e.Reason {
	case NoSignature:
		return s + "there is no signature"
	case NotEnforcing:
		return s + strings.Join(e.Tried, "; ")
	case TooMany:
		s += fmt.Sprintf("there are more than %d signatures, and none of the first fits", maxSignatures)
	default:
		s += "no signature is as it is demanded"
	}
	const shown = 3
	tried := e.Tried
	if len(tried) > shown {
		tried = append(tried[:shown:shown], fmt.Sprintf("and %d more", len(e.Tried)-shown))
	}
	return s + ": " + strings.Join(tried, "; ")
}

// PolicyError says that a policy, a key or an identity makes no sense as it was given.
type PolicyError struct{ Message string }

// Error implements error.
func (e *PolicyError) Error() string { return e.Message }

func badPolicy(format string, args ...any) error {
	return &PolicyError{Message: fmt.Sprintf(format, args...)}
}

// SigningError says that an artifact could not be signed. It is in the registry all the same, without
// a signature.
type SigningError struct {
	Digest artifact.Digest
	Err    error
}

// Error implements error.
func (e *SigningError) Error() string { return fmt.Sprintf("signing %s: %s", e.Digest, e.Err) }

// Unwrap returns the cause.
func (e *SigningError) Unwrap() error { return e.Err }

// ignoreUntrusted drops the error that says that something is not trusted.
func ignoreUntrusted(err error) error {
	var untrusted *UntrustedError
	if errors.As(err, &untrusted) {
		return nil
	}
	return err
}
