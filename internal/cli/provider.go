// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"

	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/registry/cloud"
)

// genericProvider stands for registries that are no cloud's: credentials come from a login.
const genericProvider = "generic"

// providerFlag says whose registry it is that credentials are for.
type providerFlag struct{ flag, value string }

// AddFlags adds the flag, under a name and for a registry in words.
func (f *providerFlag) AddFlags(fs *pflag.FlagSet, name, of string) {
	f.flag = "--" + name
	fs.StringVar(&f.value, name, genericProvider, "where credentials for "+of+" come from: generic is a login; aws, azure and gcp take the identity that this machine has in that cloud")
}

// isCloud says whether the identity in a cloud is to be used.
func (f *providerFlag) isCloud() bool { return f.flag != "" && f.value != genericProvider }

func (f *providerFlag) cloud() cloud.Provider { return cloud.Provider(f.value) }

// check says what can't be meant with the flag, for a registry.
func (f *providerFlag) check(host string, otherCredentials bool) error {
	switch {
	case !f.isCloud():
		return nil
	case !slices.Contains(cloud.Providers(), f.cloud()):
		return badUsage("want generic, aws, azure or gcp", "%s: there is no provider %q", f.flag, f.value)
	case otherCredentials:
		return badUsage("leave one of them out", "credentials are given for %s generic only, not for %s", f.flag, f.value)
	case !f.cloud().Serves(host):
		return badUsage("those of "+f.value+" are named "+f.cloud().Hosts()+"; for others leave out "+f.flag, "%s %s: %s is not one of its registries", f.flag, f.value, host)
	}
	return nil
}
