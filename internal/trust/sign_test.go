// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry"
	"github.com/kustomizer/kustomizer/internal/testkit"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// place is a registry with an artifact.
type place struct {
	reg    *testkit.MemoryRegistry
	client *registry.Client
	tag    artifact.Tag
	pinned artifact.Pinned
}

func newPlace(t *testing.T, start func(testing.TB) *testkit.MemoryRegistry) *place {
	t.Helper()
	p := &place{reg: start(t)}
	var err error
	if p.client, err = registry.New(registry.Options{Pause: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.Close)
	if p.tag, err = artifact.ParseTag(p.reg.Host + "/org/app:1"); err != nil {
		t.Fatal(err)
	}
	p.pinned = p.push(t, "one")
	return p
}

func (p *place) push(t *testing.T, name string) artifact.Pinned {
	t.Helper()
	packed, err := artifact.PackYAML(fmt.Appendf(nil, "kind: %s\n", name), artifact.Metadata{}, artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.client.Push(t.Context(), p.tag, packed)
	if err != nil {
		t.Fatal(err)
	}
	return got.Pinned
}

func (p *place) sign(t *testing.T, signer trust.Signer, layouts ...trust.Layout) []trust.Signed {
	t.Helper()
	got, err := trust.Sign(t.Context(), trust.SignRequest{Client: p.client, Pinned: p.pinned, Signer: signer, Layouts: layouts})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (p *place) verify(t *testing.T, pinned artifact.Pinned, policy trust.Policy) (trust.Verified, error) {
	t.Helper()
	return trust.Verify(t.Context(), trust.InRegistry(p.client, pinned.Repository()), pinned, policy)
}

// privateKeys are in each form that is read, of each kind.
func privateKeys(t *testing.T) map[string][]byte {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return block("PRIVATE KEY", der, err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	return map[string][]byte{
		"ecdsa": pkcs8(ec), "ed25519": pkcs8(ed), "rsa": pkcs8(rs),
		"ecdsa in SEC 1": block("EC PRIVATE KEY", sec1, err), "rsa in PKCS 1": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs), nil),
		"cosign": read(t, "p256.key"), "cosign with P-384": read(t, "p384.key"),
	}
}

func keySigner(t *testing.T, text []byte) trust.Signer {
	t.Helper()
	key, err := trust.ParsePrivateKey(text, password)
	if err != nil {
		t.Fatal(err)
	}
	return trust.Signer{Key: &key}
}

// newSigner signs with a key of its own.
func newSigner(t *testing.T) trust.Signer {
	t.Helper()
	signer, _ := newKey(t)
	return signer
}

// newKey is a signer's key, for tests that sign what no signer would.
func newKey(t *testing.T) (trust.Signer, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return keySigner(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), key
}

func keyPolicy(s trust.Signer) trust.Policy {
	return trust.Policy{Keys: []trust.PublicKey{s.Key.Public()}}
}

func TestWhatIsSignedWithAKeyIsVerifiedWithItsOtherHalf(t *testing.T) {
	t.Parallel()
	for name, text := range privateKeys(t) {
		for _, layout := range trust.Layouts() {
			t.Run(name+" "+string(layout), func(t *testing.T) {
				t.Parallel()
				start := testkit.MemRegistry
				if name == "cosign" {
					start = testkit.MemRegistryWithReferrers
				}
				p := newPlace(t, start)
				signer := keySigner(t, text)
				_, err := p.verify(t, p.pinned, keyPolicy(signer))
				wantUntrusted(t, err, trust.NoSignature, "")

				done := p.sign(t, signer, layout)
				if len(done) != 1 || !done[0].Sent || done[0].Layout != layout || done[0].Digest == "" {
					t.Errorf("signed %+v", done)
				}
				got, err := p.verify(t, p.pinned, keyPolicy(signer))
				if err != nil || got.Layout != layout || got.Key != signer.Key.Public().Fingerprint() {
					t.Errorf("got %+v, %v", got, err)
				}
				_, err = p.verify(t, p.pinned, trust.Policy{Keys: []trust.PublicKey{publicKey(t, "stranger")}})
				wantUntrusted(t, err, trust.NotTrusted, "")

				before := len(p.reg.Requests())
				if done := p.sign(t, signer, layout); done[0].Sent || done[0].Digest != "" {
					t.Errorf("signed once more: %+v", done)
				}
				for _, r := range p.reg.Requests()[before:] {
					if r.Method != http.MethodGet && r.Method != http.MethodHead {
						t.Errorf("%s: what was signed before was written again", r)
					}
				}
			})
		}
	}
}

func TestSignaturesOfSeveralStandBesideEachOther(t *testing.T) {
	t.Parallel()
	for _, start := range []func(testing.TB) *testkit.MemoryRegistry{testkit.MemRegistry, testkit.MemRegistryWithReferrers} {
		p := newPlace(t, start)
		one, two := newSigner(t), newSigner(t)
		p.sign(t, one, trust.Tag, trust.Bundle)
		p.sign(t, two, trust.Tag, trust.Bundle)
		for _, signer := range []trust.Signer{one, two} {
			for _, layout := range trust.Layouts() {
				policy := keyPolicy(signer)
				policy.Layouts = []trust.Layout{layout}
				if _, err := p.verify(t, p.pinned, policy); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestASignatureIsOfOneDigestOnly(t *testing.T) {
	t.Parallel()
	p := newPlace(t, testkit.MemRegistry)
	signer := newSigner(t)
	p.sign(t, signer, trust.Layouts()...)
	signed := p.pinned
	other := p.push(t, "two") // the tag moves on
	if _, err := p.verify(t, signed, keyPolicy(signer)); err != nil {
		t.Error(err)
	}
	_, err := p.verify(t, other, keyPolicy(signer))
	wantUntrusted(t, err, trust.NoSignature, "")

	// Somebody puts the signatures of one artifact beside another.
	for _, suffix := range []string{".sig", ""} {
		from, err := p.tag.Repository().Tag(artifact.ReferrersTag(signed.Digest()) + suffix)
		if err != nil {
			t.Fatal(err)
		}
		to, err := p.tag.Repository().Tag(artifact.ReferrersTag(other.Digest()) + suffix)
		if err != nil {
			t.Fatal(err)
		}
		raw, d, err := p.client.TagManifest(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.client.Point(t.Context(), to, d.Digest, d.MediaType, raw); err != nil {
			t.Fatal(err)
		}
	}
	_, err = p.verify(t, other, keyPolicy(signer))
	wantUntrusted(t, err, trust.NotTrusted, signed.Digest().String())
}

// A payload is swapped for another one, or a signature for another one, in all the ways in which a
// registry, or somebody who may push there, could do that.
func TestSwappedSignaturesAreNotTaken(t *testing.T) {
	t.Parallel()
	swaps := map[string]func(text string) string{
		"what is signed": func(text string) string {
			text = strings.Replace(text, "cosign container image", "cosign other image", 1)
			return strings.Replace(text, `"payload":"`, `"payload":"AAAA`, 1)
		},
		"a space more": func(text string) string { return strings.Replace(text, `"payload":"`, `"payload":"IC`, 1) + " " },
		"no JSON":      func(string) string { return "{" },
		"no bytes":     func(string) string { return "" },
		"too large":    func(text string) string { return text + strings.Repeat(" ", 1<<20) },
	}
	for name, swap := range swaps {
		for _, layout := range trust.Layouts() {
			t.Run(name+" "+string(layout), func(t *testing.T) {
				t.Parallel()
				p := newPlace(t, testkit.MemRegistry)
				signer := newSigner(t)
				p.sign(t, signer, layout)
				p.rewrite(t, layout, func(content []byte) []byte { return []byte(swap(string(content))) })
				_, err := p.verify(t, p.pinned, keyPolicy(signer))
				wantUntrusted(t, err, trust.NotTrusted, "")
			})
		}
	}
}

// rewrite changes the content of the signature that is there, with all digests that name it.
func (p *place) rewrite(t *testing.T, layout trust.Layout, change func([]byte) []byte) {
	t.Helper()
	ctx, repo := t.Context(), p.tag.Repository()
	at := trust.InRegistry(p.client, repo)
	name := artifact.ReferrersTag(p.pinned.Digest())
	if layout == trust.Tag {
		name += ".sig"
	}
	tag, err := repo.Tag(name)
	if err != nil {
		t.Fatal(err)
	}
	raw, d, err := p.client.TagManifest(ctx, tag)
	if err != nil {
		t.Fatal(err)
	}
	if layout == trust.Bundle {
		index, err := artifact.ParseManifest(raw, d.MediaType)
		if err != nil {
			t.Fatal(err)
		}
		if raw, _, err = p.client.Manifest(ctx, repo.At(index.Manifests[0].Digest)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := artifact.ParseManifest(raw, "")
	if err != nil {
		t.Fatal(err)
	}
	content, err := at.Blob(ctx, m.Layers[0])
	if err != nil {
		t.Fatal(err)
	}
	content = change(content)
	m.Layers[0].Digest, m.Layers[0].Size = artifact.DigestOf(content), int64(len(content))
	if err := p.client.PushBlob(ctx, repo, artifact.Blob{Descriptor: m.Layers[0], Open: artifact.BytesOpener(content)}); err != nil {
		t.Fatal(err)
	}
	p.point(t, tag, m, layout == trust.Bundle)
}

// point lets a tag name a manifest, or an index of it.
func (p *place) point(t *testing.T, tag artifact.Tag, m *artifact.Manifest, indexed bool) {
	t.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	digest, mediaType := artifact.DigestOf(raw), m.MediaType
	if err := p.client.PushManifest(t.Context(), tag.Repository().At(digest), mediaType, raw); err != nil {
		t.Fatal(err)
	}
	if indexed {
		if raw, err = artifact.Index([]artifact.Descriptor{{MediaType: mediaType, Digest: digest, Size: int64(len(raw)), ArtifactType: m.ArtifactType}}); err != nil {
			t.Fatal(err)
		}
		digest, mediaType = artifact.DigestOf(raw), artifact.MediaTypeIndex
	}
	if err := p.client.Point(t.Context(), tag, digest, mediaType, raw); err != nil {
		t.Fatal(err)
	}
}

// A registry that fails says nothing about whether there is a signature.
func TestAFailingRegistryIsNotAnAbsentSignature(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"/referrers/", "/manifests/sha256-", "/blobs/"} {
		p := newPlace(t, testkit.MemRegistry)
		signer := newSigner(t)
		p.sign(t, signer, trust.Tag)
		p.reg.Wrap(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, part) {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				next.ServeHTTP(w, r)
			})
		})
		_, err := p.verify(t, p.pinned, keyPolicy(signer))
		var untrusted *trust.UntrustedError
		var remote *registry.Error
		if errors.As(err, &untrusted) || !errors.As(err, &remote) || remote.Code != registry.ServerError {
			t.Errorf("%s: %v", part, err)
		}
	}
}

func TestKeysThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // too short on purpose
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(weak.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"empty": nil, "text": []byte("a key"), "a private key": read(t, "p256.key"),
		"two, one broken": append(read(t, "p256.pub"), "junk"...),
		"weak":            pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"certificate":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	} {
		var policy *trust.PolicyError
		if keys, err := trust.ParsePublicKeys(text); !errors.As(err, &policy) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
	if keys, err := trust.ParsePublicKeys(append(read(t, "p256.pub"), read(t, "rsa.pub")...)); err != nil || len(keys) != 2 {
		t.Errorf("two keys: %d, %v", len(keys), err)
	}
	for name, text := range map[string][]byte{"empty": nil, "public": read(t, "p256.pub"), "two": append(read(t, "p256.key"), read(t, "rsa.key")...)} {
		var policy *trust.PolicyError
		if _, err := trust.ParsePrivateKey(text, password); !errors.As(err, &policy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
