// SPDX-License-Identifier: Apache-2.0

package report

import "github.com/kustomizer/kustomizer/internal/secrets"

// ofSecrets words what is wrong with keys, and why something is not decrypted or not applied.
func ofSecrets(err error) (Problem, bool) {
	if e, ok := as[*secrets.KeyError](err); ok {
		return Problem{Code: "Key", Exit: ExitUsage, Hint: e.Hint}, true
	}
	if e, ok := as[*secrets.DecryptError](err); ok {
		return ofDecryption(e), true
	}
	if _, ok := as[*secrets.EncryptedError](err); ok {
		return Problem{Code: "Encrypted", Exit: ExitInvalid, Hint: "decrypt it before it is built, or, where something in the cluster does, annotate the object: " +
			secrets.DecryptKey + ": disabled (not on a Secret)"}, true
	}
	return Problem{}, false
}

func ofDecryption(e *secrets.DecryptError) Problem {
	switch e.Failure {
	case secrets.NoIdentity:
		return Problem{Code: string(e.Failure), Exit: ExitAuth, Hint: "give the file with the private key: --age-identities"}
	case secrets.WrongIdentity:
		return Problem{Code: string(e.Failure), Exit: ExitAuth, Hint: "give the private key of one of those that it was encrypted for: --age-identities"}
	default:
		return Problem{Code: string(e.Failure), Exit: ExitInvalid, Hint: "push it again, and look at who else may push there"}
	}
}
