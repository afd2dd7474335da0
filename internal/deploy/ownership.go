// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

func kustomizationKind() schema.GroupKind {
	return schema.GroupKind{Group: plan.KustomizationLabelGroup, Kind: plan.OwnerKustomization}
}

// lives says whether an owner is there. Of one of which nobody may say it counts as there.
func (e *Engine) lives(ctx context.Context, owner plan.Owner) (bool, error) {
	if owner.Kind != plan.OwnerKustomization {
		return true, nil // an inventory is its record
	}
	kind := kustomizationKind()
	id := object.ID{Group: kind.Group, Kind: kind.Kind, Namespace: owner.Namespace, Name: owner.Name}
	ks, err := e.Cluster.Get(ctx, id, "v1")
	switch {
	case err == nil:
		return !tornDown(ks), nil
	case apierrors.IsNotFound(err), cluster.CauseOf(err).Code == cause.KindMissing:
		return false, nil
	case apierrors.IsForbidden(err):
		return true, nil
	}
	return false, fmt.Errorf("finding out whether %s exists: %w", owner, err)
}

// tornDown says whether a Kustomization only waits for somebody else to let it go: what it had is
// deleted, or left.
func tornDown(ks *unstructured.Unstructured) bool {
	return ks.GetDeletionTimestamp() != nil && !slices.Contains(ks.GetFinalizers(), fluxFinalizer)
}

// claims finds the objects that belong to other owners.
func (e *Engine) claims(ctx context.Context, labelled map[object.ID][]plan.Owner) (map[object.ID]plan.Owner, error) {
	return record.Claims(ctx, e.Cluster, e.AgentNamespace, labelled, e.lives)
}

// claimantsFor returns a function that finds who else has objects which the given owner lets go.
func (e *Engine) claimantsFor(self plan.Owner) func(context.Context, []object.ID) (map[object.ID]plan.Owner, string, error) {
	return func(ctx context.Context, ids []object.ID) (map[object.ID]plan.Owner, string, error) {
		all, err := e.sets(ctx, self)
		if apierrors.IsForbidden(err) {
			return nil, "whether other sets have these objects is not known: " + cluster.CauseOf(err).Detail, nil
		}
		if err != nil {
			return nil, "", err
		}
		return all.claimants(ids), "", nil
	}
}

// sets is what all other living owners have, by their records.
type sets struct {
	live    map[plan.Owner]*unstructured.Unstructured // Kustomizations
	records map[plan.Owner]*record.Record
	owners  []plan.Owner // sorted, so that of several claimants always the same one is named
}

// sets reads what all owners but one have: the records of those that live, and what Flux says it
// applied for those that have no record yet.
func (e *Engine) sets(ctx context.Context, self plan.Owner) (*sets, error) {
	records, err := record.All(ctx, e.Cluster, e.AgentNamespace)
	if err != nil {
		return nil, err
	}
	live, err := e.kustomizations(ctx)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(records, func(owner plan.Owner, r *record.Record) bool {
		_, lives := live[owner]
		return owner.Same(self) || owner.Kind == plan.OwnerKustomization && !lives
	})
	for owner, ks := range live {
		if r := records[owner]; (r == nil || !r.Exists) && !owner.Same(self) {
			records[owner] = imported(owner, ks)
		}
	}
	out := &sets{live: live, records: records, owners: slices.Collect(maps.Keys(records))}
	slices.SortFunc(out.owners, func(a, b plan.Owner) int {
		return slices.Compare([]string{a.Kind, a.Namespace, a.Name}, []string{b.Kind, b.Namespace, b.Name})
	})
	return out, nil
}

