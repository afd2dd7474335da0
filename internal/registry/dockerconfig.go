// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

const (
	// helperTimeout bounds one run of a credential helper.
	helperTimeout = 10 * time.Second
	// hubKey is the key of Docker Hub in Docker's configuration, for historical reasons.
	hubKey         = "https://index.docker.io/v1/"
	maxDockerBytes = 4 << 20
)

// Docker finds credentials where docker login, podman login and kustomizer login keep them: in
// Docker's configuration file and the credential helpers that it names, or else in podman's file.
type Docker struct {
	// Getenv reads the environment; nil for the process's own.
	Getenv func(string) string
}

func (d Docker) env(name string) string {
	if d.Getenv != nil {
		return d.Getenv(name)
	}
	return os.Getenv(name)
}

// writable returns the file that login writes to.
func (d Docker) writable() string {
	if dir := d.env("DOCKER_CONFIG"); dir != "" {
		return filepath.Join(dir, "config.json")
	}
	return filepath.Join(d.home(), ".docker", "config.json")
}

func (d Docker) home() string {
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if home := d.env(name); home != "" {
			return home
		}
	}
	return ""
}

// candidates returns the files that may hold credentials; the first one that exists counts.
func (d Docker) candidates() []string {
	files := []string{d.writable()}
	if file := d.env("REGISTRY_AUTH_FILE"); file != "" {
		files = append(files, file)
	}
	if dir := d.env("XDG_RUNTIME_DIR"); dir != "" {
		files = append(files, filepath.Join(dir, "containers", "auth.json"))
	}
	if dir := d.env("XDG_CONFIG_HOME"); dir != "" {
		return append(files, filepath.Join(dir, "containers", "auth.json"))
	}
	return append(files, filepath.Join(d.home(), ".config", "containers", "auth.json"))
}

// Sources returns the file that is read, with its helpers, or those that were looked for.
func (d Docker) Sources() []string {
	for _, file := range d.candidates() {
		if _, err := os.Stat(file); err != nil {
			continue
		}
		source := file
		if cf, err := d.load(file); err == nil && cf.CredentialsStore != "" {
			source += " (credsStore " + artifact.OneLine(cf.CredentialsStore) + ")"
		}
		return []string{source}
	}
	if d.env(configfile.DockerEnvConfigKey) != "" {
		return []string{"the environment's " + configfile.DockerEnvConfigKey}
	}
	missing := []string{}
	for _, file := range d.candidates() {
		missing = append(missing, file+" (does not exist)")
	}
	return missing
}

// Lookup returns the credential for a repository. Entries for a path within a registry, which podman
// writes, win over those for the registry.
func (d Docker) Lookup(ctx context.Context, repo artifact.Repository) (Credential, error) {
	for _, file := range d.candidates() {
		cf, err := d.load(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return Credential{}, err
		}
		for at := repo.Path(); at != "."; at = path.Dir(at) {
			if auth, found := cf.AuthConfigs[repo.Host()+"/"+at]; found {
				return credentialOf(auth), nil
			}
		}
		return d.get(ctx, cf, file, repo.Host())
	}
	if d.env(configfile.DockerEnvConfigKey) != "" {
		return d.get(ctx, configfile.New(""), configfile.DockerEnvConfigKey, repo.Host())
	}
	return Credential{}, nil
}

func (d Docker) load(file string) (*configfile.ConfigFile, error) {
	info, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, os.ErrNotExist
	}
	unreadable := func(reason string) error {
		return &CredentialsError{Source: file, Reason: reason, Hint: "repair the file, or log in again: kustomizer login"}
	}
	switch {
	case err != nil:
		return nil, unreadable("can't be read: " + reasonOf(err))
	case !info.Mode().IsRegular():
		return nil, unreadable("is not a file")
	case info.Size() > maxDockerBytes:
		return nil, unreadable("is too large to be Docker's configuration")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, unreadable("can't be read: " + reasonOf(err))
	}
	defer f.Close()
	cf := configfile.New(file)
	if err := cf.LoadFromReader(f); err != nil {
		return nil, unreadable("is not a Docker configuration in JSON")
	}
	return cf, nil
}

// reasonOf leaves out the path, which the message has already.
func reasonOf(err error) string {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}

func keyOf(host string) string {
	if host == artifact.DefaultHost {
		return hubKey
	}
	return host
}

