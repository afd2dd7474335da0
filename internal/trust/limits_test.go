// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/notaryproject/notation-core-go/testhelper"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/testkit"
	"github.com/kustomizer/kustomizer/internal/trust"
)

// What the limits are, in numbers: a test that took them from the code would follow a slip in it.
const (
	signatureLimit = 32
	byteLimit      = 1 << 20
	timeLimit      = 2 * time.Minute
)

const signatureAnnotation = "dev.cosignproject.cosign/signature"

// around has the one good signature stand behind so many bad ones that it is the last but one that is looked
// at, the last one, and one too many.
func around(t *testing.T, policy trust.Policy, p *place, behind func(t *testing.T, bad int)) {
	t.Helper()
	for _, bad := range []int{signatureLimit - 2, signatureLimit - 1, signatureLimit} {
		behind(t, bad)
		_, err := p.verify(t, p.pinned, policy)
		if bad < signatureLimit && err != nil {
			t.Errorf("behind %d others: %v", bad, err)
		}
		if bad >= signatureLimit {
			wantUntrusted(t, err, trust.TooMany, "more than 32")
		}
	}
}

// tagged returns what is under the tag of signatures.
func (p *place) tagged(t *testing.T) (artifact.Tag, *artifact.Manifest) {
	t.Helper()
	tag, err := p.tag.Repository().Tag(artifact.ReferrersTag(p.pinned.Digest()) + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	raw, d, err := p.client.TagManifest(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.ParseManifest(raw, d.MediaType)
	if err != nil {
		t.Fatal(err)
	}
	return tag, m
}

func TestManySignaturesDoNotKeepAVerificationBusy(t *testing.T) {
	t.Parallel()
	p := newPlace(t, testkit.MemRegistry)
	signer := newSigner(t)
	p.sign(t, signer, trust.Tag)
	tag, m := p.tagged(t)
	good := m.Layers[0]
	bad := good
	bad.Annotations = map[string]string{signatureAnnotation: "AAAA"}
	around(t, keyPolicy(signer), p, func(t *testing.T, n int) {
		m.Layers = nil
		for range n {
			m.Layers = append(m.Layers, bad)
		}
		m.Layers = append(m.Layers, good)
		p.point(t, tag, m, false)
	})
}

// referrer returns the only one that the artifact has.
func (p *place) referrer(t *testing.T) artifact.Descriptor {
	t.Helper()
	found, err := p.client.Referrers(t.Context(), p.pinned)
	if err != nil || len(found) != 1 {
		t.Fatalf("found %v, %v", found, err)
	}
	return found[0]
}

// list has the registry list referrers of the artifact, some of which it does not have.
func (p *place) list(t *testing.T, listed ...artifact.Descriptor) {
	t.Helper()
	raw, err := artifact.Index(listed)
	if err != nil {
		t.Fatal(err)
	}
	p.reg.Wrap(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/"+artifact.ReferrersTag(p.pinned.Digest())) {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", artifact.MediaTypeIndex)
			_, _ = w.Write(raw)
		})
	})
}

// absent are as many descriptors like one, of manifests that are nowhere.
func absent(like artifact.Descriptor, n int) []artifact.Descriptor {
	out := []artifact.Descriptor{}
	for i := range n {
		like.Digest = artifact.DigestOf(fmt.Append(nil, i))
		out = append(out, like)
	}
	return out
}

// Of bundles, too, 32 are looked at: the others are in the list, and can't be found.
func TestManyBundlesDoNotKeepAVerificationBusy(t *testing.T) {
	t.Parallel()
	p := newPlace(t, testkit.MemRegistry)
	signer := newSigner(t)
	p.sign(t, signer, trust.Bundle)
	good := p.referrer(t)
	around(t, keyPolicy(signer), p, func(t *testing.T, n int) { p.list(t, append(absent(good, n), good)...) })
}

