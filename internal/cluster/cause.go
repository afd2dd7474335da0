// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"net"
	"regexp"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/cause"
)

// CauseOf says in the closed vocabulary why a request failed.
func CauseOf(err error) cause.Cause {
	if err == nil {
		return cause.Cause{}
	}
	return cause.Cause{Code: codeOf(err), Detail: artifact.Line(err.Error())}
}

func codeOf(err error) cause.Code {
	var kind *KindError
	var disc *DiscoveryError
	switch {
	case errors.As(err, &kind):
		return cause.KindMissing
	case errors.As(err, &disc):
		if code := codeOfStatus(disc.Err); code != cause.Unknown {
			return code
		}
		return cause.DiscoveryFailed
	default:
		return codeOfStatus(err)
	}
}

func codeOfStatus(err error) cause.Code {
	text := err.Error()
	_, noDryRun := DryRunUnsupported(err)
	switch {
	case noDryRun:
		return cause.DryRunUnsupported
	case strings.Contains(text, "exceeded quota"):
		return cause.QuotaExceeded
	case strings.Contains(text, "failed calling webhook"):
		return cause.WebhookUnavailable
	case strings.Contains(text, "admission webhook") && strings.Contains(text, "denied"):
		return cause.WebhookDenied
	case strings.Contains(text, "ValidatingAdmissionPolicy") && strings.Contains(text, "denied request"):
		return cause.PolicyDenied
	case apierrors.IsForbidden(err):
		return codeOfForbidden(text)
	case apierrors.IsUnauthorized(err):
		return cause.Unauthorized
	case isNamesake(err):
		return cause.Conflict
	case IsImmutable(err):
		return cause.ImmutableField
	case IsNamespaceMissing(err):
		return cause.NamespaceMissing
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), badApply(text):
		return cause.InvalidObject
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return cause.Conflict
	case apierrors.IsTooManyRequests(err):
		return cause.Throttled
	case unavailable(err):
		return cause.ServerUnavailable
	default:
		return cause.Unknown
	}
}

// codeOfForbidden tells what forbids: admission answers like authorisation does.
func codeOfForbidden(text string) cause.Code {
	switch {
	case strings.Contains(text, "because it is being terminated"):
		return cause.NamespaceGoing
	case strings.Contains(text, "error looking up service account"):
		return cause.ServiceAccountMissing
	case strings.Contains(text, "violates PodSecurity"):
		return cause.PodSecurity
	default:
		return cause.PermissionDenied
	}
}

// badApply says whether the server refused what was applied because it does not fit the kind's
// schema. It answers that with 500.
func badApply(text string) bool {
	return strings.Contains(text, "failed to create typed patch object") || strings.Contains(text, "failed to convert to unstructured")
}

func unavailable(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded) ||
		apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsInternalError(err) || apierrors.IsTimeout(err)
}

var immutable = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(field is immutable|is immutable|immutable field|may not be changed|may not change once set|updates to .* forbidden|cannot change roleRef)`)
})

// IsImmutable says whether the server refused a change because a field can't be changed in place.
// The server has no reason of its own for it: it is an Invalid error whose text says so.
func IsImmutable(err error) bool {
	return apierrors.IsInvalid(err) && immutable().MatchString(err.Error()) && !isNamesake(err)
}

// isNamesake says whether an apply was refused because the object that lives is another one than the
// one that was meant. The server puts that as an attempt to change the UID.
func isNamesake(err error) bool {
	return apierrors.IsInvalid(err) && strings.Contains(err.Error(), "metadata.uid: Invalid value")
}

var noDryRun = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^admission webhook "([^"]*)" does not support dry run$`)
})

// DryRunUnsupported names the webhook because of which the server can't say what a request would do:
// it would be called, and does not promise that this has no effect.
func DryRunUnsupported(err error) (webhook string, is bool) {
	var status apierrors.APIStatus
	if !apierrors.IsBadRequest(err) || !errors.As(err, &status) {
		return "", false
	}
	found := noDryRun().FindStringSubmatch(status.Status().Message)
	if found == nil {
		return "", false
	}
	return found[1], true
}

// IsNamespaceMissing says whether a request failed because its namespace does not exist.
func IsNamespaceMissing(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Group == "" && details.Kind == "namespaces"
}
