// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/kustomizer/kustomizer/internal/plan"
)

// agreeKinds is what an object of a generated set can be. A name may stand for several objects that
// come together.
func agreeKinds() []string {
	return []string{
		"ConfigMap", "ConfigMap", "Secret", "Service", "ServiceAccount", "Deployment", "Deployment", "Scaled", "Role",
		"PersistentVolumeClaim", "Colour", "Fixed", "Selected", "Namespace", "Definition", "ClusterRole",
	}
}

// slot is one object (or a few that belong together) of a generated case, before and after.
type slot struct {
	kind, name string
	before     int    // variant in the first set; -1: not in it
	after      int    // variant in the second set; -1: not in it
	control    string // annotation of the second set's object, if any
	foreign    bool   // another inventory applied it before all else
	disturb    string // what somebody does to it in between
}

// agreeCase is a generated case: a set is applied, somebody interferes, and another set is planned
// and applied.
type agreeCase struct {
	tag     string // in the names of all that is not in the case's own namespace
	slots   []slot
	policy  plan.Policy
	mutated bool // a policy of the cluster changes what is stored in the namespace
}

// disturbances are what somebody may do to an object.
func disturbances() []string {
	return []string{
		"", "", "", "edit", "add", "apply by force", "apply beside", "strip", "delete", "replace", "hold", "disable", "scale", "status",
	}
}

func generateCase(r *rand.Rand, index int) agreeCase {
	c := agreeCase{tag: fmt.Sprintf("x%03d", index), mutated: r.IntN(4) == 0}
	c.policy = plan.Policy{
		Prune: r.IntN(5) > 0, Force: r.IntN(3) == 0, Adopt: r.IntN(4) == 0, GuardOff: r.IntN(5) > 1,
	}
	kinds, disturbed := agreeKinds(), disturbances()
	for i := range 2 + r.IntN(6) {
		s := slot{kind: kinds[r.IntN(len(kinds))], before: r.IntN(3), after: r.IntN(3)}
		s.name = fmt.Sprintf("%s-%d", strings.ToLower(s.kind), i)
		switch r.IntN(6) {
		case 0:
			s.before = -1
		case 1:
			s.after = -1
		case 2:
			s.after = s.before
		}
		if s.before < 0 && r.IntN(4) == 0 && shareable(s.kind) {
			s.foreign = true
		}
		if r.IntN(10) == 0 {
			s.control = []string{"ssa: IfNotPresent", "ssa: Ignore", "ssa: Merge", "reconcile: disabled", "prune: disabled", "force: enabled"}[r.IntN(6)]
		}
		s.disturb = disturbed[r.IntN(len(disturbed))]
		if s.disturb == "hold" && (s.kind == "Fixed" || s.kind == "Selected") {
			s.disturb = "" // a replacement would wait a minute for somebody to let go of it
		}
		c.slots = append(c.slots, s)
	}
	return c
}

// shareable kinds are one object by themselves.
func shareable(kind string) bool {
	return kind != "Namespace" && kind != "Definition" && kind != "Scaled"
}

// set returns the manifests of one of the case's sets.
func (c agreeCase) set(which func(slot) int) []string {
	var out []string
	for _, s := range c.slots {
		if v := which(s); v >= 0 {
			out = append(out, s.manifest(c.tag, v))
		}
	}
	return out
}

func before(s slot) int { return s.before }
func after(s slot) int  { return s.after }

// shared is what another inventory has.
func shared(s slot) int {
	if s.foreign {
		return (s.after + 2) % 2 // as often the same as not
	}
	return -1
}

// manifest returns a variant of the slot's object. NS is the case's namespace.
func (s slot) manifest(tag string, variant int) string {
	meta := fmt.Sprintf("metadata: {name: %s, namespace: NS, labels: {part: all, variant: v%d}", s.name, variant)
	if s.control != "" {
		key, value, _ := strings.Cut(s.control, ": ")
		meta += fmt.Sprintf(", annotations: {%s/%s: %s}", plan.InventoryLabelGroup, key, value)
	}
	return s.body(tag, variant, meta+"}\n")
}

