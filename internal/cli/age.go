// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/secrets"
)

// identityFlags is the group of flags that say what artifacts are decrypted with.
type identityFlags struct{ files []string }

// AddFlags adds the group to a command.
func (f *identityFlags) AddFlags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.files, "age-identities", nil, "file with private keys, of age or SSH, to decrypt artifacts with")
}

// keys reads the files.
func (f *identityFlags) keys() (deploy.Keys, error) {
	if len(f.files) == 0 {
		return nil, nil //nolint:nilnil // no keys
	}
	identities, err := secrets.ReadIdentities(f.files)
	if err != nil {
		return nil, err
	}
	return func(context.Context) (*secrets.Identities, error) { return identities, nil }, nil
}

// recipientFlags is the group of flags that say who can read an artifact.
type recipientFlags struct{ given []string }

// AddFlags adds the group to a command.
func (f *recipientFlags) AddFlags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.given, "age-recipients", nil, "encrypt for these public keys: one of age (age1…) or SSH (ssh-ed25519 …), or a file with one on each line")
}

// recipients reads the keys; nil where there are none.
func (f *recipientFlags) recipients() (*secrets.Recipients, error) {
	if len(f.given) == 0 {
		return nil, nil //nolint:nilnil // readable by everybody
	}
	return secrets.ReadRecipients(f.given)
}
