// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

func repository(t *testing.T, s string) artifact.Repository {
	t.Helper()
	repo, err := artifact.ParseRepository(s)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func basic(user string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":canary"))
}

func TestASecretsEntriesAreFoundByHostAndPath(t *testing.T) {
	t.Parallel()
	secret, err := registry.NewSecret(fmt.Appendf(nil, `{"auths":{
		"ghcr.io":{"username":"host","password":"canary"},
		"https://ghcr.io/org":{"auth":%q},
		"ghcr.io/org/app":{"auth":%q},
		"https://index.docker.io/v1/":{"auth":%q},
		"*.example.com":{"auth":%q},
		"r.example.org:5000":{"identitytoken":"canary"}}}`, basic("org"), basic("app"), basic("hub"), basic("glob")), "secret apps/pull")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ghcr.io/other/app":            "host",
		"ghcr.io/org/other":            "org",
		"ghcr.io/organisation/x":       "host",
		"ghcr.io/org/app":              "app",
		"ghcr.io/org/app/deeper":       "app",
		"me/app":                       "hub",
		"docker.io/me/app":             "hub",
		"eu.example.com/app":           "glob",
		"a.b.example.com/app":          "",
		"example.com/app":              "",
		"r.example.org/app":            "",
		"ghcr.io.evil.example/org/app": "",
	} {
		got, err := secret.Lookup(t.Context(), repository(t, name))
		if err != nil || got.Username != want {
			t.Errorf("%s: %q, %v, want %q", name, got.Username, err, want)
		}
	}
	if got, err := secret.Lookup(t.Context(), repository(t, "r.example.org:5000/app")); err != nil || got.IdentityToken == "" {
		t.Errorf("with a port: %v", err)
	}
	want := []string{"secret apps/pull (entries for *.example.com, docker.io, ghcr.io, r.example.org:5000)"}
	if diff := cmp.Diff(want, secret.Sources()); diff != "" {
		t.Error(diff)
	}
}

