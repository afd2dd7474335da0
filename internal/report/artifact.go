// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/render"
)

// ofArtifact words what is wrong with a reference or with an artifact's content.
func ofArtifact(err error) (Problem, bool) {
	if e, ok := as[*artifact.ReferenceError](err); ok {
		return Problem{Hint: e.Hint, Code: "Reference", Exit: ExitUsage}, true
	}
	if e, ok := as[*artifact.NotEmptyError](err); ok {
		return Problem{Hint: "give another directory, or empty " + e.Dir, Code: "DirectoryNotEmpty", Exit: ExitRefused}, true
	}
	if _, ok := as[*artifact.FormatError](err); ok {
		return Problem{Hint: "use a newer version of this program", Code: "FormatUnknown", Exit: ExitInvalid}, true
	}
	if e, ok := as[*artifact.RefusedError](err); ok {
		return Problem{Code: string(e.Reason), Exit: ExitInvalid, Hint: hintOfRefusal(e.Reason)}, true
	}
	if e, ok := as[*artifact.MediaTypeError](err); ok {
		return Problem{Code: "MediaType", Exit: ExitUsage, Hint: "for example " + artifact.MediaTypeFluxLayer + ", not " + e.MediaType}, true
	}
	_, mismatch := as[*artifact.MismatchError](err)
	_, short := as[*artifact.ShortError](err)
	if _, remote := as[*registry.Error](err); (mismatch || short) && !remote {
		return Problem{Code: "DigestMismatch", Exit: ExitUnverified, Hint: "copy it again: what is there is damaged"}, true
	}
	if _, ok := as[*artifact.LayoutError](err); ok {
		return Problem{Code: "Layout", Exit: ExitInvalid}, true
	}
	_, platform := as[*artifact.PlatformError](err)
	_, layer := as[*artifact.LayerError](err)
	return Problem{Code: "NoArtifact", Exit: ExitInvalid}, platform || layer
}

func hintOfRefusal(reason artifact.Reason) string {
	switch reason {
	case artifact.SymlinkNotAllowed, artifact.HardLinkNotAllowed, artifact.DeviceNotAllowed:
		return "an artifact may hold plain files and directories only: pack the files themselves"
	case artifact.Encrypted:
		return "decrypt it with the key that it was encrypted for"
	case artifact.Truncated, artifact.Corrupt:
		return "push it again: what the registry has is damaged"
	default:
		return ""
	}
}

// ofBuild words why files don't become Kubernetes objects.
func ofBuild(err error) (Problem, bool) {
	_, syntax := as[*object.SyntaxError](err)
	_, build := as[*render.BuildError](err)
	_, remote := as[*render.RemoteError](err)
	if syntax || build || remote {
		return Problem{Code: ReasonBuildFailed, Exit: ExitInvalid}, true
	}
	if e, ok := as[*render.PathError](err); ok {
		return Problem{Code: "PathNotFound", Exit: ExitInvalid, Hint: fmt.Sprintf("see that %q is there and may be read", e.Path)}, true
	}
	return Problem{}, false
}

// ofRegistry words what a registry answered, or why it did not.
func ofRegistry(err error) (Problem, bool) {
	e, ok := as[*registry.Error](err)
	if !ok {
		return Problem{}, false
	}
	return Problem{Code: "Registry" + string(e.Code), Exit: exitOfRegistry(e.Code), Hint: hintOfRegistry(e)}, true
}

func exitOfRegistry(code registry.Code) int {
	switch code {
	case registry.Unauthorized, registry.Forbidden, registry.NoCredentials:
		return ExitAuth
	case registry.NotFound:
		return ExitNotFound
	case registry.DigestMismatch:
		return ExitUnverified
	case registry.TimedOut:
		return ExitNotReady
	case registry.Invalid, registry.TooLarge:
		return ExitInvalid
	case registry.Rejected:
		return ExitRefused
	default:
		return ExitFailed
	}
}

func hintOfRegistry(e *registry.Error) string {
	switch e.Code {
	case registry.Unauthorized, registry.Forbidden:
		return hintOfCredentials(e)
	case registry.NoCredentials:
		if broken, ok := as[*registry.CredentialsError](e.Err); ok && broken.Hint != "" {
			return broken.Hint
		}
		return "see that it can be read, or log in anew: kustomizer login " + e.Host
	case registry.NotFound:
		return "check the repository and the tag; some registries answer so where a login is missing: kustomizer login " + e.Host
	case registry.PlainHTTP:
		return "if that is meant, allow it: --insecure-registry on the command line, insecure: true on an OCIRepository"
	case registry.TLS:
		return "check the host's name, and that its certificate is signed by an authority that this machine trusts"
	case registry.Unreachable:
		return "check the host " + e.Host + ", and that it can be reached from here"
	case registry.TimedOut:
		return "give it longer with --timeout"
	case registry.Throttled:
		if e.RetryAfter > 0 {
			return fmt.Sprintf("the registry wants to be asked again in %s", e.RetryAfter)
		}
		return "the registry wants to be asked less often: try again later"
	default:
		return ""
	}
}

// hintOfCredentials says where credentials were looked for, and how to get some.
func hintOfCredentials(e *registry.Error) string {
	found := "no credentials for " + e.Host
	if e.Found {
		found = "the credentials for " + e.Host + " were not accepted"
	}
	if len(e.LookedIn) > 0 {
		found += " (looked in " + strings.Join(e.LookedIn, ", ") + ")"
	}
	if slices.ContainsFunc(e.LookedIn, func(place string) bool { return strings.HasPrefix(place, "--provider ") }) {
		return found + ": let the identity that this machine has there read, or write, the repository"
	}
	return found + ": kustomizer login " + e.Host
}
