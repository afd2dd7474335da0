// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// Keyless signs with a key that is thrown away, and a certificate for the identity that a token proves.
type Keyless struct {
	Token string // of OpenID Connect, for the audience "sigstore"; a secret
	// Root: if set, what was made is verified with it before it is published.
	Root *Root
}

func (k *Keyless) prepare(ctx context.Context, services Services, opts *sign.BundleOptions) (sign.Keypair, error) {
	switch {
	case services.Fulcio == "":
		return nil, badPolicy("signing for an identity needs a certificate authority")
	case !services.any():
		return nil, badPolicy("signing for an identity needs a log or a time stamp authority: the certificate expires within minutes")
	case k.Token == "":
		return nil, &TokenError{Reason: "there is no identity token"}
	}
	if err := services.check(); err != nil {
		return nil, err
	}
	opts.CertificateProvider = sign.NewFulcio(&sign.FulcioOptions{
		BaseURL: strings.TrimSuffix(services.Fulcio, "/"), Retries: retries, Transport: services.transport(ctx),
	})
	opts.CertificateProviderOptions = &sign.CertificateProviderOptions{IDToken: k.Token}
	if k.Root != nil {
		opts.TrustedRoot = k.Root.material
	}
	return sign.NewEphemeralKeypair(nil)
}

// TokenError says why there is no token to prove an identity with.
type TokenError struct{ Reason string }

// Error implements error.
func (e *TokenError) Error() string { return "getting an identity token: " + e.Reason }

const tokenAudience = "sigstore"

// AmbientToken gets an identity token from the CI system that this runs in: SIGSTORE_ID_TOKEN, as on
// GitLab, or by asking GitHub Actions, where the job has the permission id-token: write.
func AmbientToken(ctx context.Context, getenv func(string) string) (string, error) {
	if token := strings.TrimSpace(getenv("SIGSTORE_ID_TOKEN")); token != "" {
		return token, CheckToken(token)
	}
	at, secret := getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if at == "" || secret == "" {
		return "", &TokenError{Reason: "neither SIGSTORE_ID_TOKEN nor GitHub Actions gives one"}
	}
	token, err := askGitHub(ctx, at, secret)
	if err != nil {
		return "", err
	}
	return token, CheckToken(token)
}

// CheckToken says whether a token has the form of one. What it claims is for others to judge.
func CheckToken(token string) error {
	const most = 16 << 10
	if len(token) > most || strings.Count(token, ".") != 2 || strings.ContainsAny(token, " \t\r\n") {
		return &TokenError{Reason: "what was given is not a token of OpenID Connect"}
	}
	return nil
}

func askGitHub(ctx context.Context, at, secret string) (string, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		return "", &TokenError{Reason: "ACTIONS_ID_TOKEN_REQUEST_URL is not a URL"}
	}
	if u.Scheme != "https" && !isLoopback(u.Hostname()) {
		return "", &TokenError{Reason: "ACTIONS_ID_TOKEN_REQUEST_URL is without TLS"}
	}
	query := u.Query()
	query.Set("audience", tokenAudience)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", &TokenError{Reason: "ACTIONS_ID_TOKEN_REQUEST_URL is not a URL"}
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	client := &http.Client{Transport: Services{}.transport(ctx), Timeout: serviceTimeout}
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("getting an identity token: %w", ctx.Err())
		}
		var problem *url.Error
		if errors.As(err, &problem) {
			err = problem.Err
		}
		return "", &TokenError{Reason: "GitHub Actions does not answer: " + artifact.OneLine(err.Error())}
	}
	defer resp.Body.Close()
	var answer struct {
		Value string `json:"value"`
	}
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(raw, &answer)
	}
	if err != nil || answer.Value == "" {
		return "", &TokenError{Reason: fmt.Sprintf("GitHub Actions answers with %d and no token", resp.StatusCode)}
	}
	return answer.Value, nil
}
