// SPDX-License-Identifier: Apache-2.0

package cloud_test

import (
	"testing"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/registry/cloud"
)

// Credentials of a cloud must never go to a host that only looks like one of its registries.
func TestOnlyTheCloudsOwnRegistriesAreServed(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]cloud.Provider{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com": cloud.AWS,
		"public.ecr.aws":        cloud.AWS,
		"me.azurecr.io":         cloud.Azure,
		"europe-docker.pkg.dev": cloud.GCP,
		"eu.gcr.io":             cloud.GCP,
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.com": "",
		"x.123456789012.dkr.ecr.eu-west-1.amazonaws.com":           "",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com:8443":        "",
		"me.azurecr.io.example.com":                                "",
		"europe-docker.pkg.dev.example.com":                        "",
		"notgcr.io":                                                "",
		"ghcr.io":                                                  "",
		"127.0.0.1:5000":                                           "",
	} {
		for _, p := range cloud.Providers() {
			if got := p.Serves(host); got != (p == want) {
				t.Errorf("%s serves %s: %t", p, host, got)
			}
		}
		if want == "" {
			continue
		}
		if got, err := cloud.New(other(want)).ForHost(t.Context(), host); err != nil || !got.IsZero() {
			t.Errorf("%s: another cloud gave a credential: %v", host, err)
		}
	}
	repo, err := artifact.ParseURL("oci://ghcr.io/me/app:1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := cloud.New(cloud.AWS).Lookup(t.Context(), repo.Repository()); err != nil || !got.IsZero() {
		t.Errorf("a registry of no cloud's got a credential: %v", err)
	}
}

func other(p cloud.Provider) cloud.Provider {
	if p == cloud.AWS {
		return cloud.GCP
	}
	return cloud.AWS
}
