// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// Request is one request to the API server, from its audit log.
type Request struct {
	Received         time.Time
	User             string
	ImpersonatedUser string
	UserAgent        string
	// Verb is Kubernetes' own: get, list, watch, create, update, patch (apply is
	// a patch), delete, deletecollection; for other paths the HTTP method in
	// lower case.
	Verb        string
	Group       string
	Version     string
	Resource    string
	Subresource string
	Namespace   string
	Name        string
	URI         string
	// FieldManager is set on writes that name theirs.
	FieldManager string
	DryRun       bool
	// UID and ResourceVersion are the preconditions of a delete.
	UID             string
	ResourceVersion string
	// Code is 0 while the request has not been answered.
	Code int

	id       string
	position int64
}

// String is one line for a failing test's message.
func (r Request) String() string {
	resource := r.Resource
	if r.Group != "" {
		resource += "." + r.Group
	}
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	object := strings.Trim(r.Namespace+"/"+r.Name, "/")
	if r.Resource == "" {
		object = r.URI
	}
	line := fmt.Sprintf("%s %s %s %s -> %d", r.User, r.Verb, resource, object, r.Code)
	if r.DryRun {
		line += " (dry-run)"
	}
	return line
}

// write tells whether the request changes something: dry-runs and reviews
// (which are created, but stored nowhere) do not.
func write(verb, group, subresource string, dryRun bool) bool {
	switch verb {
	case "create", "update", "patch", "delete", "deletecollection":
	default:
		return false
	}
	return !dryRun && group != "authentication.k8s.io" && group != "authorization.k8s.io" && subresource != "token"
}

// Filter chooses requests.
type Filter func(Request) bool

// ByUser chooses what a user sent, under its own name or another's.
func ByUser(name string) Filter {
	return func(r Request) bool { return r.User == name }
}

// InNamespace chooses requests for objects in a namespace.
func InNamespace(name string) Filter {
	return func(r Request) bool { return r.Namespace == name }
}

// Verbs chooses by verb.
func Verbs(verbs ...string) Filter {
	return func(r Request) bool { return slices.Contains(verbs, r.Verb) }
}

// Resources chooses by resource, as in the URL: "deployments".
func Resources(names ...string) Filter {
	return func(r Request) bool { return slices.Contains(names, r.Resource) }
}

// Not turns a filter round.
func Not(f Filter) Filter {
	return func(r Request) bool { return !f(r) }
}

// After chooses what was logged after a mark.
func After(m Mark) Filter {
	return func(r Request) bool { return r.position >= int64(m) }
}

// Requests are in the order in which they were answered; watches, in which they
// were begun.
type Requests []Request

// Of returns those that pass all filters.
func (rs Requests) Of(filters ...Filter) Requests {
	var out Requests
	for _, r := range rs {
		if !slices.ContainsFunc(filters, func(f Filter) bool { return !f(r) }) {
			out = append(out, r)
		}
	}
	return out
}

// Writes returns those that were not reads, dry-runs or reviews, whether or not
// they succeeded.
func (rs Requests) Writes() Requests {
	return rs.Of(func(r Request) bool { return write(r.Verb, r.Group, r.Subresource, r.DryRun) })
}

// Without leaves resources out: Without("leases", "events").
func (rs Requests) Without(resources ...string) Requests {
	return rs.Of(Not(Resources(resources...)))
}

// String is a list for a failing test's message.
func (rs Requests) String() string {
	lines := make([]string, 0, len(rs))
	for _, r := range rs {
		lines = append(lines, r.String())
	}
	return strings.Join(lines, "\n")
}

// Mark is a moment in the audit log.
type Mark int64

// Mark returns the present moment: all that was answered before is before it.
func (e *Env) Mark(t testing.TB) Mark {
	t.Helper()
	e.sync(t)
	e.audit.mu.Lock()
	defer e.audit.mu.Unlock()
	return Mark(e.audit.offset)
}

// Requests returns what was logged since the test began, by any user unless a
// filter says otherwise. Everything that was answered before the call is in it.
func (e *Env) Requests(t testing.TB, filters ...Filter) Requests {
	t.Helper()
	e.sync(t)
	return e.audit.snapshot().Of(append(filters, Not(ByUser(e.marker.UserName)))...)
}

