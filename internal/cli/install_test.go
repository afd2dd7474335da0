// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/deploy"
)

// TestInstalledAgentStartsWithKnownFlags parses the arguments that install gives the agent as the
// agent does.
func TestInstalledAgentStartsWithKnownFlags(t *testing.T) {
	t.Parallel()
	objs, err := deploy.Manifests(deploy.InstallOptions{Image: deploy.DefaultImage(deploy.AgentRegistry, "1.2.3")})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range objs {
		if u.GetKind() != "Deployment" {
			continue
		}
		containers, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		if err != nil {
			t.Fatal(err)
		}
		args, _, err := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
		if err != nil {
			t.Fatal(err)
		}
		cmd, flags, err := Commands().Find(args)
		if err != nil {
			t.Fatal(err)
		}
		if cmd.Name() != "controller" {
			t.Fatalf("%q runs the command %s", args, cmd.Name())
		}
		if err := cmd.ParseFlags(flags); err != nil {
			t.Errorf("the agent refuses its arguments: %v", err)
		}
		return
	}
	t.Fatal("no Deployment is installed")
}
