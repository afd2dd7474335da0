// SPDX-License-Identifier: Apache-2.0

package report

import "github.com/kustomizer/kustomizer/internal/trust"

// ofTrust words why an artifact may not be used, or can't be signed.
func ofTrust(err error) (Problem, bool) {
	if e, ok := as[*trust.UntrustedError](err); ok {
		return Problem{Code: string(e.Reason), Exit: ExitUnverified, Hint: hintOfDistrust(e.Reason)}, true
	}
	if _, ok := as[*trust.PolicyError](err); ok {
		return Problem{Code: "Policy", Exit: ExitUsage}, true
	}
	if _, ok := as[*trust.PasswordError](err); ok {
		return Problem{Code: "KeyPassword", Exit: ExitUsage, Hint: "set COSIGN_PASSWORD to the password that the key was made with"}, true
	}
	if _, ok := as[*trust.TokenError](err); ok {
		return Problem{
			Code: "NoToken", Exit: ExitAuth,
			Hint: "set SIGSTORE_ID_TOKEN or give --identity-token; on GitHub give the job the permission id-token: write; or sign with a key: --cosign-key",
		}, true
	}
	if _, ok := as[*trust.RootError](err); ok {
		return Problem{Code: "NoRoot", Exit: ExitFailed, Hint: "give one that is at hand with --trusted-root, or use the recorded one with --offline"}, true
	}
	if _, ok := as[*trust.ServiceError](err); ok {
		return Problem{Code: "SigningService", Exit: ExitFailed, Hint: "try again, or sign with a key: --cosign-key"}, true
	}
	_, signing := as[*trust.SigningError](err)
	return Problem{Code: "NotSigned", Exit: ExitFailed}, signing
}

func hintOfDistrust(reason trust.Reason) string {
	switch reason {
	case trust.NoSignature:
		return "sign it: kustomizer sign artifact, or cosign sign"
	case trust.NotEnforcing:
		return "give the policy the level strict or permissive"
	default:
		return "check the key or the identity, and who else may push there"
	}
}
