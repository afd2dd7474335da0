// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/registry/cloud"
)

func newLoginCmd(a *app) *cobra.Command {
	var remote connectionFlags
	var f loginFlags
	cmd := &cobra.Command{
		Use:   "login HOST",
		Short: "Check credentials for a registry and keep them",
		Long: "Check credentials with a registry, and keep them where docker login does: with the credential helper that\n" +
			"Docker's configuration names, or else in its file.",
		Example: "  # With a token from the environment\n  echo $GITHUB_TOKEN | kustomizer login ghcr.io -u me --password-stdin\n\n" +
			"  # Docker Hub\n" +
			"  echo $TOKEN | kustomizer login docker.io -u me --password-stdin\n\n" +
			"  # For some hours, with the role that this machine has\n" +
			"  kustomizer login 123456789012.dkr.ecr.eu-west-1.amazonaws.com --provider=aws",
		Args: positional("HOST"),
	}
	f.AddFlags(cmd.Flags())
	remote.AddFlags(cmd.Flags())
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		host, err := loginHost(args[0])
		if err != nil {
			return err
		}
		credential, err := f.credential(ctx, a, cmd, host)
		if err != nil {
			return err
		}
		client, err := remote.connect(a, nil)
		if err != nil {
			return err
		}
		defer client.Close()
		return a.login(ctx, client, host, credential)
	})
	return cmd
}

// loginFlags is the group of flags that say what is to be kept.
type loginFlags struct {
	username string
	secret   password
	provider providerFlag
}

// AddFlags adds the group to a command.
func (f *loginFlags) AddFlags(fs *pflag.FlagSet) {
	fs.StringVarP(&f.username, "username", "u", "", "user name (required, but for --provider)")
	f.secret.AddFlags(fs)
	f.provider.AddFlags(fs, "provider", "the registry")
}

// credential reads the password, or asks the cloud for a credential.
func (f *loginFlags) credential(ctx context.Context, a *app, cmd *cobra.Command, host string) (registry.Credential, error) {
	if err := f.provider.check(host, f.username != "" || f.secret.stdin || f.secret.flag != ""); err != nil {
		return registry.Credential{}, err
	}
	if f.provider.isCloud() {
		credential, err := cloud.New(f.provider.cloud()).ForHost(ctx, host)
		var missing *registry.CredentialsError
		if errors.As(err, &missing) {
			err = &registry.Error{Op: "logging in to", Reference: host, Host: host, Code: registry.NoCredentials, Detail: missing.Error(), Err: missing}
		}
		return credential, err
	}
	if err := requireFlags(cmd, "username"); err != nil {
		return registry.Credential{}, err
	}
	value, err := f.secret.read(a, cmd)
	return registry.Credential{Username: f.username, Password: value}, err
}

func (a *app) login(ctx context.Context, client *registry.Client, host string, credential registry.Credential) error {
	if err := client.Authenticate(ctx, host, credential); err != nil {
		return err
	}
	stored, err := a.docker().Store(ctx, host, credential)
	if err != nil {
		return err
	}
	if stored.Helper != "" {
		a.ui.Success("logged in to %s; the password is kept by docker-credential-%s", host, stored.Helper)
		return nil
	}
	a.ui.Success("logged in to %s", host)
	a.ui.Warn("the password is kept unencrypted in %s: a credential helper would keep it better", stored.File)
	return nil
}

func newLogoutCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logout HOST",
		Short: "Forget the credentials for a registry",
		Example: "  # Forget what kustomizer login or docker login kept\n" +
			"  kustomizer logout ghcr.io\n\n" +
			"  # Docker Hub\n" +
			"  kustomizer logout docker.io\n\n" +
			"  # A registry on a port of its own\n" +
			"  kustomizer logout registry.example.com:5000",
		Args: positional("HOST"),
	}
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, args []string) error {
		host, err := loginHost(args[0])
		if err != nil {
			return err
		}
		if _, err := a.docker().Erase(ctx, host); err != nil {
			return err
		}
		a.ui.Success("logged out of %s", host)
		return nil
	})
	return cmd
}

// loginHost reads the host that credentials are for.
func loginHost(given string) (string, error) {
	host := strings.TrimPrefix(strings.TrimPrefix(given, artifact.Scheme), "https://")
	name, below, _ := strings.Cut(host, "/")
	if strings.Trim(below, "/") != "" {
		return "", badUsage("credentials are for a whole registry: give "+name, "%q names more than a registry", given)
	}
	parsed, err := artifact.ParseHost(name)
	if err != nil {
		return "", badUsage("for example ghcr.io", "%q names no registry: %s", given, err)
	}
	return parsed, nil
}
