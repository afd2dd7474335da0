// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/rehearse"
	"github.com/kustomizer/kustomizer/internal/secrets"
)

const (
	// definitionsTimeout bounds the wait for definitions to be served.
	definitionsTimeout = 60 * time.Second
	// replaceTimeout bounds the wait for a replaced object to be gone.
	replaceTimeout = 60 * time.Second
	// discoveryPace is how often discovery is asked for a kind that was just defined.
	discoveryPace = 100 * time.Millisecond
	// settleTimeout bounds the last write of a record, which is made even if the run was cancelled.
	settleTimeout = 10 * time.Second
	// settlePerEntry is added to it: a record of thousands lies in several ConfigMaps.
	settlePerEntry = 5 * time.Millisecond
)

// settleWithin returns how long the last write of a record of so many entries may take.
func settleWithin(entries int) time.Duration {
	return settleTimeout + time.Duration(entries)*settlePerEntry
}

// Request says what a set of objects should be like, whose it is, and what may be done for it.
type Request struct {
	Owner plan.Owner
	// RecordNamespace is where the owner's record lies; it must exist. For the records of other
	// owners see Engine.AgentNamespace.
	RecordNamespace string
	Objects         []*unstructured.Unstructured
	Empty           string // why there are no objects, where there are none
	Digest          string // of the artifact
	Revision        string
	Generation      int64 // of the resource that asked
	Policy          plan.Policy
	// Wait: the set is done only when all of it is healthy, and is pruned after that.
	Wait bool
	// Imported is the record to start from where there is none: what another engine says it
	// applied. Its entries have no proof but the owner labels and fields on the objects. For an inventory,
	// what is not on record is added to it.
	Imported []plan.Entry
	// Recorded is told what is on record each time that changes and before anything is written on
	// the strength of it.
	Recorded func(ctx context.Context, entries map[object.ID]plan.Entry) error
	// Approve, which may be nil, is shown the plan before anything is written. Its error ends the
	// run.
	Approve func(ctx context.Context, p *plan.Plan) error
	// Changed, which may be nil, is told of each change as it is made.
	Changed func(apply.Change)
	// Standing: the request is made again and again until it is withdrawn. What it can't have because
	// it belongs to another owner it claims, so that the other one leaves it when it lets it go.
	Standing bool
	// Peer, which may be nil, says of another Kustomization whether it is made from the same source,
	// and so may be about to take over what is let go here, and until when it is waited for.
	Peer func(ks *unstructured.Unstructured) (until time.Time, is bool)

	lock  *runLock // nil where nothing else keeps runs apart
	spare bool     // see [rehearse.Request]
}

// State says how far a run came.
type State string

// The states of an outcome.
const (
	Done    State = "Done"    // all is as wanted
	Waiting State = "Waiting" // applied; not healthy yet, or deleted objects are not gone yet: see Outcome.Wait
	Failed  State = "Failed"  // see Outcome.Err
	Sick    State = "Sick"    // applied, but something will not become healthy by itself
	Held    State = "Held"    // applied; the brake holds the deletions
)

// Outcome is what a run decided, did and left.
type Outcome struct {
	State   State
	Plan    *plan.Plan
	Changes []apply.Change
	Err     error
	// Wait is what remains to be waited for when State is Waiting.
	Wait   observe.Want
	Health observe.Report
	// Leaving says what holds the deleted objects that are waited for, and More that others, which come
	// after them, are not deleted yet.
	Leaving observe.Report
	More    bool
	// Entries is the record as the run left it.
	Entries map[object.ID]plan.Entry
	// Awaits says, one a line, what has to be decided elsewhere before this can go on, when State is
	// Waiting.
	Awaits []string
	// Concerned lists the owners that have something new to decide about: those to whom objects were
	// left that they can take over now, those that keep objects which are claimed here now, and those
	// whose objects were taken over.
	Concerned []plan.Owner
	// Notes say, one a line, what a person should know though nothing failed.
	Notes []string
}

