// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	_ "embed"
	"net/http"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata/fetcher"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// recorded is the trusted root of the public Sigstore as it was when this was written, taken from
// github.com/sigstore/sigstore v1.10.9, pkg/tuf/repository/targets. Without a network it says whom to
// trust; what was revoked or begun since then it does not know.
//
//go:embed public/trusted_root.json
var recorded []byte

// Root is whom to trust for certificates, logs and time stamps.
type Root struct{ material root.TrustedMaterial }

// ParseRoot reads a trusted root as Sigstore writes it, trusted_root.json.
func ParseRoot(text []byte) (*Root, error) {
	material, err := root.NewTrustedRootFromJSON(text)
	if err != nil {
		return nil, badPolicy("the trusted root can't be read: %s", artifact.OneLine(err.Error()))
	}
	return &Root{material: material}, nil
}

// RecordedRoot returns the public Sigstore's root as it was when this program was built.
func RecordedRoot() (*Root, error) { return ParseRoot(recorded) }

// Public is the public Sigstore, which says by The Update Framework whom to trust and where to sign.
type Public struct {
	Cache     string // directory to keep that in
	UserAgent string
}

// RootError says that the public Sigstore does not say whom to trust.
type RootError struct {
	Detail string
	Err    error // of the context, or nil
}

// Error implements error.
func (e *RootError) Error() string { return "getting the public Sigstore's trusted root: " + e.Detail }

// Unwrap returns the cause.
func (e *RootError) Unwrap() error { return e.Err }

// Root fetches the trusted root, at most once a day.
func (p Public) Root(ctx context.Context) (*Root, error) {
	text, err := p.target(ctx, "trusted_root.json")
	if err != nil {
		return nil, err
	}
	return ParseRoot(text)
}

// Services fetches where to sign, at most once a day.
func (p Public) Services(ctx context.Context, layouts []Layout) (Services, error) {
	text, err := p.target(ctx, "signing_config.v0.2.json")
	if err != nil {
		return Services{}, err
	}
	config, err := root.NewSigningConfigFromJSON(text)
	if err != nil {
		return Services{}, &RootError{Detail: artifact.OneLine(err.Error())}
	}
	out, err := servicesOf(config, layouts, time.Now())
	out.UserAgent = p.UserAgent
	return out, err
}

// target fetches a file of the public Sigstore and checks it with the keys that this program knows, and
// those that they vouch for.
func (p Public) target(ctx context.Context, name string) ([]byte, error) {
	transport := Services{UserAgent: p.UserAgent}.transport(ctx)
	fetch := fetcher.NewDefaultFetcher()
	fetch.SetHTTPClient(&http.Client{Transport: transport, Timeout: serviceTimeout})
	opts := &tuf.Options{
		Root: tuf.DefaultRoot(), RepositoryBaseURL: tuf.DefaultMirror, CachePath: filepath.Join(p.Cache, "sigstore"), CacheValidity: 1,
		Context: ctx, Fetcher: fetch,
	}
	opts.DisableLocalCache = p.Cache == ""
	client, err := tuf.New(opts)
	if err != nil {
		return nil, &RootError{Detail: artifact.OneLine(err.Error()), Err: ctx.Err()}
	}
	text, err := client.GetTarget(name)
	if err != nil {
		return nil, &RootError{Detail: artifact.OneLine(err.Error()), Err: ctx.Err()}
	}
	return text, nil
}