func TestASecretThatCantBeReadSaysNothingOfItsContent(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"canary", `{"auths":{"ghcr.io":{"auth":"canary!"}}}`, `{"auths":{"ghcr.io":{"auth":"Y2FuYXJ5"}}}`, ""} {
		_, err := registry.NewSecret([]byte(content), "secret apps/pull")
		var bad *registry.CredentialsError
		if !errors.As(err, &bad) || strings.Contains(err.Error(), "canary") || !strings.HasPrefix(err.Error(), "secret apps/pull: ") {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestACredentialHidesItself(t *testing.T) {
	t.Parallel()
	c := registry.Credential{Username: "jane", Password: "canary"}
	if s := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(s, "canary") || strings.Contains(s, "jane") {
		t.Error(s)
	}
}

// home is a home directory with a Docker configuration.
func home(t *testing.T, config string) (registry.Docker, string) {
	t.Helper()
	dir := t.TempDir()
	if config != "" {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"DOCKER_CONFIG": dir, "HOME": dir}
	return registry.Docker{Getenv: func(name string) string { return env[name] }}, filepath.Join(dir, "config.json")
}

func TestDockersConfigurationIsRead(t *testing.T) {
	t.Parallel()
	docker, file := home(t, fmt.Sprintf(`{"auths":{"ghcr.io":{"auth":%q},"https://r.example/v2/":{"auth":%q},
		"https://index.docker.io/v1/":{"auth":%q},"ghcr.io/org":{"auth":%q},"empty.example":{}}}`,
		basic("host"), basic("legacy"), basic("hub"), basic("path")))
	for name, want := range map[string]string{
		"ghcr.io/x/app": "host", "r.example/app": "legacy", "me/app": "hub", "ghcr.io/org/app": "path", "empty.example/app": "", "other.example/app": "",
	} {
		got, err := docker.Lookup(t.Context(), repository(t, name))
		if err != nil || got.Username != want || got.IsZero() != (want == "") {
			t.Errorf("%s: %q, %v, want %q", name, got.Username, err, want)
		}
	}
	if diff := cmp.Diff([]string{file}, docker.Sources()); diff != "" {
		t.Error(diff)
	}
}

func TestPodmansFileIsReadWhereDockersIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := map[string]string{"HOME": dir, "REGISTRY_AUTH_FILE": filepath.Join(dir, "auth.json")}
	docker := registry.Docker{Getenv: func(name string) string { return env[name] }}
	if c, err := docker.Lookup(t.Context(), repository(t, "ghcr.io/app")); err != nil || !c.IsZero() {
		t.Errorf("without any file: %v", err)
	}
	if got := strings.Join(docker.Sources(), "\n"); !strings.Contains(got, filepath.Join(".docker", "config.json")+" (does not exist)") {
		t.Errorf("sources %s", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "auth.json"), fmt.Appendf(nil, `{"auths":{"ghcr.io":{"auth":%q}}}`, basic("podman")), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := docker.Lookup(t.Context(), repository(t, "ghcr.io/app")); err != nil || c.Username != "podman" {
		t.Errorf("found %q, %v", c.Username, err)
	}
}

// helper installs a credential helper that is a shell script, and a configuration that names it.
func helper(t *testing.T, script string) (registry.Docker, string) {
	t.Helper()
	bin := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return home(t, `{"credsStore":"test"}`)
}

func TestCredentialHelpersAreAsked(t *testing.T) {
	docker, file := helper(t, `read host; echo "{\"ServerURL\":\"$host\",\"Username\":\"helped-$host\",\"Secret\":\"canary\"}"`)
	got, err := docker.Lookup(t.Context(), repository(t, "ghcr.io/app"))
	if err != nil || got.Username != "helped-ghcr.io" {
		t.Errorf("found %q, %v", got.Username, err)
	}
	if got, err := docker.Lookup(t.Context(), repository(t, "me/app")); err != nil || got.Username != "helped-https://index.docker.io/v1/" {
		t.Errorf("found %q, %v", got.Username, err)
	}
	if diff := cmp.Diff([]string{file + " (credsStore test)"}, docker.Sources()); diff != "" {
		t.Error(diff)
	}
}

func TestCredentialHelpersThatFailAreNamedAndNotQuoted(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"missing":      {"", "is not installed"},
		"fails":        {"echo canary; exit 1", "failed"},
		"garbage":      {"echo canary", "failed"},
		"knows nobody": {"echo 'credentials not found in native keychain'; exit 1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			docker, _ := helper(t, c.script)
			got, err := docker.Lookup(t.Context(), repository(t, "ghcr.io/app"))
			if c.want == "" {
				if err != nil || !got.IsZero() {
					t.Errorf("got %v", err)
				}
				return
			}
			var bad *registry.CredentialsError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), "docker-credential-test "+c.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAHelperThatHangsEndsWithTheCall(t *testing.T) {
	docker, _ := helper(t, "exec sleep 5 2>/dev/null")
	reg := testkit.MemRegistry(t)
	client := newClient(t, registry.Options{Credentials: docker, Timeout: 100_000_000})
	_, err := client.Resolve(t.Context(), tagOf(t, reg.Host, "org/app:1"))
	wantCode(t, err, registry.TimedOut)
}

func TestAConfigurationThatCantBeReadIsAnError(t *testing.T) {
	t.Parallel()
	docker, file := home(t, `{"auths": canary`)
	reg := testkit.MemRegistry(t)
	client := newClient(t, registry.Options{Credentials: docker})
	_, err := client.Resolve(t.Context(), tagOf(t, reg.Host, "org/app:1"))
	e := wantCode(t, err, registry.NoCredentials)
	if len(e.LookedIn) != 1 || e.LookedIn[0] != file {
		t.Errorf("looked in %v", e.LookedIn)
	}
	if len(reg.Requests()) != 0 {
		t.Error("the registry was asked all the same")
	}
}

func TestLoggingInChecksAndKeepsACredential(t *testing.T) {
	t.Parallel()
	for name, auth := range map[string]func(http.Handler) http.Handler{
		"basic": testkit.RequireBasicAuth(user, password), "bearer": (&tokenService{}).wrap,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := testkit.MemRegistry(t)
			reg.Wrap(auth)
			client := newClient(t, registry.Options{})
			right := registry.Credential{Username: user, Password: password}
			err := client.Authenticate(t.Context(), reg.Host, registry.Credential{Username: user, Password: "canary of another"})
			wantCode(t, err, registry.Unauthorized)
			if err := client.Authenticate(t.Context(), reg.Host, right); err != nil {
				t.Fatal(err)
			}
			docker, file := home(t, "")
			stored, err := docker.Store(t.Context(), reg.Host, right)
			if err != nil || stored != (registry.Stored{File: file}) {
				t.Fatalf("stored %+v, %v", stored, err)
			}
			push(t, newClient(t, registry.Options{Credentials: docker}), tagOf(t, reg.Host, "org/app:1"), "kind: A\n")
		})
	}
}

func TestKeepingACredentialKeepsTheRestOfTheFile(t *testing.T) {
	t.Parallel()
	docker, file := home(t, fmt.Sprintf(`{"auths":{"other.example":{"auth":%q}},"currentContext":"mine","unknown":{"a":1}}`, basic("other")))
	if _, err := docker.Store(t.Context(), "ghcr.io", registry.Credential{Username: user, Password: password}); err != nil {
		t.Fatal(err)
	}
	if _, err := docker.Store(t.Context(), "docker.io", registry.Credential{Username: user, Password: password}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Auths          map[string]any `json:"auths"`
		CurrentContext string         `json:"currentContext"`
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Auths) != 3 || got.CurrentContext != "mine" || got.Auths["https://index.docker.io/v1/"] == nil {
		t.Errorf("the file is now %s", raw)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	for range 2 {
		if _, err := docker.Erase(t.Context(), "ghcr.io"); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := docker.Lookup(t.Context(), repository(t, "ghcr.io/app")); err != nil || !c.IsZero() {
		t.Errorf("still there, %v", err)
	}
	if c, err := docker.Lookup(t.Context(), repository(t, "other.example/app")); err != nil || c.IsZero() {
		t.Errorf("the other one is gone, %v", err)
	}
}

func TestHelpersKeepAndForgetCredentials(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	docker, file := helper(t, `echo "$1" >>`+log+`; cat >>`+log)
	stored, err := docker.Store(t.Context(), "ghcr.io", registry.Credential{Username: user, Password: password})
	if err != nil || stored != (registry.Stored{File: file, Helper: "test"}) {
		t.Fatalf("stored %+v, %v", stored, err)
	}
	if _, err := docker.Erase(t.Context(), "ghcr.io"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(got); !strings.HasPrefix(s, "store\n") || !strings.Contains(s, password) || !strings.Contains(s, "erase\nghcr.io") {
		t.Errorf("the helper was asked %q", s)
	}
	if raw, err := os.ReadFile(file); err != nil || strings.Contains(string(raw), password) {
		t.Errorf("the password is in the file, too: %v", err)
	}
}
