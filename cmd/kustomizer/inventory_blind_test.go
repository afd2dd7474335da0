// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// The budgets, in requests to the API server, for a set of a thousand objects.
const (
	thousand       = 1000
	requestsToMake = 2*thousand + 20
	requestsToSee  = 20 // that nothing changed
	requestsToDiff = 24
	requestsToMend = 24
)

// manyObjects is a set with as many each of four kinds.
func manyObjects(namespace string, each int) string {
	var b strings.Builder
	for i := range each {
		fmt.Fprintf(&b, `apiVersion: v1
kind: ConfigMap
metadata: {name: c-%03[2]d, namespace: %[1]s, labels: {app: many}}
data: {value: "one", other: "stays"}
---
apiVersion: v1
kind: Service
metadata: {name: s-%03[2]d, namespace: %[1]s, labels: {app: many}}
spec: {selector: {app: d-%03[2]d}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: a-%03[2]d, namespace: %[1]s, labels: {app: many}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d-%03[2]d, namespace: %[1]s, labels: {app: many}}
spec:
  replicas: 0
  selector: {matchLabels: {app: d-%03[2]d}}
  template:
    metadata: {labels: {app: d-%03[2]d}}
    spec: {containers: [{name: web, image: "registry.example/web:1"}]}
---
`, namespace, i)
	}
	return b.String()
}

// found is what a diff says of an object, a line a field: "action Kind/name", or
// "action Kind/name path: before -> after, of manager".
func found(t *testing.T, r ran) []string {
	t.Helper()
	var differences []struct {
		Kind, Name, Action string
		Fields             []struct {
			Path, Owner   string
			Before, After any
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &differences); err != nil {
		t.Fatalf("%v in:\n%s%s", err, tail(r.stdout), tail(r.stderr))
	}
	var out []string
	for _, d := range differences {
		line := fmt.Sprintf("%s %s/%s", d.Action, d.Kind, d.Name)
		if len(d.Fields) == 0 {
			out = append(out, line)
		}
		for _, f := range d.Fields {
			out = append(out, fmt.Sprintf("%s %s: %v -> %v, of %s", line, f.Path, f.Before, f.After, f.Owner))
		}
	}
	return out
}

// A diff reads lists and asks about nothing else, and still finds whatever somebody did to one object
// of a thousand, and nothing but that. The apply after it mends it, as cheaply.
func TestDiffFindsExactlyWhatChangedAmongAThousandObjects(t *testing.T) {
	t.Parallel()
	k := newTool(t, testkit.Cluster(t))
	set := writeFile(t, t.TempDir(), "set.yaml", manyObjects(k.Namespace, thousand/4))
	apply := []string{"apply", "inventory", "many", "-f", set, "--timeout=5m"}
	diff := []string{"diff", "inventory", "many", "-f", set, "--timeout=5m", "-o", "json"}
	kubectl := func(t *testing.T, args ...string) { k.Kubectl(t, append([]string{"-n", k.Namespace}, args...)...) }
	mark := k.Mark(t)
	if odd := except(lines(k.must(t, 0, apply...).stdout), " created"); len(odd) > 0 {
		t.Fatalf("not created: %q", odd)
	}
	k.withinBudget(t, mark, requestsToMake)
	mark = k.Mark(t)
	if odd := except(lines(k.must(t, 0, apply...).stdout), " unchanged"); len(odd) > 0 {
		t.Fatalf("not unchanged: %q", odd)
	}
	k.withinBudget(t, mark, requestsToSee)
	for name, c := range map[string]struct {
		change func(t *testing.T)
		want   []string
	}{
		"nothing": {func(*testing.T) {}, nil},
		"a restart, which is nobody's drift": {
			func(t *testing.T) { kubectl(t, "rollout", "restart", "deployment/d-003") }, nil,
		},
		"a field that was edited": {
			func(t *testing.T) {
				kubectl(t, "patch", "configmap", "c-007", "--type=merge", "-p", `{"data":{"value":"two"}}`)
			},
			[]string{"configure ConfigMap/c-007 .data.value: two -> one, of kubectl-patch"},
		},
		"a field that was added": {
			func(t *testing.T) { kubectl(t, "set", "env", "deployment/d-011", "ADDED=x") },
			[]string{`configure Deployment/d-011 .spec.template.spec.containers[name=web].env: [map[name:ADDED value:x]] -> <nil>, of kubectl-set`},
		},
		"an owner's label that was stripped": {
			func(t *testing.T) { kubectl(t, "label", "service", "s-013", "inventory.kustomizer.dev/name-") },
			[]string{`configure Service/s-013 .metadata.labels["inventory.kustomizer.dev/name"]: <nil> -> many, of `},
		},
		"another label that was stripped": {
			func(t *testing.T) { kubectl(t, "label", "serviceaccount", "a-014", "app-") },
			[]string{"configure ServiceAccount/a-014 .metadata.labels.app: <nil> -> many, of "},
		},
		"an object that was deleted": {
			func(t *testing.T) { kubectl(t, "delete", "serviceaccount", "a-017") },
			[]string{"create ServiceAccount/a-017"},
		},
		"a foreign forced apply": {
			func(t *testing.T) { k.foreignApply(t, "d-019") },
			[]string{`configure Deployment/d-019 .spec.template.spec.containers[name=web].image: registry.example/theirs:2 -> registry.example/web:1, of theirs`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.change(t)
			mark, code := k.Mark(t), min(1, len(c.want))
			if d := cmp.Diff(c.want, found(t, k.must(t, code, diff...))); d != "" {
				t.Errorf("the diff (-want +got):\n%s", d)
			}
			k.withinBudget(t, mark, requestsToDiff)
			mark = k.Mark(t)
			if mended := except(lines(k.must(t, 0, apply...).stdout), " unchanged"); len(mended) != min(1, len(c.want)) {
				t.Errorf("mended: %q", mended)
			}
			k.withinBudget(t, mark, requestsToMend)
			if left := found(t, k.must(t, 0, diff...)); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// withinBudget counts what the tool has sent since a mark.
func (k *tool) withinBudget(t *testing.T, mark testkit.Mark, budget int) {
	t.Helper()
	sent := k.Requests(t, testkit.ByUser(k.user.UserName), testkit.After(mark))
	if len(sent) > budget || len(sent) == 0 {
		t.Errorf("%d requests, the budget is %d:\n%s", len(sent), budget, sent)
	}
	t.Logf("%d requests", len(sent))
}

// foreignApply has another manager take a Deployment's image by force.
func (k *tool) foreignApply(t *testing.T, name string) {
	t.Helper()
	manifest := fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q,"namespace":%q},`+
		`"spec":{"template":{"spec":{"containers":[{"name":"web","image":"registry.example/theirs:2"}]}}}}`, name, k.Namespace)
	cmd := exec.CommandContext(t.Context(), k.KubectlPath, "--kubeconfig", k.Kubeconfig,
		"apply", "--server-side", "--force-conflicts", "--field-manager=theirs", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("applying as another: %v\n%s", err, out)
	}
}
