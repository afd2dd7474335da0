// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
)

// table lists what is known about errors, from the particular to the general. The first entry that
// recognises an error words it.
func table() []func(error) (Problem, bool) {
	return []func(error) (Problem, bool){
		ofSignal, ofInventory, ofCommand, ofInstall, ofCondition, ofSecrets, ofArtifact, ofBuild, ofRegistry, ofTrust, ofPublish, ofDeploy, ofCluster, ofNetwork, ofTimeout, ofSystem,
	}
}

// as is errors.As in the form of an expression.
func as[T any](err error) (T, bool) {
	var target T
	ok := errors.As(err, &target)
	return target, ok
}

func ofSignal(err error) (Problem, bool) {
	signal, ok := as[*SignalError](err)
	if !ok {
		return Problem{}, false
	}
	return Problem{Line: signal.Error(), Code: "Interrupted", Exit: 128 + signal.Number}, true
}

// ofCommand words what the command line itself found.
func ofCommand(err error) (Problem, bool) {
	if e, ok := as[*UsageError](err); ok {
		return Problem{Hint: e.Hint, Code: "Usage", Exit: ExitUsage}, true
	}
	if _, ok := as[*NoClusterError](err); ok {
		return Problem{Hint: "set KUBECONFIG, or name one with --kubeconfig", Code: "NoCluster", Exit: ExitUsage}, true
	}
	if _, ok := as[*KubeconfigError](err); ok {
		return Problem{Hint: "see: kubectl config get-contexts", Code: "Kubeconfig", Exit: ExitUsage}, true
	}
	if _, ok := as[*DeclinedError](err); ok {
		return Problem{Code: "Declined", Exit: ExitFailed}, true
	}
	if e, ok := as[*RefusedError](err); ok {
		return Problem{Hint: e.Hint, Code: "Refused", Exit: ExitRefused}, true
	}
	if e, ok := as[*NotFoundError](err); ok {
		return Problem{Hint: e.Hint, Code: "NotFound", Exit: ExitNotFound}, true
	}
	return Problem{}, false
}

// ofCluster words what an API server answered, or that it has no such kind.
func ofCluster(err error) (Problem, bool) {
	if kind, ok := as[*cluster.KindError](err); ok {
		return ofMissingKind(kind), true
	}
	if _, ok := as[apierrors.APIStatus](err); !ok {
		if _, ok := as[*cluster.DiscoveryError](err); !ok || !answered(err) {
			return Problem{}, false
		}
	}
	code := cluster.CauseOf(err).Code
	p := Problem{Code: string(code), Hint: hintOf(code), Exit: exitOfCause(code)}
	switch {
	case apierrors.IsNotFound(err):
		p.Code, p.Exit = "NotFound", ExitNotFound
	case code == cause.Unauthorized:
		p.Line = "the cluster does not accept these credentials: " + err.Error()
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		p.Exit = ExitNotReady
	}
	return p, true
}

// answered says whether the failed discovery got an answer from the server at all.
func answered(err error) bool {
	var netErr net.Error
	return !errors.As(err, &netErr)
}

func ofMissingKind(e *cluster.KindError) Problem {
	p := Problem{Code: string(cause.KindMissing), Hint: cause.KindMissing.Hint(), Exit: ExitNotFound}
	if strings.HasSuffix(e.GroupKind.Group, ".toolkit.fluxcd.io") {
		p.Line = "the cluster has no " + e.GroupKind.Kind + " resources: nothing is installed on it"
		p.Hint = "install first: kustomizer install"
	}
	return p
}

// hintOf says what a person at a terminal can do about a cause. Nothing is tried again there by itself.
func hintOf(code cause.Code) string {
	switch code {
	case cause.ServerUnavailable, cause.Throttled:
		return code.Hint() + ", then run the command again"
	default:
		return code.Hint()
	}
}

func exitOfCause(code cause.Code) int {
	switch code {
	case cause.Unauthorized, cause.PermissionDenied:
		return ExitAuth
	case cause.Conflict, cause.OwnedByOther, cause.WebhookDenied, cause.ImmutableField:
		return ExitRefused
	case cause.InvalidObject:
		return ExitInvalid
	case cause.KindMissing, cause.NamespaceMissing:
		return ExitNotFound
	default:
		return ExitFailed
	}
}

// ofNetwork words what kept a request from getting an answer.
func ofNetwork(err error) (Problem, bool) {
	if dns, ok := as[*net.DNSError](err); ok {
		return Problem{Line: "the host " + dns.Name + " is not known: " + err.Error(), Code: "HostUnknown",
			Hint: "check the name, and that this machine can resolve it"}, true
	}
	if _, ok := as[x509.UnknownAuthorityError](err); ok {
		return Problem{Code: "CertificateUnknown", Hint: "the server's certificate is signed by an authority that is not trusted here: give its CA"}, true
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return Problem{Code: "ConnectionRefused", Hint: "nothing listens at that address: check it, and that the server runs"}, true
	}
	return Problem{}, false
}

func ofTimeout(err error) (Problem, bool) {
	if _, ok := as[*TimeoutError](err); ok {
		return Problem{Code: "TimedOut", Exit: ExitNotReady, Hint: "give it longer with --timeout"}, true
	}
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		return Problem{Code: "TimedOut", Exit: ExitNotReady}, true
	}
	return Problem{}, false
}

func ofSystem(err error) (Problem, bool) {
	path, ok := as[*fs.PathError](err)
	switch {
	case !ok:
		return Problem{}, false
	case errors.Is(err, fs.ErrNotExist):
		return Problem{Code: "FileNotFound", Exit: ExitUsage, Hint: "check the path " + path.Path}, true
	case errors.Is(err, fs.ErrPermission):
		return Problem{Code: "FilePermission", Exit: ExitFailed, Hint: "check who may read or write " + path.Path}, true
	default:
		return Problem{Code: "File", Exit: ExitFailed}, true
	}
}