// kustomizations lists the Kustomizations of the cluster.
func (e *Engine) kustomizations(ctx context.Context) (map[plan.Owner]*unstructured.Unstructured, error) {
	out := map[plan.Owner]*unstructured.Unstructured{}
	res, err := e.Cluster.Resolve(ctx, kustomizationKind(), "v1")
	if cluster.CauseOf(err).Code == cause.KindMissing {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing Kustomizations: %w", err)
	}
	all, _, err := e.Cluster.List(ctx, res, cluster.Selection{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("listing Kustomizations: %w", err)
	}
	for _, ks := range all {
		if tornDown(ks) {
			continue
		}
		out[plan.Kustomization(ks.GetNamespace(), ks.GetName())] = ks
	}
	return out, nil
}

// imported is the record of a Kustomization that has none yet: what its status says Flux applied.
func imported(owner plan.Owner, ks *unstructured.Unstructured) *record.Record {
	r := &record.Record{Owner: owner, Entries: map[object.ID]plan.Entry{}}
	entries, _, _ := unstructured.NestedSlice(ks.Object, "status", "inventory", "entries")
	for _, entry := range entries {
		fields, _ := entry.(map[string]any)
		text, _ := fields["id"].(string)
		if id, err := object.ParseInventoryID(text); err == nil {
			r.Entries[id] = plan.Entry{ID: id, Pending: true}
		}
	}
	return r
}

// claimants finds who has objects in its set, wanted or applied.
func (s *sets) claimants(ids []object.ID) map[object.ID]plan.Owner {
	out := map[object.ID]plan.Owner{}
	for _, id := range ids {
		for _, owner := range s.owners {
			if e, ok := s.records[owner].Entries[id]; ok && !e.Retained && !e.Unproven {
				out[id] = owner
				break
			}
		}
	}
	return out
}

// undecided lists the peers that have not decided yet about a revision, as far as there is still time
// for it.
func (s *sets) undecided(r *run) []plan.Owner {
	if r.req.Peer == nil {
		return nil
	}
	var out []plan.Owner
	for _, owner := range s.owners {
		ks := s.live[owner]
		if ks == nil {
			continue
		}
		until, is := r.req.Peer(ks)
		head := s.records[owner].Head
		decided := head.Revision == r.req.Revision && head.Generation == ks.GetGeneration()
		if is && !decided && time.Now().Before(until) {
			out = append(out, owner)
		}
	}
	return out
}

// refusal says why a plan can't be made true, or nothing.
func refusal(p *plan.Plan) error {
	if refused := p.Refused(); len(refused) > 0 {
		return &RefusedError{Steps: refused}
	}
	if conflicts := p.Conflicts(); len(conflicts) > 0 {
		return &ConflictError{Steps: conflicts}
	}
	return nil
}

// turnedDown ends a run whose plan can't be made true, before anything is written. If the request
// stands, its claims are put on record, and a conflict with an owner that is itself about to decide
// is none yet.
func (r *run) turnedDown(ctx context.Context, why error) Outcome {
	if !r.req.Standing {
		return r.outcome(Failed, why)
	}
	conflicts := r.plan.Conflicts()
	changed := r.claim()
	changed = r.handOver() || changed
	if changed || len(conflicts) > 0 && r.record.Head != r.head {
		if err := r.save(ctx); err != nil {
			return r.outcome(Failed, err)
		}
	}
	if len(r.plan.Refused()) > 0 {
		return r.outcome(Failed, why)
	}
	waits, err := r.undecidedKeepers(ctx, conflicts)
	if err != nil || len(waits) == 0 {
		return r.outcome(Failed, errors.Join(why, err))
	}
	out := r.outcome(Waiting, nil)
	out.Awaits = waits
	return out
}

// undecidedKeepers says which of the owners that keep objects have not decided yet whether they go on
// doing so. It is nothing as soon as one of them has.
func (r *run) undecidedKeepers(ctx context.Context, conflicts []plan.Step) ([]string, error) {
	if r.req.Peer == nil {
		return nil, nil
	}
	all, err := r.engine.sets(ctx, r.req.Owner)
	if err != nil {
		return nil, err
	}
	undecided := all.undecided(r)
	var out []string
	for _, s := range conflicts {
		if !slices.ContainsFunc(undecided, s.Other.Same) {
			return nil, nil
		}
		out = append(out, fmt.Sprintf("waiting until %s, which has %s, has decided about %s", s.Other, s.ID, r.req.Revision))
	}
	return out, nil
}

// claim puts on record what is in the set and belongs to another owner. It says whether that changed
// anything.
func (r *run) claim() bool {
	changed := false
	for _, s := range r.plan.Steps {
		if entry, claims := claimOn(s, r.entries); claims {
			r.entries[s.ID], changed = entry, true
			r.concerned = append(r.concerned, s.Other)
		}
	}
	return changed
}

// claimOn returns the entry of an object that another owner keeps, where it is not on record as such.
func claimOn(s plan.Step, entries map[object.ID]plan.Entry) (plan.Entry, bool) {
	if s.Other == (plan.Owner{}) || s.Action != plan.Skip && s.Action != plan.Conflict {
		return plan.Entry{}, false
	}
	entry := plan.Entry{ID: s.ID, Version: s.Version(), Claimed: true}
	return entry, entries[s.ID] != entry
}

// tookOver notes whose objects became ours: they can be forgotten there.
func (r *run) tookOver(result apply.Result) {
	changed := map[object.ID]bool{}
	for _, c := range result.Changes {
		changed[c.ID] = true
	}
	for _, s := range result.Steps {
		if !changed[s.ID] || s.Live == nil {
			continue
		}
		for _, owner := range plan.OwnersOf(s.Live, r.req.Owner.LabelGroup) {
			if !owner.Same(r.req.Owner) {
				r.concerned = append(r.concerned, owner)
			}
		}
	}
}

// handOver marks on record what another owner is to take over: it is nobody's until that happens, and
// ours to delete if it does not. It says whether that changed anything.
func (r *run) handOver() bool {
	changed := false
	for _, s := range r.plan.Released() {
		if entry := r.entries[s.ID]; !entry.Retained {
			entry.Retained = true
			r.entries[s.ID], changed = entry, true
			r.concerned = append(r.concerned, s.Other)
		}
	}
	return changed
}

// releaseForOthers looks once more, right before anything is deleted, who else has it, and keeps it if
// somebody does. It says what has to be waited for: resources made from the same source that have not
// decided yet whether they take it.
func (r *run) releaseForOthers(ctx context.Context) ([]string, error) {
	r.handOver()
	going := r.plan.Deletions()
	if len(going) == 0 || r.facts.Unseen != "" { // what is not known was approved as such
		return nil, nil
	}
	all, err := r.engine.sets(ctx, r.req.Owner)
	if err != nil {
		return nil, fmt.Errorf("finding out who else has what left the set: %w", err)
	}
	ids := make([]object.ID, 0, len(going))
	for _, s := range going {
		ids = append(ids, s.ID)
	}
	r.facts.Claimants = all.claimants(ids)
	for id := range r.facts.Claimants {
		s := r.staleStep(id)
		*s = plan.DecideStale(r.facts, s.Entry, r.req.Policy)
	}
	r.handOver()
	if len(r.plan.Deletions()) == 0 {
		return nil, nil
	}
	var waits []string
	for _, owner := range all.undecided(r) {
		waits = append(waits, fmt.Sprintf("waiting until %s has decided about %s before %d object(s) are deleted", owner, r.req.Revision, len(going)))
	}
	return waits, nil
}