// TestManySignaturesOfTheNotaryProjectDoNotKeepAVerificationBusy counts those only: whatever else refers to
// the artifact is not looked at.
func TestManySignaturesOfTheNotaryProjectDoNotKeepAVerificationBusy(t *testing.T) {
	t.Parallel()
	ca := testhelper.GetRSARootCertificate()
	p := newPlace(t, testkit.MemRegistry)
	p.signWithNotation(t, testhelper.GetRSALeafCertificate(), ca, p.pinned)
	good := p.referrer(t)
	other := good
	other.ArtifactType = "application/spdx+json"
	around(t, notationPolicy("strict", ca.Cert), p, func(t *testing.T, n int) {
		listed := append(absent(other, signatureLimit), absent(good, n)...)
		p.list(t, append(listed, good)...)
	})
}

// TestManyBundlesInOneReferrerAreCounted guards against a limit that counted the referrers only.
func TestManyBundlesInOneReferrerAreCounted(t *testing.T) {
	t.Parallel()
	p := newPlace(t, testkit.MemRegistry)
	signer := newSigner(t)
	p.sign(t, signer, trust.Bundle)
	raw, mediaType, err := p.client.Manifest(t.Context(), p.pinned.Repository().At(p.referrer(t).Digest))
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.ParseManifest(raw, mediaType)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := p.tag.Repository().Tag(artifact.ReferrersTag(p.pinned.Digest()))
	if err != nil {
		t.Fatal(err)
	}
	good := m.Layers[0]
	bad := good
	bad.Size = byteLimit + 1
	around(t, keyPolicy(signer), p, func(t *testing.T, n int) {
		m.Layers = append(slices.Repeat([]artifact.Descriptor{bad}, n), good)
		p.point(t, tag, m, true)
	})
}

// TestSignaturesAreReadUpToALimit has signatures of about 1 MiB. Spaces behind a bundle change nothing about
// what is signed; those behind a payload are signed with it.
func TestSignaturesAreReadUpToALimit(t *testing.T) {
	t.Parallel()
	for layout, enlarge := range map[trust.Layout]func(p *place, t *testing.T, key *ecdsa.PrivateKey, size int){
		trust.Bundle: func(p *place, t *testing.T, _ *ecdsa.PrivateKey, size int) {
			p.rewrite(t, trust.Bundle, func(content []byte) []byte { return filled(content, size) })
		},
		trust.Tag: (*place).enlargePayload,
	} {
		for _, size := range []int{byteLimit - 1, byteLimit, byteLimit + 1} {
			t.Run(fmt.Sprintf("%s of %d bytes", layout, size), func(t *testing.T) {
				t.Parallel()
				p := newPlace(t, testkit.MemRegistry)
				signer, key := newKey(t)
				p.sign(t, signer, layout)
				enlarge(p, t, key, size)
				got, err := p.verify(t, p.pinned, keyPolicy(signer))
				if size <= byteLimit && (err != nil || got.Layout != layout) {
					t.Errorf("got %+v, %v", got, err)
				}
				if size > byteLimit {
					wantUntrusted(t, err, trust.NotTrusted, "it has 1048577 bytes, more than 1048576")
				}
			})
		}
	}
}

// filled is JSON of a size, with spaces at its end.
func filled(content []byte, size int) []byte {
	return append(content, strings.Repeat(" ", size-len(content))...)
}

// enlargePayload makes the payload under the tag as large as that, and signs it once more.
func (p *place) enlargePayload(t *testing.T, key *ecdsa.PrivateKey, size int) {
	t.Helper()
	p.rewrite(t, trust.Tag, func(content []byte) []byte { return filled(content, size) })
	tag, m := p.tagged(t)
	hash, err := hex.DecodeString(m.Layers[0].Digest.Hex())
	if err != nil {
		t.Fatal(err)
	}
	signature, err := ecdsa.SignASN1(rand.Reader, key, hash)
	if err != nil {
		t.Fatal(err)
	}
	m.Layers[0].Annotations = map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(signature)}
	p.point(t, tag, m, false)
}

