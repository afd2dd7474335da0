// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// The hosts and secrets of the clouds that TestCloudScripts plays.
const (
	ecrHost = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
	acrHost = "me.azurecr.io"
	garHost = "europe-docker.pkg.dev"

	cloudSecret = "a-cloud's-secret-only-for-tests"
)

// TestCloudScripts runs the command against registries of AWS, Azure and GCP and the endpoints that give
// credentials for them, all played on loopback behind a proxy, under their true names.
func TestCloudScripts(t *testing.T) {
	t.Parallel()
	internet := testkit.NewInternet(t, map[string]http.Handler{
		ecrHost:                           wants("AWS", cloudSecret, startRegistry()),
		"api.ecr.eu-west-1.amazonaws.com": http.HandlerFunc(ecrToken),
		"sts.eu-west-1.amazonaws.com":     http.HandlerFunc(assumeRole),
		acrHost:                           azureRegistry(),
		"login.microsoftonline.com":       http.HandlerFunc(entra),
		garHost:                           wants("oauth2accesstoken", cloudSecret, startRegistry()),
	})
	metadata := httptest.NewServer(http.HandlerFunc(googleMetadata))
	t.Cleanup(metadata.Close)
	runScripts(t, "testdata/cloud/*.txtar", func(env *testscript.Env) error {
		for name, value := range internet.Env() {
			env.Setenv(name, value)
		}
		env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		env.Setenv("METADATA", strings.TrimPrefix(metadata.URL, "http://"))
		env.Setenv("ECR", ecrHost)
		env.Setenv("ACR", acrHost)
		env.Setenv("GAR", garHost)
		return nil
	})
}

// wants lets nobody through but one user.
func wants(user, password string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gotUser, gotPassword, _ := r.BasicAuth()
		if gotUser != user || subtle.ConstantTimeCompare([]byte(gotPassword), []byte(password)) == 0 {
			w.Header().Set("WWW-Authenticate", `Basic realm="cloud"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

// ecrToken gives a password for the registry to whoever signs with a key that is known.
func ecrToken(w http.ResponseWriter, r *http.Request) {
	signature := r.Header.Get("Authorization")
	known := strings.Contains(signature, "Credential=AKIDUSER/") || strings.Contains(signature, "Credential=AKIDROLE/")
	if !known || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetAuthorizationToken") {
		answer(w, http.StatusBadRequest, map[string]string{"__type": "UnrecognizedClientException", "message": "The security token included in the request is invalid."})
		return
	}
	token := base64.StdEncoding.EncodeToString([]byte("AWS:" + cloudSecret))
	answer(w, http.StatusOK, map[string]any{"authorizationData": []any{map[string]any{
		"authorizationToken": token, "expiresAt": time.Now().Add(time.Hour).Unix(), "proxyEndpoint": "https://" + ecrHost,
	}}})
}

// assumeRole exchanges the token of a pod or a CI job for a role's key.
func assumeRole(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || strings.TrimSpace(r.FormValue("WebIdentityToken")) != "a-token-of-a-pod" {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
		`<AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration>`+
		`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

// entra exchanges the token of a pod or a CI job for one of an application.
func entra(w http.ResponseWriter, r *http.Request) {
	const tenant = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555"
	switch {
	case strings.HasPrefix(r.URL.Path, "/common/discovery/instance"):
		answer(w, http.StatusOK, map[string]any{"tenant_discovery_endpoint": tenant + "/v2.0/.well-known/openid-configuration", "metadata": []any{
			map[string]any{"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.microsoftonline.com", "aliases": []string{"login.microsoftonline.com"}},
		}})
	case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
		answer(w, http.StatusOK, map[string]string{"authorization_endpoint": tenant + "/oauth2/v2.0/authorize", "token_endpoint": tenant + "/oauth2/v2.0/token", "issuer": tenant + "/v2.0"})
	case strings.TrimSpace(r.FormValue("client_assertion")) == "a-token-of-a-pod" && strings.Contains(r.FormValue("scope"), "containerregistry.azure.net/.default"):
		answer(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": "a-token-of-an-application"})
	default:
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."})
	}
}

// azureRegistry is a registry that exchanges an application's token for its own password itself.
func azureRegistry() http.Handler {
	part := base64.RawURLEncoding
	password := part.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + part.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(time.Hour).Unix())) + ".c2ln"
	registry := wants("00000000-0000-0000-0000-000000000000", password, startRegistry())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/oauth2/exchange":
			registry.ServeHTTP(w, r)
		case r.FormValue("access_token") == "a-token-of-an-application" && r.FormValue("service") == acrHost:
			answer(w, http.StatusOK, map[string]string{"refresh_token": password})
		default:
			answer(w, http.StatusUnauthorized, map[string]string{"error": "no"})
		}
	})
}

// googleMetadata is what a machine at Google asks for the token of its service account.
func googleMetadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	switch {
	case r.Header.Get("Metadata-Flavor") != "Google":
		http.Error(w, "no", http.StatusForbidden)
	case strings.HasSuffix(r.URL.Path, "/instance/service-accounts/default/token"):
		answer(w, http.StatusOK, map[string]any{"access_token": cloudSecret, "expires_in": 3600, "token_type": "Bearer"})
	case strings.HasSuffix(r.URL.Path, "/project/project-id"):
		_, _ = io.WriteString(w, "a-project")
	default:
		http.NotFound(w, r)
	}
}