// Engine runs requests against one cluster.
type Engine struct {
	Cluster *cluster.Cluster
	// AgentNamespace is where the records of Kustomizations lie.
	AgentNamespace string
	// Fleet, where there is one, counts deletions over all owners.
	Fleet *Fleet

	mu sync.Mutex
	id string // of the cluster, once known
}

// Plan decides what a request would do. It writes nothing.
func (e *Engine) Plan(ctx context.Context, req Request) (*plan.Plan, error) {
	ctx = cluster.Calling(ctx, req.Owner.String())
	r, err := e.decide(ctx, req)
	if err != nil {
		return nil, err
	}
	return r.plan, nil
}

// Run makes a request true as far as can be done without waiting for health: it decides, records,
// applies, and prunes what may be pruned. It may be called again at any time, and after a crash at
// any point: it continues where the cluster stands.
func (e *Engine) Run(ctx context.Context, req Request) Outcome {
	ctx = cluster.Calling(ctx, req.Owner.String())
	req.spare = true
	out, rehearsed := e.attempt(ctx, req)
	if !rehearsed {
		req.spare = false
		out, _ = e.attempt(ctx, req)
	}
	return out
}

// attempt runs a request. Where the second result is false, nothing was done, because the server
// refuses the one object whose rehearsal was spared.
func (e *Engine) attempt(ctx context.Context, req Request) (Outcome, bool) {
	r, err := e.decide(ctx, req)
	if err == nil && req.Approve == nil && r.takeOver(ctx) {
		r, err = e.decide(ctx, req)
	}
	if err != nil {
		return Outcome{State: Failed, Err: err}, true
	}
	if out, ended := r.begin(ctx); ended {
		return out, true
	}
	if applied := r.apply(ctx); applied != nil {
		if r.spareRefused(applied) {
			return Outcome{}, false
		}
		return r.outcome(Failed, errors.Join(applied, r.settle(ctx))), true
	}
	if out, done := r.health(ctx); done {
		return out, true
	}
	return r.prune(ctx), true
}

// begin does all that comes before the first write. It says whether the run ends here.
func (r *run) begin(ctx context.Context) (Outcome, bool) {
	if err := refusal(r.plan); err != nil {
		return r.turnedDown(ctx, err), true
	}
	if r.req.Approve != nil {
		if err := r.req.Approve(ctx, r.plan); err != nil {
			return r.outcome(Failed, err), true
		}
	}
	if err := r.recordUnion(ctx); err != nil {
		return r.outcome(Failed, err), true
	}
	return Outcome{}, false
}

// spareRefused says whether an apply failed because the server refuses the object whose rehearsal was
// spared. What it says to that is what it would have said to the rehearsal: it is asked once more, and
// decided from there, in the same words and with the same way out.
func (r *run) spareRefused(err error) bool {
	var failed *apply.Failure
	if !errors.As(err, &failed) || errors.Is(err, context.Canceled) {
		return false
	}
	code := failed.Cause.Code
	return code != cause.ServerUnavailable && code != cause.Throttled && code != cause.Unknown &&
		code != cause.Conflict && // it is another object, or in another state, than the one that was judged
		slices.ContainsFunc(r.plan.Steps, func(s plan.Step) bool { return s.Spared && s.ID == failed.ID })
}

// run is one request under way.
type run struct {
	engine   *Engine
	req      Request
	rehearse rehearse.Request
	record   *record.Record
	head     record.Head
	facts    *plan.Facts
	plan     *plan.Plan
	writer   *apply.Writer

	entries map[object.ID]plan.Entry // the record as it will be
	changes []apply.Change
	report  observe.Report
	notes   []string

	concerned []plan.Owner
}

