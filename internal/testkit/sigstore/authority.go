// SPDX-License-Identifier: Apache-2.0

package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"time"

	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/google/certificate-transparency-go/x509util"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
)

// authority issues certificates, and keeps the log that they are in.
type authority struct {
	root, middle *x509.Certificate
	key          *ecdsa.PrivateKey // of middle
	logKey       *ecdsa.PrivateKey
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newAuthority() (*authority, error) {
	rootCert, rootKey, err := ca.GenerateRootCa()
	if err != nil {
		return nil, err
	}
	a := &authority{root: rootCert}
	if a.middle, a.key, err = ca.GenerateFulcioIntermediate(rootCert, rootKey); err != nil {
		return nil, err
	}
	a.logKey, err = newKey()
	return a, err
}

func (a *authority) trusted() *root.FulcioCertificateAuthority {
	return &root.FulcioCertificateAuthority{
		Root: a.root, Intermediates: []*x509.Certificate{a.middle}, URI: "https://fulcio.localhost",
		ValidityPeriodStart: time.Now().Add(-time.Hour), ValidityPeriodEnd: time.Now().Add(time.Hour),
	}
}

// logID is the SHA-256 of the key of the log of certificates.
func (a *authority) logID() [sha256.Size]byte {
	der, err := x509.MarshalPKIXPublicKey(a.logKey.Public())
	if err != nil {
		panic(err) // of a key that was just made
	}
	return sha256.Sum256(der)
}

func (a *authority) logs() map[string]*root.TransparencyLog {
	id := a.logID()
	return map[string]*root.TransparencyLog{hex.EncodeToString(id[:]): {
		BaseURL: "https://ct.localhost", ID: id[:], HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256, PublicKey: a.logKey.Public(),
		ValidityPeriodStart: time.Now().Add(-time.Hour), ValidityPeriodEnd: time.Now().Add(time.Hour),
	}}
}

// claims are those of a token that end up in a certificate.
type claims struct {
	Issuer     string `json:"iss"`
	Subject    string `json:"sub"`
	Email      string `json:"email"`
	Workflow   string `json:"job_workflow_ref"`
	Name       string `json:"workflow"`
	Ref        string `json:"ref"`
	Repository string `json:"repository"`
	Event      string `json:"event_name"`
}

// issue answers a request for a certificate, see Fulcio's fulcio.proto.
func (a *authority) issue(authorization string, body []byte) ([]byte, error) {
	var about claims
	parts := strings.Split(strings.TrimPrefix(authorization, "Bearer "), ".")
	if len(parts) != 3 {
		return nil, errors.New("there is no token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &about)
	}
	if err != nil {
		return nil, err
	}
	key, err := provenKey(body, about)
	if err != nil {
		return nil, err
	}
	leaf, err := a.certify(about, key)
	if err != nil {
		return nil, err
	}
	text := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return json.Marshal(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{
		"certificates": []string{text(leaf), text(a.middle.Raw), text(a.root.Raw)},
	}}})
}

// provenKey returns the key of a request, whose owner signed the token's subject with it.
func provenKey(body []byte, about claims) (*ecdsa.PublicKey, error) {
	var request struct {
		PublicKeyRequest struct {
			PublicKey struct {
				Content string `json:"content"`
			} `json:"publicKey"`
			Proof []byte `json:"proofOfPossession"`
		} `json:"publicKeyRequest"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(request.PublicKeyRequest.PublicKey.Content))
	if block == nil {
		return nil, errors.New("there is no key")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	subject := about.Subject
	if about.Email != "" {
		subject = about.Email
	}
	sum := sha256.Sum256([]byte(subject))
	if !ok || !ecdsa.VerifyASN1(key, sum[:], request.PublicKeyRequest.Proof) {
		return nil, errors.New("the key is not the requester's")
	}
	return key, nil
}

// The object identifiers of certificate transparency, RFC 6962.
func poisonOID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}
}

func listOID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
}

// certify makes a certificate, with the log's promise in it.
func (a *authority) certify(about claims, key *ecdsa.PublicKey) ([]byte, error) {
	template, err := a.template(about)
	if err != nil {
		return nil, err
	}
	own := template.ExtraExtensions
	template.ExtraExtensions = append(own[:len(own):len(own)], pkix.Extension{Id: poisonOID(), Critical: true, Value: asn1.NullBytes})
	poisoned, err := x509.CreateCertificate(rand.Reader, template, a.middle, key, a.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(poisoned)
	if err != nil {
		return nil, err
	}
	promise, err := a.promise(parsed.RawTBSCertificate)
	if err != nil {
		return nil, err
	}
	template.ExtraExtensions = append(own[:len(own):len(own)], pkix.Extension{Id: listOID(), Value: promise})
	return x509.CreateCertificate(rand.Reader, template, a.middle, key, a.key)
}

func (a *authority) template(about claims) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	switch {
	case about.Email != "":
		template.EmailAddresses = []string{about.Email}
	case about.Workflow != "":
		template.URIs = []*url.URL{{Scheme: "https", Host: "github.com", Path: "/" + about.Workflow}}
	default:
		template.URIs = []*url.URL{{Scheme: "https", Host: "example.com", Path: "/" + about.Subject}}
	}
	for _, e := range []struct {
		id    asn1.ObjectIdentifier
		value string
	}{
		{certificate.OIDIssuerV2, about.Issuer},
		{certificate.OIDSourceRepositoryRef, about.Ref},
		{certificate.OIDBuildTrigger, about.Event},
		{certificate.OIDSourceRepositoryURI, about.Repository},
	} {
		if e.value == "" {
			continue
		}
		value, err := asn1.MarshalWithParams(e.value, "utf8")
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: e.id, Value: value})
	}
	if about.Name != "" { // this one is not encoded
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: certificate.OIDGitHubWorkflowName, Value: []byte(about.Name)}) //nolint:staticcheck // still written
	}
	return template, nil
}

// promise is the extension with which the log of certificates promises to take one up.
func (a *authority) promise(poisoned []byte) ([]byte, error) {
	content, err := ctx509.RemoveCTPoison(poisoned)
	if err != nil {
		return nil, err
	}
	now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: a.logID()}, Timestamp: now}
	input, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version: ct.V1, LeafType: ct.TimestampedEntryLeafType,
		TimestampedEntry: &ct.TimestampedEntry{
			Timestamp: now, EntryType: ct.PrecertLogEntryType,
			PrecertEntry: &ct.PreCert{IssuerKeyHash: sha256.Sum256(a.middle.RawSubjectPublicKeyInfo), TBSCertificate: content},
		},
	}})
	if err != nil {
		return nil, err
	}
	signed, err := cttls.CreateSignature(*a.logKey, cttls.SHA256, input)
	if err != nil {
		return nil, err
	}
	sct.Signature = ct.DigitallySigned(signed)
	list, err := x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&sct})
	if err != nil {
		return nil, err
	}
	raw, err := cttls.Marshal(*list)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(raw)
}