// sync makes a request of its own and reads the log until that is in it. The
// API server logs a request before it ends the answer, so all that was answered
// before stands before it.
func (e *Env) sync(t testing.TB) {
	t.Helper()
	client, err := rest.HTTPClientFor(e.marker.Config)
	if err != nil {
		t.Fatal(err)
	}
	uri := "/version?marker=" + rand.Text()
	resp, err := client.Get(e.Server + uri)
	if err != nil {
		t.Fatalf("marking the audit log: %v", err)
	}
	resp.Body.Close()
	Eventually(t, "reading the audit log up to now", 30*time.Second, func() error {
		return e.audit.readUntil(uri)
	})
}

// auditLog reads a growing audit log from where it stood when the test began.
type auditLog struct {
	path string

	mu       sync.Mutex
	offset   int64
	requests Requests
	index    map[string]int // by audit id, into requests
}

func newAuditLog(t testing.TB, path string) *auditLog {
	t.Helper()
	end, err := endOfLines(path)
	if err != nil {
		t.Fatalf("reading the audit log: %v", err)
	}
	return &auditLog{path: path, offset: end, index: map[string]int{}}
}

// endOfLines returns where the last whole line of a file ends. A line that is being written may be seen in
// part: a file grows by one page of memory after the other.
func endOfLines(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buffer := make([]byte, 4<<10)
	for end > 0 {
		from := max(0, end-int64(len(buffer)))
		part := buffer[:end-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		end = from
	}
	return 0, nil
}

func (a *auditLog) snapshot() Requests {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

// readUntil reads what is new. It returns an error while the URI was not seen.
func (a *auditLog) readUntil(uri string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	data, err := readFrom(a.path, a.offset)
	if err != nil {
		return err
	}
	for {
		line, rest, complete := bytes.Cut(data, []byte("\n"))
		if !complete {
			break
		}
		if err := a.add(line); err != nil {
			return err
		}
		a.offset += int64(len(line)) + 1
		data = rest
	}
	if !slices.ContainsFunc(a.requests, func(r Request) bool { return r.URI == uri }) {
		return fmt.Errorf("%s is not there yet", uri)
	}
	return nil
}

// readFrom returns what a file holds from an offset on.
func readFrom(path string, offset int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// add adds a request, or the later stage of one that is known: a watch is
// logged when it begins and when it ends.
func (a *auditLog) add(line []byte) error {
	r, err := parseEvent(line)
	if err != nil {
		return err
	}
	if i, known := a.index[r.id]; known {
		a.requests[i].Code = r.Code
		return nil
	}
	r.position = a.offset
	a.index[r.id] = len(a.requests)
	a.requests = append(a.requests, r)
	return nil
}

// event is the part of an audit event that a Request is made from.
type event struct {
	AuditID                  string
	RequestURI               string
	Verb                     string
	UserAgent                string
	User                     struct{ Username string }
	ImpersonatedUser         *struct{ Username string }
	ResponseStatus           struct{ Code int }
	RequestReceivedTimestamp time.Time
	ObjectRef                struct {
		Resource, Subresource, Namespace, Name, APIGroup, APIVersion string
	}
	RequestObject struct {
		DryRun        []string
		Preconditions struct{ UID, ResourceVersion string }
	}
}

func parseEvent(line []byte) (Request, error) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return Request{}, fmt.Errorf("parsing the audit log: %w", err)
	}
	uri, err := url.Parse(e.RequestURI)
	if err != nil {
		return Request{}, fmt.Errorf("parsing the audit log: %w", err)
	}
	ref, query := e.ObjectRef, uri.Query()
	r := Request{
		Received: e.RequestReceivedTimestamp, User: e.User.Username, UserAgent: e.UserAgent,
		Verb: e.Verb, Group: ref.APIGroup, Version: ref.APIVersion, Resource: ref.Resource, Subresource: ref.Subresource,
		Namespace: ref.Namespace, Name: ref.Name, URI: e.RequestURI, FieldManager: query.Get("fieldManager"),
		DryRun: query.Has("dryRun") || len(e.RequestObject.DryRun) > 0,
		UID:    e.RequestObject.Preconditions.UID, ResourceVersion: e.RequestObject.Preconditions.ResourceVersion,
		Code: e.ResponseStatus.Code, id: e.AuditID,
	}
	if e.ImpersonatedUser != nil {
		r.ImpersonatedUser = e.ImpersonatedUser.Username
	}
	return r, nil
}
