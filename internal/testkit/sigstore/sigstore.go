// SPDX-License-Identifier: Apache-2.0

// Package sigstore is a Sigstore of one's own for tests: an authority that issues certificates to
// identities, a log of certificates, a log of signatures and an authority that times them, on loopback.
// It believes every token; what it signs is real.
package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/go-openapi/runtime"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
)

// maxBody bounds a request.
const maxBody = 1 << 20

// Sigstore is one that ends with its test.
type Sigstore struct {
	// URL is where all of its services are; Timestamp is that of the one that times.
	URL, Timestamp string

	log       *ca.VirtualSigstore
	issuer    *authority
	timer     *x509.Certificate
	timerKey  *ecdsa.PrivateKey
	timerRoot *root.SigstoreTimestampingAuthority

	mu       sync.Mutex
	requests []string
	fail     map[string]int
}

// New starts one.
func New(t testing.TB) *Sigstore {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatalf("starting a Sigstore: %v", err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.At(server.URL)
	return s
}

// Start makes one that is served by somebody else, who tells it where with At.
func Start() (*Sigstore, error) {
	log, err := ca.NewVirtualSigstore()
	if err != nil {
		return nil, err
	}
	s := &Sigstore{log: log, fail: map[string]int{}}
	if s.issuer, err = newAuthority(); err != nil {
		return nil, err
	}
	return s, s.newTimer()
}

// At says under which URL it is served.
func (s *Sigstore) At(url string) { s.URL, s.Timestamp = url, url+"/timestamp" }

func (s *Sigstore) newTimer() error {
	rootCert, rootKey, err := ca.GenerateRootCa()
	if err != nil {
		return err
	}
	middle, middleKey, err := ca.GenerateTSAIntermediate(rootCert, rootKey)
	if err != nil {
		return err
	}
	if s.timerKey, err = newKey(); err != nil {
		return err
	}
	if s.timer, err = ca.GenerateTSALeafCert(time.Now().Add(-time.Minute), s.timerKey, middle, middleKey); err != nil {
		return err
	}
	s.timerRoot = &root.SigstoreTimestampingAuthority{
		Root: rootCert, Intermediates: []*x509.Certificate{middle}, Leaf: s.timer,
		ValidityPeriodStart: time.Now().Add(-time.Hour), ValidityPeriodEnd: time.Now().Add(time.Hour), URI: "https://timestamp.localhost",
	}
	return nil
}

// TrustedRoot returns whom to trust, in the form of trusted_root.json.
func (s *Sigstore) TrustedRoot() ([]byte, error) {
	logs := map[string]*root.TransparencyLog{}
	for id, log := range s.log.RekorLogs() {
		raw, err := hex.DecodeString(id)
		if err != nil {
			return nil, err
		}
		own := *log
		own.ID = raw
		logs[id] = &own
	}
	out, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{s.issuer.trusted()}, s.issuer.logs(), []root.TimestampingAuthority{s.timerRoot}, logs)
	if err != nil {
		return nil, err
	}
	return out.MarshalJSON()
}

// Token returns a token with claims, such as iss, sub, email, job_workflow_ref, workflow, ref.
func Token(claims map[string]string) string {
	all := map[string]any{"aud": "sigstore", "email_verified": claims["email"] != "", "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	payload, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings and numbers only
	}
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part(payload) + "." + part([]byte("a signature that nobody checks"))
}

// Fail lets requests whose path has a part be answered with a status from now on; zero ends that.
func (s *Sigstore) Fail(part string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[part] = status
}

// Requests lists the requests so far, as METHOD PATH.
func (s *Sigstore) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.requests...)
}

// ServeHTTP answers what its services are asked.
func (s *Sigstore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	status := 0
	for part, wanted := range s.fail {
		if strings.Contains(r.URL.Path, part) {
			status = wanted
		}
	}
	s.mu.Unlock()
	if status != 0 {
		// As some services do, it repeats what it was sent.
		http.Error(w, r.Header.Get("Authorization"), status)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.answer(w, r, body)
}

func (s *Sigstore) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	var answer []byte
	var err error
	status, contentType := http.StatusCreated, "application/json"
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/api/v2/signingCert":
		status = http.StatusOK
		answer, err = s.issuer.issue(r.Header.Get("Authorization"), body)
	case r.Method == http.MethodPost && r.URL.Path == "/api/v1/log/entries":
		w.Header().Set("ETag", entryID)
		w.Header().Set("Location", "/api/v1/log/entries/"+entryID)
		answer, err = s.enter(body)
	case r.Method == http.MethodPost && r.URL.Path == "/timestamp":
		contentType = "application/timestamp-reply"
		answer, err = s.stamp(body)
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// entryID is the name of every entry: nobody asks for one later.
const entryID = "24296fb24b8ad77a000000000000000000000000000000000000000000000000000000000000000a"

// enter adds a signature to the log.
func (s *Sigstore) enter(body []byte) ([]byte, error) {
	proposed, err := models.UnmarshalProposedEntry(bytes.NewReader(body), runtime.JSONConsumer())
	if err != nil {
		return nil, err
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		return nil, err
	}
	content, err := types.CanonicalizeEntry(nil, entry) //nolint:staticcheck // nothing is fetched
	if err != nil {
		return nil, err
	}
	id, err := s.log.RekorLogID()
	if err != nil {
		return nil, err
	}
	payload := tlog.RekorPayload{Body: base64.StdEncoding.EncodeToString(content), IntegratedTime: time.Now().Unix(), LogID: id}
	promise, err := s.log.RekorSignPayload(payload)
	if err != nil {
		return nil, err
	}
	proof, err := s.log.GetInclusionProof(content)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{entryID: map[string]any{
		"body": payload.Body, "integratedTime": payload.IntegratedTime, "logID": id, "logIndex": payload.LogIndex,
		"verification": map[string]any{"signedEntryTimestamp": promise, "inclusionProof": proof},
	}})
}

// stamp says when something was there.
func (s *Sigstore) stamp(body []byte) ([]byte, error) {
	req, err := timestamp.ParseRequest(body)
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	answer := timestamp.Timestamp{
		HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Time: time.Now(), Nonce: req.Nonce,
		Policy: []int{1, 3, 6, 1, 4, 1, 57264, 2}, ExtraExtensions: req.Extensions,
	}
	return answer.CreateResponseWithOpts(s.timer, s.timerKey, crypto.SHA256)
}