// get asks the store that the configuration names for a host.
func (d Docker) get(ctx context.Context, cf *configfile.ConfigFile, file, host string) (Credential, error) {
	var auth types.AuthConfig
	err := d.withHelper(ctx, cf, file, host, func() (err error) {
		auth, err = cf.GetAuthConfig(keyOf(host))
		return err
	})
	if err != nil {
		return Credential{}, err
	}
	return credentialOf(auth), nil
}

func credentialOf(auth types.AuthConfig) Credential {
	c := Credential{Username: auth.Username, Password: auth.Password, IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken}
	if c.Password == "" && auth.Auth != "" {
		if user, password, err := decodeAuth(auth.Auth); err == nil {
			c.Username, c.Password = user, password
		}
	}
	if c.Password == "" && c.IdentityToken == "" && c.RegistryToken == "" {
		return Credential{} // an e-mail address or a user alone is no credential
	}
	return c
}

// withHelper runs something that may call a credential helper. Helpers can't be cancelled through
// Docker's library: one that hangs is left behind, and ends with this process.
func (d Docker) withHelper(ctx context.Context, cf *configfile.ConfigFile, file, host string, do func() error) error {
	helper := helperOf(cf, host)
	if helper == "" {
		return d.explain(do(), file, "")
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	timer := time.NewTimer(helperTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return d.explain(err, file, helper)
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return d.helperError(file, helper, fmt.Sprintf("did not answer within %s", helperTimeout))
	}
}

func helperOf(cf *configfile.ConfigFile, host string) string {
	for _, key := range []string{keyOf(host), host} {
		if helper := cf.CredentialHelpers[key]; helper != "" {
			return helper
		}
	}
	return cf.CredentialsStore
}

func (d Docker) helperError(file, helper, reason string) error {
	return &CredentialsError{
		Source: file,
		Reason: fmt.Sprintf("its credential helper docker-credential-%s %s", artifact.OneLine(helper), reason),
		Hint:   "install the helper, or remove it from the file",
	}
}

// explain words an error of a store, without what a helper has printed, which may hold credentials.
func (d Docker) explain(err error, file, helper string) error {
	switch {
	case err == nil:
		return nil
	case helper == "":
		return &CredentialsError{Source: file, Reason: "the credentials in it can't be used: " + reasonOf(err)}
	case strings.Contains(err.Error(), "executable file not found"), strings.Contains(err.Error(), "no such file"):
		return d.helperError(file, helper, "is not installed")
	default:
		return d.helperError(file, helper, "failed")
	}
}

// Stored says where [Docker.Store] put a credential.
type Stored struct {
	File   string
	Helper string // name of the credential helper, or empty if the credential is in the file itself
}

// Store keeps a credential for a host where docker login would: with the helper that the file names,
// or else in the file itself.
func (d Docker) Store(ctx context.Context, host string, c Credential) (Stored, error) {
	auth := types.AuthConfig{
		ServerAddress: keyOf(host), Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken,
	}
	return d.change(ctx, host, func(cf *configfile.ConfigFile, helper string) error {
		if helper != "" {
			return credentials.NewNativeStore(cf, helper).Store(auth)
		}
		cf.AuthConfigs[keyOf(host)] = auth
		return cf.Save()
	})
}

// Erase removes the credential for a host. That there is none is no error.
func (d Docker) Erase(ctx context.Context, host string) (Stored, error) {
	return d.change(ctx, host, func(cf *configfile.ConfigFile, helper string) error {
		if helper != "" {
			return credentials.NewNativeStore(cf, helper).Erase(keyOf(host))
		}
		for key := range cf.AuthConfigs {
			if known, at := splitKey(key); known == host && at == "" {
				delete(cf.AuthConfigs, key)
			}
		}
		return cf.Save()
	})
}

func (d Docker) change(ctx context.Context, host string, do func(cf *configfile.ConfigFile, helper string) error) (Stored, error) {
	file := d.writable()
	cf, err := d.load(file)
	if errors.Is(err, os.ErrNotExist) {
		cf, err = configfile.New(file), os.MkdirAll(filepath.Dir(file), 0o700)
	}
	if err != nil {
		return Stored{}, err
	}
	helper := helperOf(cf, host)
	if err := d.withHelper(ctx, cf, file, host, func() error { return do(cf, helper) }); err != nil {
		return Stored{}, err
	}
	return Stored{File: file, Helper: helper}, nil
}

var _ Credentials = Docker{}
