// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"encoding/csv"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// maxExpression bounds a regular expression.
const maxExpression = 512

// Identity is who a signing certificate must have been issued to. The zero value matches nobody.
type Identity struct {
	Issuer  Match            // of the token that proved the identity, such as the CI system
	Subject Match            // such as an e-mail address, or the URI of a workflow
	Claims  map[string]Match // further claims of the certificate, by the names of [ClaimNames]
}

// Match is a text, or an expression that the whole text must match. The zero value matches nothing.
type Match struct {
	exact      string
	expression *regexp.Regexp
}

// Exactly matches one text.
func Exactly(text string) Match { return Match{exact: text} }

// Expression matches whole texts: it is anchored at both ends.
func Expression(expression string) (Match, error) {
	if len(expression) > maxExpression {
		return Match{}, badPolicy("the expression has %d characters, more than %d", len(expression), maxExpression)
	}
	if expression == "" {
		return Match{}, badPolicy("the expression is empty")
	}
	compiled, err := regexp.Compile("^(?:" + expression + ")$")
	if err != nil {
		return Match{}, badPolicy("%q is no regular expression", expression)
	}
	return Match{expression: compiled}, nil
}

// IsZero says whether nothing is to match.
func (m Match) IsZero() bool { return m.exact == "" && m.expression == nil }

func (m Match) matches(text string) bool {
	if m.expression != nil {
		return text != "" && m.expression.MatchString(text)
	}
	return m.exact != "" && m.exact == text
}

// claims reads the claims of a certificate that may be demanded, by name.
func claims() map[string]func(certificate.Extensions) string {
	return map[string]func(certificate.Extensions) string{
		"workflow-trigger":            func(e certificate.Extensions) string { return e.GithubWorkflowTrigger },
		"workflow-sha":                func(e certificate.Extensions) string { return e.GithubWorkflowSHA },
		"workflow-name":               func(e certificate.Extensions) string { return e.GithubWorkflowName },
		"workflow-repository":         func(e certificate.Extensions) string { return e.GithubWorkflowRepository },
		"workflow-ref":                func(e certificate.Extensions) string { return e.GithubWorkflowRef },
		"build-signer-uri":            func(e certificate.Extensions) string { return e.BuildSignerURI },
		"build-signer-digest":         func(e certificate.Extensions) string { return e.BuildSignerDigest },
		"runner-environment":          func(e certificate.Extensions) string { return e.RunnerEnvironment },
		"source-repository-uri":       func(e certificate.Extensions) string { return e.SourceRepositoryURI },
		"source-repository-digest":    func(e certificate.Extensions) string { return e.SourceRepositoryDigest },
		"source-repository-ref":       func(e certificate.Extensions) string { return e.SourceRepositoryRef },
		"source-repository-id":        func(e certificate.Extensions) string { return e.SourceRepositoryIdentifier },
		"source-repository-owner-uri": func(e certificate.Extensions) string { return e.SourceRepositoryOwnerURI },
		"source-repository-owner-id":  func(e certificate.Extensions) string { return e.SourceRepositoryOwnerIdentifier },
		"build-config-uri":            func(e certificate.Extensions) string { return e.BuildConfigURI },
		"build-config-digest":         func(e certificate.Extensions) string { return e.BuildConfigDigest },
		"build-trigger":               func(e certificate.Extensions) string { return e.BuildTrigger },
		"run-invocation-uri":          func(e certificate.Extensions) string { return e.RunInvocationURI },
		"source-repository-visibility": func(e certificate.Extensions) string {
			return e.SourceRepositoryVisibilityAtSigning
		},
	}
}

// ClaimNames lists the claims that an identity can demand, as Fulcio writes them to certificates.
func ClaimNames() []string { return slices.Sorted(maps.Keys(claims())) }

// ParseIdentity reads issuer=…,subject=…,claim=…: fields separated by commas, in the form of CSV, so
// that a field with a comma is put in quotes. A name with -regexp at its end takes an expression.
func ParseIdentity(text string) (Identity, error) {
	r := csv.NewReader(strings.NewReader(text))
	fields, err := r.Read()
	if err != nil {
		return Identity{}, badPolicy("identity %q is not a list of fields: a field with a comma or a quote is put in quotes", text)
	}
	pairs := make([][2]string, 0, len(fields))
	for _, field := range fields {
		name, value, found := strings.Cut(field, "=")
		if !found {
			return Identity{}, badPolicy("identity: %q is not NAME=VALUE", field)
		}
		pairs = append(pairs, [2]string{strings.TrimSpace(name), value})
	}
	return NewIdentity(pairs)
}

// NewIdentity makes an identity of names and values: issuer, subject and claims, with -regexp at the end
// of a name where the value is an expression.
func NewIdentity(fields [][2]string) (Identity, error) {
	id := Identity{Claims: map[string]Match{}}
	for _, field := range fields {
		if field[1] == "" {
			return Identity{}, badPolicy("identity: %q has no value", field[0])
		}
		if err := id.set(field[0], field[1]); err != nil {
			return Identity{}, err
		}
	}
	return id, id.check()
}

func (id *Identity) set(name, value string) error {
	match := Exactly(value)
	name, isExpression := strings.CutSuffix(name, "-regexp")
	if isExpression {
		var err error
		if match, err = Expression(value); err != nil {
			return fmt.Errorf("identity: %w", err)
		}
	}
	var at *Match
	switch name {
	case "issuer":
		at = &id.Issuer
	case "subject":
		at = &id.Subject
	default:
		if claims()[name] == nil {
			return badPolicy("identity: %q is not known: want issuer, subject, or one of %s, each also with -regexp", name, strings.Join(ClaimNames(), ", "))
		}
		if _, twice := id.Claims[name]; twice {
			return badPolicy("identity: %q is given twice", name)
		}
		id.Claims[name] = match
		return nil
	}
	if !at.IsZero() {
		return badPolicy("identity: %q is given twice", name)
	}
	*at = match
	return nil
}

func (id *Identity) check() error {
	if id.Issuer.IsZero() || id.Subject.IsZero() {
		return badPolicy("an identity needs an issuer and a subject: whoever may get a certificate of that issuer could sign otherwise")
	}
	return nil
}

// matches says why a certificate is not the identity's, or nothing if it is.
func (id *Identity) matches(cert certificate.Summary) (because string) {
	switch {
	case !id.Issuer.matches(cert.Issuer):
		return fmt.Sprintf("the issuer is %q", artifact.OneLine(cert.Issuer))
	case !id.Subject.matches(cert.SubjectAlternativeName):
		return fmt.Sprintf("the subject is %q", artifact.OneLine(cert.SubjectAlternativeName))
	}
	read := claims()
	for _, name := range slices.Sorted(maps.Keys(id.Claims)) {
		if value := read[name](cert.Extensions); !id.Claims[name].matches(value) {
			return fmt.Sprintf("the claim %s is %q", name, artifact.OneLine(value))
		}
	}
	return ""
}
