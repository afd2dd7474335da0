// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// parseRequest says what a request asks of the API server. The request can
// still be forwarded afterwards.
func parseRequest(req *http.Request) (Request, error) {
	r := parsePath(req.URL.Path)
	query := req.URL.Query()
	r.URI, r.UserAgent = req.RequestURI, req.UserAgent()
	r.FieldManager, r.DryRun = query.Get("fieldManager"), query.Has("dryRun")
	r.ImpersonatedUser = req.Header.Get("Impersonate-User")
	r.Verb = verb(req.Method, r, query.Get("watch"))
	if req.Method != http.MethodDelete {
		return r, nil
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return r, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	// The options of a delete are in its body, in one of three encodings. None
	// of their other values holds this word.
	r.DryRun = r.DryRun || bytes.Contains(body, []byte(metav1.DryRunAll))
	return r, nil
}

// parsePath takes the path of an object or a collection apart.
func parsePath(path string) Request {
	var r Request
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		r.Version, parts = parts[1], parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		r.Group, r.Version, parts = parts[1], parts[2], parts[3:]
	default:
		return r
	}
	if parts[0] == "namespaces" && len(parts) > 1 {
		r.Namespace = parts[1]
		if len(parts) > 2 && !slices.Contains([]string{"status", "finalize"}, parts[2]) {
			parts = parts[2:]
		}
	}
	parts = append(parts, "", "")
	r.Resource, r.Name, r.Subresource = parts[0], parts[1], parts[2]
	return r
}

func verb(method string, r Request, watch string) string {
	collection := r.Resource != "" && r.Name == ""
	switch {
	case r.Resource == "":
		return strings.ToLower(method)
	case method == http.MethodGet && (watch == "true" || watch == "1"):
		return "watch"
	case method == http.MethodGet && collection:
		return "list"
	case method == http.MethodPost:
		return "create"
	case method == http.MethodPut:
		return "update"
	case method == http.MethodDelete && collection:
		return "deletecollection"
	}
	return strings.ToLower(method) // get, patch, delete
}

// statusBody is the body with which the API server answers an error.
func statusBody(code int) string {
	reasons := map[int]metav1.StatusReason{
		http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound,
		http.StatusConflict: metav1.StatusReasonConflict, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
		http.StatusInternalServerError: metav1.StatusReasonInternalError,
		http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
		http.StatusUnauthorized:        metav1.StatusReasonUnauthorized, http.StatusGatewayTimeout: metav1.StatusReasonTimeout,
	}
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reasons[code],
		Message: "refused by the test's proxy",
	}
	data, err := json.Marshal(status)
	if err != nil {
		panic(err) // a fixed structure
	}
	return string(data)
}
