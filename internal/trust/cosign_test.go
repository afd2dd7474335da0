// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// fixtures is what testdata/cosign/make.sh made with the real cosign.
const fixtures = "testdata/cosign"

// password is that of the private keys there.
func password() ([]byte, error) { return []byte("fixture"), nil }

// layoutOf unpacks the artifacts that cosign signed.
func layoutOf(t *testing.T) *artifact.Layout {
	t.Helper()
	f, err := os.Open(filepath.Join(fixtures, "signatures.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := artifact.Extract(t.Context(), f, artifact.MediaTypeTar, dir, artifact.LayoutLimits()); err != nil {
		t.Fatal(err)
	}
	layout, err := artifact.OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(fixtures, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func publicKey(t *testing.T, name string) trust.PublicKey {
	t.Helper()
	keys, err := trust.ParsePublicKeys(read(t, name+".pub"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	return keys[0]
}

// repository is the one that the artifacts in the layout were signed in.
func repository(t *testing.T) artifact.Repository {
	t.Helper()
	ref, err := artifact.ParseReference("registry.example.com/cosign/app")
	if err != nil {
		t.Fatal(err)
	}
	return ref.Repository()
}

func pinnedIn(t *testing.T, layout *artifact.Layout, tag string) artifact.Pinned {
	t.Helper()
	d, err := layout.Resolve(tag)
	if err != nil {
		t.Fatal(err)
	}
	return repository(t).At(d.Digest)
}

// wantUntrusted checks why an artifact is not trusted.
func wantUntrusted(t *testing.T, err error, reason trust.Reason, part string) {
	t.Helper()
	var untrusted *trust.UntrustedError
	if !errors.As(err, &untrusted) || untrusted.Reason != reason || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v, want %s with %q", err, reason, part)
	}
}

func TestSignaturesByCosignAreVerified(t *testing.T) {
	t.Parallel()
	layout := layoutOf(t)
	for _, kind := range []trust.Layout{trust.Bundle, trust.Tag} {
		for _, name := range []string{"p256", "p384", "p521", "ed25519", "rsa"} {
			t.Run(string(kind)+"-"+name, func(t *testing.T) {
				t.Parallel()
				at, pinned, key := trust.InLayout(layout), pinnedIn(t, layout, string(kind)+"-"+name), publicKey(t, name)
				got, err := trust.Verify(t.Context(), at, pinned, trust.Policy{Keys: []trust.PublicKey{publicKey(t, "stranger"), key}})
				want := trust.Verified{Digest: pinned.Digest(), Method: trust.Cosign, Layout: kind, Key: key.Fingerprint()}
				if err != nil || got != want {
					t.Errorf("got %+v, %v; want %+v", got, err, want)
				}
				_, err = trust.Verify(t.Context(), at, pinned, trust.Policy{Keys: []trust.PublicKey{publicKey(t, "stranger")}})
				wantUntrusted(t, err, trust.NotTrusted, "")
				other := trust.Layouts()
				other = append(other[:0:0], other...)
				if kind == trust.Bundle {
					other = other[1:]
				} else {
					other = other[:1]
				}
				_, err = trust.Verify(t.Context(), at, pinned, trust.Policy{Keys: []trust.PublicKey{key}, Layouts: other})
				wantUntrusted(t, err, trust.NoSignature, "")
			})
		}
	}
}

func TestWhatIsNoSignatureOfTheArtifactIsNotTaken(t *testing.T) {
	t.Parallel()
	layout := layoutOf(t)
	key := trust.Policy{Keys: []trust.PublicKey{publicKey(t, "p256")}}
	_, err := trust.Verify(t.Context(), trust.InLayout(layout), pinnedIn(t, layout, "unsigned"), key)
	wantUntrusted(t, err, trust.NoSignature, "there is no signature")
	_, err = trust.Verify(t.Context(), trust.InLayout(layout), pinnedIn(t, layout, "attested"), key)
	wantUntrusted(t, err, trust.NotTrusted, "an attestation (https://example.com/tests), not a signature")
	if _, err := trust.Verify(t.Context(), trust.InLayout(layout), pinnedIn(t, layout, "annotated"), key); err != nil {
		t.Error(err)
	}
	for _, tag := range []string{"bundle-p256", "tag-p256"} {
		_, err = trust.Verify(t.Context(), trust.InLayout(layout), pinnedIn(t, layout, tag), trust.Policy{})
		var policy *trust.PolicyError
		if !errors.As(err, &policy) {
			t.Errorf("a policy that demands nothing: %v", err)
		}
	}
}

func TestKeysOfCosignAreRead(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"p256", "p384", "p521", "ed25519", "rsa"} {
		key, err := trust.ParsePrivateKey(read(t, name+".key"), password)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := key.Public().Fingerprint(), publicKey(t, name).Fingerprint(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	var wrong *trust.PasswordError
	_, err := trust.ParsePrivateKey(read(t, "p256.key"), func() ([]byte, error) { return []byte("canary-of-the-password"), nil })
	if !errors.As(err, &wrong) || !wrong.Given || strings.Contains(err.Error(), "canary") {
		t.Errorf("wrong password: %v", err)
	}
	_, err = trust.ParsePrivateKey(read(t, "p256.key"), nil)
	if !errors.As(err, &wrong) || wrong.Given {
		t.Errorf("no password: %v", err)
	}
}
