// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// What testdata/public/provenance.sigstore.json is about, and who signed it, at the public Sigstore.
const (
	publicSum     = "46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c"
	publicIssuer  = "https://token.actions.githubusercontent.com"
	publicSubject = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"
)

// TestTheRecordedRootVerifiesWhatThePublicSigstoreSigned verifies a bundle that a workflow got from the
// public Sigstore, against the root that is built in, without a network: the certificate's chain, its
// entry in the certificate log, the entry in Rekor and its time, the signature over the content.
func TestTheRecordedRootVerifiesWhatThePublicSigstoreSigned(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.FromSlash("testdata/public/provenance.sigstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	release := Identity{Issuer: Exactly(publicIssuer), Subject: Exactly(publicSubject)}
	for name, c := range map[string]struct {
		raw      []byte
		identity Identity
		sum      string
		because  string
	}{
		"as it is":            {raw, release, publicSum, ""},
		"another repository":  {raw, Identity{Issuer: release.Issuer, Subject: Exactly(strings.Replace(publicSubject, "sigstore-js", "sigstore", 1))}, publicSum, "somebody else"},
		"another issuer":      {raw, Identity{Issuer: Exactly("https://accounts.google.com"), Subject: release.Subject}, publicSum, "somebody else"},
		"another artifact":    {raw, release, strings.Repeat("0", len(publicSum)), "digest"},
		"another certificate": {changed(t, raw, `"rawBytes":`), release, publicSum, "certificate"},
		"another signature":   {changed(t, raw, `"sig":`), release, publicSum, "signature"},
		"another time in the log": {
			bytes.Replace(raw, []byte(`"integratedTime": "16`), []byte(`"integratedTime": "17`), 1), release, publicSum, "log",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wanted := name == "as it is"
			if !wanted && c.because != "somebody else" && c.because != "digest" && bytes.Equal(c.raw, raw) {
				t.Fatal("nothing was changed")
			}
			result, err := verifyPublic(t, c.raw, c.identity, c.sum)
			switch {
			case wanted && err != nil:
				t.Error(err)
			case wanted:
				got := verifiedBy(result, nil, Bundle)
				if got.Issuer != publicIssuer || got.Subject != publicSubject || got.Time.IsZero() {
					t.Errorf("verified %+v", got)
				}
			case err == nil:
				t.Error("it is accepted")
			case !strings.Contains(err.Error(), c.because):
				t.Errorf("refused: %v; want a word about %q", err, c.because)
			}
		})
	}
}

func verifyPublic(t *testing.T, raw []byte, identity Identity, sum string) (*verify.VerificationResult, error) {
	t.Helper()
	recorded, err := RecordedRoot()
	if err != nil {
		t.Fatal(err)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	digest, err := hex.DecodeString(sum)
	if err != nil {
		t.Fatal(err)
	}
	policy := Policy{Root: recorded, Identities: []Identity{identity}}
	result, _, err := policy.verifyEntity(&b, func() verify.ArtifactPolicyOption { return verify.WithArtifactDigest("sha512", digest) })
	return result, err
}

// changed changes a character in the middle of the text that follows a key.
func changed(t *testing.T, raw []byte, key string) []byte {
	t.Helper()
	out := bytes.Clone(raw)
	at := bytes.Index(out, []byte(key))
	if at < 0 {
		t.Fatalf("there is no %s", key)
	}
	const within = 45 // a letter of base64, past the header of a certificate
	at += len(key) + within
	if out[at]++; out[at] == 'z'+1 || out[at] == 'Z'+1 || out[at] == '9'+1 {
		out[at] -= 2
	}
	return out
}
