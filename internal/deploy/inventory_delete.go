// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

// InventoryDeletion says how an inventory goes.
type InventoryDeletion struct {
	Owner plan.Owner
	Wait  bool // until all that was deleted is gone
	// Approved is the hash of the protected objects that go as well.
	Approved     string
	ProtectKinds []schema.GroupKind // see [plan.Policy]
	Order        object.Order       // of application; it is deleted the other way
	Lock         LockTimes
	// Approve, which may be nil, is shown the plan before anything is deleted.
	Approve func(ctx context.Context, p *plan.Plan) error
}

// NoInventoryError says that there is no such inventory.
type NoInventoryError struct{ Owner plan.Owner }

// Error implements error.
func (e *NoInventoryError) Error() string {
	return fmt.Sprintf("there is no inventory %s in the namespace %s", e.Owner.Name, e.Owner.Namespace)
}

// DamagedRecordError says that nothing can be deleted on the strength of a record.
type DamagedRecordError struct {
	Owner  plan.Owner
	Damage string
}

// Error implements error.
func (e *DamagedRecordError) Error() string {
	return fmt.Sprintf("the record of %s can't be trusted, so nothing is deleted: %s", e.Owner, e.Damage)
}

// AgentInventoryError says that an inventory holds an agent, which is not taken out by deleting its objects.
type AgentInventoryError struct{ Owner plan.Owner }

// Error implements error.
func (e *AgentInventoryError) Error() string {
	return fmt.Sprintf("the inventory %s in the namespace %s is the installation of an agent", e.Owner.Name, e.Owner.Namespace)
}

// agentInventory says whether an inventory is what install made.
func agentInventory(stored record.Stored) bool {
	owner := stored.Owner
	agent := object.ID{Group: "apps", Kind: "Deployment", Namespace: owner.Namespace, Name: AgentName}
	return owner.Name == AgentName && slices.ContainsFunc(stored.Entries, func(e plan.Entry) bool {
		return e.ID == agent || plan.IsDefinition(e.ID) && strings.HasSuffix(e.ID.Name, ".toolkit.fluxcd.io")
	})
}

// DeleteInventory deletes the objects of an inventory, those that depend on others first, and then
// the inventory. Objects of protected kinds stay, and stay on record, unless they were approved.
func (e *Engine) DeleteInventory(ctx context.Context, d InventoryDeletion, progress InventoryProgress) TeardownOutcome {
	failed := func(err error) TeardownOutcome {
		return TeardownOutcome{Outcome: Outcome{State: Failed, Err: err}}
	}
	stored, err := e.readInventory(ctx, d.Owner)
	if err != nil {
		return failed(err)
	}
	if agentInventory(stored) {
		return failed(&AgentInventoryError{Owner: d.Owner})
	}
	lock, held := newRunLock(ctx, d.Lock, progress.Locked)
	defer lock.release(ctx, e.Cluster)
	req := TeardownRequest{
		Owner: d.Owner, RecordNamespace: d.Owner.Namespace,
		Policy: plan.Policy{
			Approved: d.Approved, ProtectKinds: d.ProtectKinds, Order: d.Order, Protected: []string{e.AgentNamespace},
		},
		AwaitGone: d.Wait, HoldProtected: true, Approve: d.Approve, Changed: progress.Changed, lock: lock,
	}
	req.Imported = stored.Entries
	out := e.followTeardown(held, req, progress.Waiting)
	if out.Err != nil {
		if cause := context.Cause(held); ctx.Err() == nil && cause != nil {
			out.Err = errors.Join(out.Err, cause)
		}
		return e.reproject(ctx, stored.Projection, out)
	}
	if _, err := record.DeleteProjection(ctx, e.Cluster, d.Owner); err != nil {
		out.State, out.Err = Failed, err
	}
	return out
}

// readInventory reads what is to be deleted, which has to be there and to be trusted.
func (e *Engine) readInventory(ctx context.Context, owner plan.Owner) (record.Stored, error) {
	stored, found, err := record.LoadInventory(ctx, e.Cluster, owner)
	if err != nil {
		return stored, err
	}
	if !found {
		return stored, &NoInventoryError{Owner: owner}
	}
	if stored.Record == nil {
		return stored, nil
	}
	if damage := stored.Record.Degraded(); damage != "" {
		return stored, &DamagedRecordError{Owner: owner, Damage: damage}
	}
	id, err := e.clusterID(ctx)
	if err == nil && stored.Record.Head.Cluster != "" && stored.Record.Head.Cluster != id {
		err = &DamagedRecordError{Owner: owner, Damage: "it was made in another cluster"}
	}
	return stored, err
}

// followTeardown goes on whenever what a teardown waited for has come.
func (e *Engine) followTeardown(ctx context.Context, req TeardownRequest, waiting func(observe.Report)) TeardownOutcome {
	var done Outcome
	for {
		out := e.Teardown(ctx, req)
		done.Changes = append(done.Changes, out.Changes...)
		out.Changes = done.Changes
		req.Approve = nil // what goes on was approved, and only that can still be there
		if out.State != Waiting {
			return out
		}
		seen, err := observe.Until(ctx, e.Cluster, out.Wait, waiting)
		if ended(ctx, &out.Outcome, seen, err) {
			return out
		}
	}
}

// reproject writes what is left of an inventory that could not be deleted in whole.
func (e *Engine) reproject(ctx context.Context, p record.Projection, out TeardownOutcome) TeardownOutcome {
	if len(out.Changes) == 0 || out.Entries == nil || len(out.Entries) == 0 {
		return out
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := p.Write(ctx, e.Cluster, out.Entries); err != nil {
		out.Err = errors.Join(out.Err, err)
	}
	return out
}
