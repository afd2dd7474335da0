// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"errors"
	"testing"

	"github.com/kustomizer/kustomizer/internal/cluster"
)

// What a webhook says goes to terminals and into logs: it once brought its escape sequences along.
func TestACauseHasNoControlCharacters(t *testing.T) {
	t.Parallel()
	got := cluster.CauseOf(errors.New("admission webhook \"a\" denied the request:\n\x1b[2Jall is well\u202e")).Detail
	if want := `admission webhook "a" denied the request: [2Jall is well`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
