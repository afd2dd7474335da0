// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
)

// maxTime bounds a verification, however slowly signatures come.
const maxTime = 2 * time.Minute

// Verify decides whether the artifact with a digest may be used. It returns by what it is trusted, an
// [UntrustedError] if it is not, a [PolicyError] where the policy makes no sense, and other errors
// where that can't be known, since a registry or a service does not answer.
func Verify(ctx context.Context, at Place, pinned artifact.Pinned, policy Policy) (Verified, error) {
	if err := policy.check(); err != nil {
		return Verified{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	v := &verification{at: at, pinned: pinned, policy: policy}
	steps := []func(context.Context) (*Verified, error){v.bundles, v.tagged}
	if policy.Notation != nil {
		steps = []func(context.Context) (*Verified, error){v.notation}
	}
	for _, step := range steps {
		found, err := step(ctx)
		var untrusted *UntrustedError
		var policyErr *PolicyError
		switch {
		case errors.As(err, &untrusted), errors.As(err, &policyErr):
			return Verified{}, err
		case err != nil:
			return Verified{}, fmt.Errorf("verifying %s: %w", pinned, err)
		}
		if found != nil {
			found.Digest = pinned.Digest()
			return *found, nil
		}
	}
	return Verified{}, v.failure()
}

// verification is one at work.
type verification struct {
	at     Place
	pinned artifact.Pinned
	policy Policy

	looked  int      // signatures looked at
	cut     bool     // there are more
	tried   []string // why each that was looked at does not count
	unclear error    // why one could not be looked at
}

// failure says why nothing was found.
func (v *verification) failure() error {
	if v.unclear != nil {
		return fmt.Errorf("verifying %s: %w", v.pinned, v.unclear)
	}
	e := &UntrustedError{Digest: v.pinned.Digest(), Reason: NotTrusted, Tried: v.tried}
	switch {
	case v.cut:
		e.Reason = TooMany
	case len(v.tried) == 0:
		e.Reason = NoSignature
	}
	return e
}

// next says whether one more signature is looked at.
func (v *verification) next() bool {
	if v.looked >= maxSignatures {
		v.cut = true
		return false
	}
	v.looked++
	return true
}

// reject notes why a signature does not count.
func (v *verification) reject(what, format string, args ...any) {
	v.tried = append(v.tried, what+": "+artifact.OneLine(fmt.Sprintf(format, args...)))
}

// unreadable tells what is wrong with a signature from what is wrong with the way to it. The first
// counts against the signature; the second leaves open what it says, and is told unless another
// signature decides.
func (v *verification) unreadable(what string, err error) {
	var remote *registry.Error
	if errors.As(err, &remote) {
		switch remote.Code {
		case registry.DigestMismatch, registry.Invalid, registry.TooLarge, registry.NotFound:
		default:
			v.unclear = err
			return
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		v.unclear = err
		return
	}
	v.reject(what, "it can't be read: %s", err)
}