func (s slot) body(tag string, v int, meta string) string {
	switch s.kind {
	case "ConfigMap":
		return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\n%sdata: {value: v%d, same: stays}\n", meta, v)
	case "Fixed": // can't be changed in place
		return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\n%simmutable: true\ndata: {value: v%d}\n", meta, v)
	case "Secret":
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\n%sstringData: {value: v%d}\n", meta, v)
	case "Service":
		return fmt.Sprintf("apiVersion: v1\nkind: Service\n%sspec: {selector: {app: web}, ports: [{name: web, port: %d}]}\n", meta, 80+v)
	case "ServiceAccount":
		return "apiVersion: v1\nkind: ServiceAccount\n" + meta
	case "Role":
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n" + meta + rulesOf(v)
	case "ClusterRole":
		meta = strings.ReplaceAll(strings.ReplaceAll(meta, "name: ", "name: "+tag+"-"), "namespace: NS, ", "")
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n" + meta + rulesOf(v)
	case "PersistentVolumeClaim": // its size can't be changed while nobody binds it
		return fmt.Sprintf("apiVersion: v1\nkind: PersistentVolumeClaim\n%sspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: %dGi}}}\n", meta, 1+v/2)
	case "Colour": // is served at two versions
		return fmt.Sprintf("apiVersion: agree.example/v%d\nkind: Colour\n%sspec: {shade: v%d}\n", 1+v%2, meta, v)
	case "Selected": // has a field that can't be changed in place
		return deploymentBody(meta, s.name, fmt.Sprintf("s%d", v/2), v)
	case "Scaled":
		return deploymentBody(meta, s.name, "s", v) + "---\n" + fmt.Sprintf(`apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
%sspec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %s}, minReplicas: 1, maxReplicas: %d}
`, meta, s.name, 5+v)
	case "Namespace":
		inner := strings.Replace(meta, "namespace: NS", "namespace: "+tag+"-"+s.name, 1)
		outer := strings.ReplaceAll(strings.ReplaceAll(meta, "name: ", "name: "+tag+"-"), "namespace: NS, ", "")
		return fmt.Sprintf("apiVersion: v1\nkind: Namespace\n%s---\napiVersion: v1\nkind: ConfigMap\n%sdata: {value: v%d}\n", outer, inner, v)
	case "Definition":
		return definitionBody(s.name+"."+tag, meta, v)
	default:
		return deploymentBody(meta, s.name, "s", v)
	}
}

func rulesOf(v int) string {
	return fmt.Sprintf("rules: [{apiGroups: [\"\"], resources: [configmaps], resourceNames: [v%d], verbs: [get]}]\n", v)
}

// deploymentBody leaves the replicas out in one variant of three.
func deploymentBody(meta, name, selector string, v int) string {
	replicas := fmt.Sprintf("  replicas: %d\n", v)
	if v == 2 {
		replicas = ""
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
%[1]sspec:
%[4]s  selector: {matchLabels: {app: %[2]s, set: %[3]s}}
  template:
    metadata: {labels: {app: %[2]s, set: %[3]s}}
    spec: {containers: [{name: web, image: "example.test/web:%[5]d"}]}
`, meta, name, selector, replicas, v)
}

// definitionBody is a definition and a resource of the kind that it defines.
func definitionBody(group, meta string, v int) string {
	plural := "things"
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.%[2]s.example}
spec:
  group: %[2]s.example
  scope: Namespaced
  names: {kind: Thing, plural: %[1]s, singular: thing, listKind: ThingList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, description: variant %[4]d, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: %[2]s.example/v1
kind: Thing
%[3]sspec: {shade: v%[4]d}
`, plural, group, meta, v)
}
