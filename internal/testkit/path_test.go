// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestParseRequest(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		method, uri, body string
		want              string
		dryRun            bool
	}{
		"a core object":        {"GET", "/api/v1/namespaces/a/configmaps/b", "", "get configmaps a/b", false},
		"a collection":         {"GET", "/apis/apps/v1/namespaces/a/deployments", "", "list deployments.apps a", false},
		"a watch over all":     {"GET", "/apis/apps/v1/deployments?watch=true", "", "watch deployments.apps ", false},
		"a namespace":          {"PATCH", "/api/v1/namespaces/a", "", "patch namespaces a/a", false},
		"a namespace's status": {"PUT", "/api/v1/namespaces/a/status", "", "update namespaces/status a/a", false},
		"a subresource":        {"PATCH", "/apis/apps/v1/namespaces/a/deployments/b/scale", "", "patch deployments.apps/scale a/b", false},
		"a cluster object":     {"DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x", "{}", "delete customresourcedefinitions.apiextensions.k8s.io x", false},
		"a dry-run":            {"PATCH", "/api/v1/namespaces/a/pods/b?dryRun=All", "", "patch pods a/b", true},
		"a dry-run delete":     {"DELETE", "/api/v1/namespaces/a/pods/b", `{"dryRun":["All"]}`, "delete pods a/b", true},
		"delete of many":       {"DELETE", "/api/v1/namespaces/a/pods", "", "deletecollection pods a", false},
		"no resource":          {"GET", "/version", "", "get  /version", false},
		"discovery":            {"GET", "/apis/apps/v1", "", "get  /apis/apps/v1", false},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseRequest(httptest.NewRequest(test.method, test.uri, strings.NewReader(test.body)))
			if err != nil {
				t.Fatal(err)
			}
			if r.DryRun != test.dryRun {
				t.Errorf("dry-run: %v", r.DryRun)
			}
			r.DryRun = false
			if got, want := r.String(), " "+test.want+" -> 0"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
