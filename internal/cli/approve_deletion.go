// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/report"
)

// deletionFlags are the flags of approving the deletion of a whole Kustomization.
type deletionFlags struct {
	deletion bool
	protect  []string
}

// AddFlags adds the flags to a command.
func (f *deletionFlags) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.deletion, "deletion", false, "approve that protected objects go when the Kustomization is deleted")
	addProtectFlag(fs, &f.protect)
}

// deletionPlan returns the hash of what the deletion of a Kustomization would leave because it is
// protected, and the objects with the reasons. The agent decides by the same facts when it is deleted.
func (a *app) deletionPlan(ctx context.Context, r resource, f deletionFlags) (string, []string, error) {
	_, kinds, err := guard("on", f.protect)
	if err != nil {
		return "", nil, err
	}
	if err := leavesProtected(r); err != nil {
		return "", nil, err
	}
	engine, err := a.inventoryEngine()
	if err != nil {
		return "", nil, err
	}
	p, err := engine.PlanTeardown(ctx, deploy.TeardownRequest{
		Owner: plan.Kustomization(r.id.Namespace, r.id.Name), RecordNamespace: engine.AgentNamespace,
		Policy: plan.Policy{ProtectKinds: kinds, Protected: []string{engine.AgentNamespace}},
	})
	if err != nil {
		return "", nil, err
	}
	if p.Spared == nil {
		return "", nil, &report.RefusedError{Message: "there is nothing to approve: nothing that is protected would stay when " + r.id.String() + " is deleted"}
	}
	var lines []string
	for _, s := range p.Stale {
		if slices.Contains(p.Spared.Objects, s.ID) {
			lines = append(lines, fmt.Sprintf("%s: %s", s.ID, strings.TrimPrefix(s.Reason, plan.ProtectedReason)))
		}
	}
	return p.Spared.Hash, lines, nil
}

// leavesProtected refuses where the deletion policy says already what becomes of protected objects.
func leavesProtected(r resource) error {
	var ks kustomizev1.Kustomization
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(r.object.Object, &ks); err != nil {
		return fmt.Errorf("reading %s: %w", r.id, err)
	}
	policy := ks.GetDeletionPolicy()
	var why string
	switch {
	case policy == kustomizev1.DeletionPolicyDelete || policy == kustomizev1.DeletionPolicyWaitForTermination:
		why = "the deletion policy " + policy + " takes protected objects, too"
	case policy == kustomizev1.DeletionPolicyOrphan || !ks.Spec.Prune || ks.Spec.Suspend:
		why = "all objects stay when it is deleted"
	default:
		return nil
	}
	return &report.RefusedError{Message: "there is nothing to approve for " + r.id.String() + ": " + why}
}
