// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// Code is what went wrong, in one stable word.
type Code string

// The codes of an [Error].
const (
	NotFound       Code = "NotFound"       // no such repository, tag, manifest or blob
	Unauthorized   Code = "Unauthorized"   // no credentials, or wrong ones
	Forbidden      Code = "Forbidden"      // credentials without the right to do it
	NoCredentials  Code = "NoCredentials"  // the place where credentials are kept can't be read
	Throttled      Code = "Throttled"      // too many requests; see RetryAfter
	Unreachable    Code = "Unreachable"    // no connection, or it broke
	TimedOut       Code = "TimedOut"       // no answer, or no more of it, in time
	TLS            Code = "TLS"            // the certificate is not accepted
	PlainHTTP      Code = "PlainHTTP"      // only plain HTTP is spoken there, and it was not allowed
	Redirected     Code = "Redirected"     // a redirect that is not followed
	DigestMismatch Code = "DigestMismatch" // other bytes than those asked for
	TooLarge       Code = "TooLarge"       // an answer beyond its limit
	Invalid        Code = "Invalid"        // an answer that makes no sense
	ServerError    Code = "ServerError"    // the registry failed
	Rejected       Code = "Rejected"       // the registry does not accept the request
	Local          Code = "Local"          // what was received can't be kept, or what is to be sent can't be read
)

// Error says which operation on what failed, and why. It never holds credentials.
type Error struct {
	Op         string // in gerund form: resolving, pulling, pushing, tagging, listing, logging in to
	Reference  string // what the operation was about, without scheme
	Host       string // the registry
	Code       Code
	Status     int           // of the HTTP response, or zero
	Detail     string        // what the registry or the system said, on one line
	LookedIn   []string      // where credentials were looked for; for Unauthorized, Forbidden and NoCredentials
	Found      bool          // credentials were found there
	RetryAfter time.Duration // when it makes sense to try again; for Throttled
	Err        error         // the cause: a context's error, an [artifact.MismatchError], or nil
}

// Error returns operation, reference and reason on one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s %s: %s", e.Op, e.Reference, e.Code)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// IsNotFound says whether an error means that what was asked for does not exist.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == NotFound
}

// refusedError is a refusal of our own, on its way through net/http.
type refusedError struct {
	code       Code
	detail     string
	retryAfter time.Duration
}

func (e *refusedError) Error() string { return e.detail }

// fail turns whatever came up into an [Error], and forgets the session when the credentials were not
// accepted.
func (c *Client) fail(op string, ref fmt.Stringer, repo artifact.Repository, err error) error {
	var done *Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	e := &Error{Op: op, Reference: ref.String(), Host: repo.Host(), Code: Unreachable}
	e.explain(err)
	switch e.Code {
	case Unauthorized, Forbidden:
		c.forget(repo)
		e.LookedIn = c.options.Credentials.Sources()
		credential, err := c.options.Credentials.Lookup(context.Background(), repo) //nolint:forbidigo // the request is over, its context may be too; the answer is at hand
		e.Found = err == nil && !credential.IsZero()
	case NoCredentials:
		e.LookedIn = c.options.Credentials.Sources()
	case Throttled, ServerError:
		e.RetryAfter = max(e.RetryAfter, c.options.Throttle.left(apiHost(e.Host), time.Now()).Round(time.Second))
	}
	return e
}

func (e *Error) explain(err error) {
	var refused *refusedError
	var answered *transport.Error
	var lookup *CredentialsError
	var local *localError
	var mismatch *artifact.MismatchError
	var short *artifact.ShortError
	switch {
	case errors.As(err, &lookup):
		e.Code, e.Detail, e.Err = NoCredentials, lookup.Error(), lookup
	case errors.As(err, &local):
		e.Code, e.Detail, e.Err = Local, local.Error(), local.err
	case isCertificate(err):
		e.Code, e.Detail = TLS, artifact.OneLine(withoutURL(err))
	case strings.Contains(err.Error(), plainAnswer) && !isLoopback(hostname(e.Host)):
		e.Code, e.Detail = PlainHTTP, "the registry speaks plain HTTP, which was not allowed"
	case errors.As(err, &refused) && !(refused.code == PlainHTTP && hasOpError(err)):
		e.Code, e.Detail, e.RetryAfter = refused.code, refused.detail, refused.retryAfter
	case errors.As(err, &answered):
		e.status(answered)
	case errors.As(err, &mismatch):
		e.Code, e.Detail, e.Err = DigestMismatch, mismatch.Error(), mismatch
	case errors.As(err, &short):
		e.Code, e.Detail, e.Err = Unreachable, short.Error(), short
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e.Code, e.Err, e.Detail = TimedOut, context.DeadlineExceeded, "no answer in time"
		if errors.Is(err, context.Canceled) {
			e.Err, e.Detail = context.Canceled, "canceled"
		}
	default:
		e.network(err)
	}
}

// status reads an HTTP answer that is no success.
func (e *Error) status(answered *transport.Error) {
	e.Status, e.Code = answered.StatusCode, codeOf(answered.StatusCode)
	said := []string{}
	for _, d := range answered.Errors {
		said = append(said, strings.TrimSpace(string(d.Code)+" "+d.Message))
		if d.Code == transport.TooManyRequestsErrorCode {
			e.Code = Throttled
		}
	}
	e.Detail = fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	if len(said) > 0 {
		e.Detail += " (" + artifact.OneLine(strings.Join(said, "; ")) + ")"
	}
	if r := answered.Request; r != nil && r.URL != nil && hostOf(r.URL) != apiHost(e.Host) && (e.Code == Unauthorized || e.Code == Forbidden) {
		e.Detail += " from " + r.URL.Host
	}
}

func codeOf(status int) Code {
	switch {
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusUnauthorized:
		return Unauthorized
	case status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusProxyAuthRequired:
		return Unreachable
	case status >= 500:
		return ServerError
	case status >= 400:
		return Rejected
	default:
		return Invalid
	}
}

// network reads an error of the connection.
func (e *Error) network(err error) {
	var dns *net.DNSError
	var op *net.OpError
	var timeout interface{ Timeout() bool }
	switch {
	case isTLS(err):
		e.Code, e.Detail = TLS, artifact.OneLine(withoutURL(err))
	case errors.As(err, &dns):
		e.Detail = "no such host " + artifact.OneLine(dns.Name)
		if !dns.IsNotFound {
			e.Detail = "looking up " + artifact.OneLine(dns.Name) + " does not work"
		}
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Code, e.Detail = TimedOut, "no answer in time"
	case errors.As(err, &op):
		stable := *op
		stable.Source = nil // its port is another one each time
		e.Detail = artifact.OneLine(stable.Error())
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		e.Detail = "the connection was closed early"
	default:
		e.Code, e.Detail = Invalid, artifact.OneLine(withoutURL(err))
	}
}

// plainAnswer is how net/http says that the other side does not speak TLS. A registry on loopback is
// asked with TLS first as well, so there the words mean nothing.
const plainAnswer = "server gave HTTP response to HTTPS client"

func isTLS(err error) bool {
	var record tls.RecordHeaderError
	var alert tls.AlertError
	return isCertificate(err) || errors.As(err, &record) || errors.As(err, &alert) || strings.Contains(err.Error(), plainAnswer)
}

func isCertificate(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid)
}

func hasOpError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// withoutURL leaves out the URL that net/http puts in front: its query may hold what is signed.
func withoutURL(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err.Error()
	}
	return err.Error()
}
