// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func push(t *testing.T, ref string, options ...remote.Option) error {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return remote.Write(tag, image, options...)
}

func TestRegistryRecordsTheTestsOwnRequests(t *testing.T) {
	t.Parallel()
	mine, other := Registry(t), Registry(t)
	for _, r := range []*Repositories{mine, other} {
		if err := push(t, r.Repository("app")+":1.0.0"); err != nil {
			t.Fatal(err)
		}
	}
	want := RegistryRequest{Method: http.MethodPut, Path: "/v2/" + mine.Prefix + "/app/manifests/1.0.0", Status: 201}
	got := mine.Requests(t)
	if !slices.ContainsFunc(got, func(r RegistryRequest) bool { r.UserAgent = ""; return r == want }) {
		t.Errorf("%s is not in %v", want, got)
	}
	before := len(got)
	resp, err := http.Head("http://" + mine.Host + "/v2/" + mine.Prefix + "/app/manifests/2.0.0")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	want = RegistryRequest{Method: "HEAD", Path: "/v2/" + mine.Prefix + "/app/manifests/2.0.0", Status: 404, UserAgent: "Go-http-client/1.1"}
	if diff := cmp.Diff([]RegistryRequest{want}, mine.Requests(t)[before:]); diff != "" {
		t.Error(diff)
	}
}

func TestPrivateRegistryAsksForThePassword(t *testing.T) {
	t.Parallel()
	r := PrivateRegistry(t)
	if err := push(t, r.Repository("app")+":1.0.0"); err == nil {
		t.Error("pushed without a password")
	}
	auth := remote.WithAuth(&authn.Basic{Username: r.Username, Password: r.Password})
	if err := push(t, r.Repository("app")+":1.0.0", auth); err != nil {
		t.Error(err)
	}
}

func TestMemoryRegistryRecordsAndWraps(t *testing.T) {
	t.Parallel()
	m := MemRegistry(t)
	if err := push(t, m.Host+"/app:1.0.0"); err != nil {
		t.Fatal(err)
	}
	last := m.Requests()[len(m.Requests())-1]
	if last.Method != http.MethodPut || last.Path != "/v2/app/manifests/1.0.0" || last.Status != 201 {
		t.Errorf("last request: %s", last)
	}
	m.Wrap(RequireBasicAuth("flux", "secret"))
	if err := push(t, m.Host+"/app:1.0.0"); err == nil {
		t.Error("pushed without a password")
	}
	auth := remote.WithAuth(&authn.Basic{Username: "flux", Password: "secret"})
	if err := push(t, m.Host+"/app:1.0.0", auth); err != nil {
		t.Error(err)
	}
}

func TestAFrontIsTheRegistryToWhoeverTalksToIt(t *testing.T) {
	t.Parallel()
	r := Registry(t)
	front := r.Front(t)
	if err := push(t, front.Host+"/"+r.Prefix+"/app:1.0.0"); err != nil {
		t.Fatal(err)
	}
	stored, passed := r.Requests(t), front.Requests()
	passed = slices.DeleteFunc(passed, func(r RegistryRequest) bool { return r.Path == "/v2/" })
	if len(stored) == 0 || len(stored) != len(passed) {
		t.Errorf("the registry saw %v, the front %v", stored, passed)
	}
	front.Wrap(func(http.Handler) http.Handler { return http.NotFoundHandler() })
	if err := push(t, front.Host+"/"+r.Prefix+"/app:2.0.0"); err == nil {
		t.Error("pushed through a fault")
	}
}