// decide reads the record and the cluster and makes a plan.
func (e *Engine) decide(ctx context.Context, req Request) (*run, error) {
	if err := secrets.RefuseEncrypted(req.Objects); err != nil {
		return nil, err
	}
	r := &run{engine: e, req: req}
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	r.rehearse = rehearse.Request{
		Owner: req.Owner, Objects: req.Objects, Record: maps.Clone(r.entries), Policy: r.req.Policy,
		Origin: fmt.Sprintf("%s@%d", req.Digest, req.Generation), Empty: req.Empty, Spare: req.spare,
		Claims: e.claims, Claimants: e.claimantsFor(req.Owner),
		Nested: e.nested, RecordOf: record.OwnerOf,
	}
	facts, err := rehearse.Rehearse(ctx, e.Cluster, r.rehearse)
	if err != nil {
		return nil, err
	}
	r.facts = facts
	if err := r.judge(ctx); err != nil {
		return nil, err
	}
	r.writer = &apply.Writer{Cluster: e.Cluster, Owner: req.Owner, Overrides: req.Policy.Overrides, Gone: replaceTimeout, Done: req.Changed}
	return r, nil
}

// judge makes the plan. How many objects the revision deletes elsewhere matters only where it deletes any
// here.
func (r *run) judge(ctx context.Context) error {
	fleet := r.engine.Fleet
	if fleet == nil {
		r.plan = plan.Decide(r.facts, r.req.Policy)
		return nil
	}
	if len(plan.Leaving(r.facts, r.req.Policy)) > 0 {
		if err := fleet.load(ctx, r.engine.Cluster, r.engine.AgentNamespace); err != nil {
			return err
		}
	}
	r.plan = fleet.decide(r.facts, r.req.Policy, r.req.Digest, r.head.Pruned)
	return nil
}

// load reads the record. Whatever makes it doubtful that the record is this cluster's and whole
// turns pruning off for this run.
func (r *run) load(ctx context.Context) error {
	id, err := r.engine.clusterID(ctx)
	if err != nil {
		return err
	}
	if r.record, err = r.loadRecord(ctx); err != nil {
		return err
	}
	r.entries = map[object.ID]plan.Entry{}
	for id, entry := range r.record.Entries {
		r.entries[id] = entry
	}
	r.take(r.req.Imported)
	r.head = record.Head{Cluster: id, Digest: r.req.Digest, Revision: r.req.Revision, Generation: r.req.Generation}
	if r.record.Head.Digest == r.req.Digest {
		r.head.Pruned = r.record.Head.Pruned
	}
	if damage := r.record.Degraded(); damage != "" {
		r.noPrune("the record is damaged (" + damage + ")")
	}
	if before := r.record.Head.Cluster; before != "" && before != id {
		r.noPrune("the record was made in another cluster")
	}
	return nil
}

// take puts into the record what another tool says it applied. For a Kustomization that counts only where
// there is no record yet. Kustomizer's own inventory is written to by later runs of Kustomizer too: what
// they added has, as at the first run, to be confirmed by our labels and fields on the object before it
// can be deleted.
func (r *run) take(imported []plan.Entry) {
	if r.record.Exists && r.req.Owner.Kind != plan.OwnerInventory {
		return
	}
	for _, entry := range imported {
		if _, known := r.entries[entry.ID]; !known {
			r.entries[entry.ID] = entry
		}
	}
}

func (r *run) loadRecord(ctx context.Context) (*record.Record, error) {
	read := func(ctx context.Context) (*record.Record, error) {
		return record.Load(ctx, r.engine.Cluster, r.req.Owner, r.req.RecordNamespace)
	}
	if r.req.lock != nil {
		return r.req.lock.load(ctx, read)
	}
	return read(ctx)
}

// hold takes the run lock, where there is one, before the first write.
func (r *run) hold(ctx context.Context) error {
	if r.req.lock == nil {
		return nil
	}
	return r.req.lock.hold(ctx, r.engine.Cluster, r.entries)
}

func (r *run) noPrune(why string) {
	r.req.Policy.Prune = false
	r.notes = append(r.notes, "nothing is deleted: "+why)
}

// clusterID asks for the cluster's identity once.
func (e *Engine) clusterID(ctx context.Context) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.id == "" {
		id, err := e.Cluster.ID(ctx)
		if err != nil {
			return "", err
		}
		e.id = id
	}
	return e.id, nil
}

func (r *run) outcome(state State, err error) Outcome {
	return Outcome{
		State: state, Plan: r.plan, Changes: r.changes, Err: err,
		Health: r.report, Entries: r.entries, Notes: r.notes, Concerned: r.concerned,
	}
}
