// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
)

// Thresholds of the brake: more than manyObjects and more than manyPercent of what is remembered,
// or at least fewObjects and more than half.
const (
	manyObjects = 10
	manyPercent = 30
	fewObjects  = 3
)

// Brake says that a plan's deletions need a person's approval, and why.
type Brake struct {
	Reason   string      // on one line
	Objects  []object.ID // what would be deleted
	Hash     string      // names exactly these deletions; an approval carries it
	Released bool        // the approval is there
}

// brake looks over a plan's deletions.
func brake(f *Facts, p *Plan, policy Policy) *Brake {
	going := p.Deletions()
	if len(going) == 0 || policy.GuardOff {
		return nil
	}
	reason := brakeReason(f, p, going)
	if reason == "" {
		return nil
	}
	b := &Brake{Reason: reason, Hash: approvalHash(f.Origin, going)}
	for _, s := range going {
		b.Objects = append(b.Objects, s.ID)
	}
	b.Released = policy.Approved != "" && policy.Approved == b.Hash
	return b
}

func brakeReason(f *Facts, p *Plan, going []Step) string {
	total := remembered(f)
	switch n := len(going); {
	case len(f.Wants) == 0:
		why := f.Empty
		if why == "" {
			why = "it has no objects"
		}
		return fmt.Sprintf("the new render is empty (%s) and all %d objects would be deleted", why, n)
	case n > manyObjects && n*100 > total*manyPercent:
		return fmt.Sprintf("%d of %d objects would be deleted", n, total)
	case n >= fewObjects && n*2 > total:
		return fmt.Sprintf("%d of %d objects would be deleted, more than half", n, total)
	case lastWorkloadGoes(p, going):
		return "the last workload would be deleted"
	}
	return cmp.Or(protectedReason(going), f.Unseen)
}

// remembered counts the objects that were ours before this plan: those that are in the record
// and not merely kept there.
func remembered(f *Facts) int {
	n := 0
	for _, e := range f.Record {
		if e.Ours() {
			n++
		}
	}
	return n
}

func lastWorkloadGoes(p *Plan, going []Step) bool {
	if slices.ContainsFunc(p.Steps, func(s Step) bool { return workload(s.ID) }) {
		return false
	}
	return slices.ContainsFunc(going, func(s Step) bool { return workload(s.ID) })
}

func workload(id object.ID) bool {
	switch id.Group {
	case "apps":
		return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"}, id.Kind)
	case "batch":
		return id.Kind == "CronJob" || id.Kind == "Job"
	}
	return false
}

// protectedReason names the objects that take data or other people's objects with them.
func protectedReason(going []Step) string {
	var names []string
	for _, s := range going {
		if Protected(s.ID, s.Live) {
			names = append(names, s.ID.String())
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return "objects of protected kinds would be deleted: " + strings.Join(names, ", ")
}

// Protected says whether an object is of a kind whose deletion takes data or other people's
// objects with it, and therefore needs approval.
func Protected(id object.ID, live *unstructured.Unstructured) bool {
	switch id.GroupKind().String() {
	case "Namespace", "PersistentVolume", "PersistentVolumeClaim", "CustomResourceDefinition.apiextensions.k8s.io",
		"Kustomization.kustomize.toolkit.fluxcd.io":
		return true
	case "StatefulSet.apps":
		if live == nil {
			return true
		}
		templates, _, _ := unstructured.NestedSlice(live.Object, "spec", "volumeClaimTemplates")
		return len(templates) > 0
	}
	return false
}

// approvalHash names exactly one set of deletions: the origin (artifact digest and generation) and
// each object with its uid. An approval can't be used for anything else.
func approvalHash(origin string, going []Step) string {
	lines := make([]string, 0, len(going))
	for _, s := range going {
		lines = append(lines, s.ID.InventoryID()+" "+string(s.Live.GetUID()))
	}
	slices.Sort(lines)
	h := sha256.New()
	io.WriteString(h, origin+"\n"+strings.Join(lines, "\n")) // a hash's Write never fails
	return hex.EncodeToString(h.Sum(nil))
}
