// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"testing"

	"github.com/kustomizer/kustomizer/internal/render"
)

func BenchmarkTree(b *testing.B) {
	for b.Loop() {
		if _, err := render.Tree(b.Context(), render.Request{Root: "../../examples/demo-app"}); err != nil {
			b.Fatal(err)
		}
	}
}