// slow takes its time over some answers, as long as somebody waits for them.
type slow struct {
	trust.Place
	takes map[string]time.Duration
}

// newSlow is a place where those answers take that long together.
func newSlow(at trust.Place, total time.Duration, which []string) slow {
	takes := map[string]time.Duration{}
	for _, what := range which {
		takes[what] = total / time.Duration(len(which))
	}
	return slow{at, takes}
}

func (s slow) wait(ctx context.Context, what string) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.takes[what]):
		return nil
	}
}

func (s slow) Tagged(ctx context.Context, name string) (artifact.Descriptor, bool, error) {
	if err := s.wait(ctx, "tag"); err != nil {
		return artifact.Descriptor{}, false, err
	}
	return s.Place.Tagged(ctx, name)
}

func (s slow) Referrers(ctx context.Context, subject artifact.Digest) ([]artifact.Descriptor, error) {
	if err := s.wait(ctx, "referrers"); err != nil {
		return nil, err
	}
	return s.Place.Referrers(ctx, subject)
}

func (s slow) Manifest(ctx context.Context, d artifact.Digest) ([]byte, string, error) {
	if err := s.wait(ctx, "manifest"); err != nil {
		return nil, "", err
	}
	return s.Place.Manifest(ctx, d)
}

func (s slow) Blob(ctx context.Context, d artifact.Descriptor) ([]byte, error) {
	if err := s.wait(ctx, "signature"); err != nil {
		return nil, err
	}
	return s.Place.Blob(ctx, d)
}

// TestAVerificationTakesTwoMinutesAtMost has the last answer come a moment before the time is over, and a
// moment after: then nothing is known about the artifact, which is not the same as that it isn't trusted.
// At the edge itself either may be first. The clock is that of the bubble around the test.
func TestAVerificationTakesTwoMinutesAtMost(t *testing.T) {
	t.Parallel()
	const moment = time.Millisecond
	layout := layoutOf(t)
	key := trust.Policy{Keys: []trust.PublicKey{publicKey(t, "p256")}}
	for _, c := range []struct {
		tag    string
		policy trust.Policy
		asked  []string // all that is asked for, each once
	}{
		{"bundle-p256", key, []string{"referrers", "manifest", "signature"}},
		{"tag-p256", key, []string{"referrers", "tag", "manifest", "signature"}},
		{"unsigned", notationPolicy("strict", testhelper.GetRSARootCertificate().Cert), []string{"manifest", "referrers"}},
	} {
		pinned := pinnedIn(t, layout, c.tag)
		slowly := map[string][]string{"all of it": c.asked}
		for _, one := range c.asked {
			slowly[one] = []string{one}
		}
		for name, which := range slowly {
			for _, given := range []time.Duration{time.Hour, 10 * time.Second} {
				limit := min(given, timeLimit)
				for _, total := range []time.Duration{limit - moment, limit + moment} {
					t.Run(fmt.Sprintf("%s, %s in %s", c.tag, name, total), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							ctx, cancel := context.WithTimeout(t.Context(), given)
							defer cancel()
							at, began := newSlow(trust.InLayout(layout), total, which), time.Now()
							_, err := trust.Verify(ctx, at, pinned, c.policy)
							wantDecided(t, err, total < limit, c.tag != "unsigned")
							if took := time.Since(began); (took - min(total, limit)).Abs() >= moment/2 {
								t.Errorf("it took %s", took)
							}
						})
					})
				}
			}
		}
	}
}

// wantDecided checks that it is known whether an artifact is trusted, or that it is not known.
func wantDecided(t *testing.T, err error, known, trusted bool) {
	t.Helper()
	var untrusted *trust.UntrustedError
	switch {
	case known && trusted:
		if err != nil {
			t.Error(err)
		}
	case known:
		wantUntrusted(t, err, trust.NoSignature, "")
	case !errors.Is(err, context.DeadlineExceeded), errors.As(err, &untrusted):
		t.Errorf("got %v", err)
	}
}
