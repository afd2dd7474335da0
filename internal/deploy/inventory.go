// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/secrets"
)

// InventoryRequest says what an inventory of the command line should hold.
type InventoryRequest struct {
	Owner     plan.Owner
	Collected Collected
	Source    string // where it comes from, as it was given
	Revision  string
	Policy    plan.Policy
	Wait      bool
	// CreateNamespace: the inventory's namespace is made where it is not there.
	CreateNamespace bool
	Lock            LockTimes
	// Approve, which may be nil, is shown each plan before anything is written.
	Approve func(ctx context.Context, p *plan.Plan) error
}

// InventoryProgress is told how a run on an inventory goes on. Its functions may be nil.
type InventoryProgress struct {
	Changed func(apply.Change)   // something was done, one at a time
	Waiting func(observe.Report) // the verdict on what is waited for changed
	Locked  func(record.Holder)  // another run may be at work: a sign of life is waited for
}

// EmptySetError says that a set has no objects, and nothing says that this is meant.
type EmptySetError struct{}

// Error implements error.
func (*EmptySetError) Error() string { return "there are no objects in what was given" }

// request makes the engine's request. The agent's namespace is never deleted.
func (r InventoryRequest) request(agent string) Request {
	policy := r.Policy
	// The namespace that the inventory lies in would take the inventory with it.
	policy.Protected = append([]string{r.Owner.Namespace, agent}, policy.Protected...)
	req := Request{
		Owner: r.Owner, RecordNamespace: r.Owner.Namespace, Objects: r.Collected.Objects,
		Digest: r.Collected.Digest, Revision: r.Revision, Policy: policy, Wait: r.Wait,
	}
	if len(req.Objects) == 0 {
		req.Empty = "no objects in what was given"
	}
	return req
}

// projection is the inventory in Kustomizer's format.
func (r InventoryRequest) projection() record.Projection {
	p := record.Projection{Owner: r.Owner, Source: r.Source, Revision: r.Revision, LastApplied: time.Now()}
	for _, pinned := range r.Collected.Artifacts {
		p.Artifacts = append(p.Artifacts, pinned.String())
	}
	return p
}

// PlanInventory decides what an apply would do. It writes nothing.
func (e *Engine) PlanInventory(ctx context.Context, r InventoryRequest) (*plan.Plan, error) {
	if len(r.Collected.Objects) == 0 && !r.Policy.Prune {
		return nil, &EmptySetError{}
	}
	req := r.request(e.AgentNamespace)
	var err error
	if req.Imported, err = e.imported(ctx, r.Owner); err != nil {
		return nil, err
	}
	p, err := e.Plan(ctx, req)
	if err == nil {
		e.preview(ctx, p, req.Policy.Overrides)
	}
	return p, err
}

// previewManager is the field manager of previews. Nothing is ever stored under it.
const previewManager = "kustomizer-preview"

// preview asks what becomes of objects from which others' fields will be taken over: the answer to
// the apply's dry-run still has those fields, and what they would be without them, the server alone
// knows. Where it does not tell, the fields are shown as gone.
func (e *Engine) preview(ctx context.Context, p *plan.Plan, overrides []string) {
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Action != plan.Configure || !s.CleanUp || s.Result == nil {
			continue
		}
		wanted := s.Predicted(p.Owner, overrides)
		wanted.SetManagedFields(nil)
		wanted.SetResourceVersion(s.Live.GetResourceVersion())
		if result, err := e.Cluster.Preview(ctx, wanted, previewManager); err == nil {
			result.SetManagedFields(s.Result.GetManagedFields())
			s.Result, s.CleanUp = result, false
		}
	}
}

// imported reads what Kustomizer says it applied.
func (e *Engine) imported(ctx context.Context, owner plan.Owner) ([]plan.Entry, error) {
	projection, _, err := record.LoadProjection(ctx, e.Cluster, owner)
	return projection.Entries, err
}

// ApplyInventory makes an inventory true: it decides, has the plan approved, takes the run lock,
// records, applies, waits if asked, and prunes. Beside the record it keeps the inventory in
// Kustomizer's format.
func (e *Engine) ApplyInventory(ctx context.Context, r InventoryRequest, progress InventoryProgress) Outcome {
	if len(r.Collected.Objects) == 0 && !r.Policy.Prune {
		return Outcome{State: Failed, Err: &EmptySetError{}}
	}
	if err := secrets.RefuseEncrypted(r.Collected.Objects); err != nil {
		return Outcome{State: Failed, Err: err}
	}
	if r.CreateNamespace {
		if err := e.createNamespace(ctx, r.Owner); err != nil {
			return Outcome{State: Failed, Err: err}
		}
	}
	req := r.request(e.AgentNamespace)
	var err error
	if req.Imported, err = e.imported(ctx, r.Owner); err != nil {
		return Outcome{State: Failed, Err: err}
	}
	lock, held := newRunLock(ctx, r.Lock, progress.Locked)
	defer lock.release(ctx, e.Cluster)
	req.lock = lock
	// With its labels: fields that nobody owns would count as somebody else's at the next apply.
	home := &home{engine: e, req: req}
	home.req.Objects = marked(r.Owner, r.Collected.Objects)
	req.Approve = func(ctx context.Context, p *plan.Plan) error {
		if r.Approve != nil {
			if err := r.Approve(ctx, p); err != nil {
				return err
			}
		}
		return home.make(ctx)
	}
	req.Changed = home.reported(progress.Changed)
	projection := r.projection()
	var listed map[object.ID]plan.Entry
	req.Recorded = func(ctx context.Context, entries map[object.ID]plan.Entry) error {
		err := projection.Write(ctx, e.Cluster, entries)
		if err == nil {
			listed = entries
		}
		return err
	}
	out := e.followRun(held, req, progress.Waiting)
	out.Changes = home.corrected(out.Changes)
	return e.settled(ctx, held, out, projection, listed)
}

// settled keeps the time of the last apply, and what is told of the set, up to date where that was not
// listed with the last change; and it says what ended a run whose lock was lost.
func (e *Engine) settled(ctx, held context.Context, out Outcome, projection record.Projection, listed map[object.ID]plan.Entry) Outcome {
	if out.Err != nil {
		if cause := context.Cause(held); ctx.Err() == nil && cause != nil && !errors.Is(out.Err, cause) {
			out.Err = errors.Join(out.Err, cause)
		}
		return out
	}
	if listed != nil && maps.Equal(listed, out.Entries) {
		return out
	}
	if err := projection.Write(ctx, e.Cluster, out.Entries); err != nil {
		out.State, out.Err = Failed, err
	}
	return out
}

// followRun runs a request again whenever what it waited for has come, and gathers what was done. It
// waits only where the request does, or where more is to be deleted.
func (e *Engine) followRun(ctx context.Context, req Request, waiting func(observe.Report)) Outcome {
	var changes []apply.Change
	for {
		out := e.Run(ctx, req)
		changes = append(changes, out.Changes...)
		out.Changes = changes
		if out.State != Waiting || !req.Wait && !out.More {
			return out // what is still being deleted stays on record
		}
		seen, err := observe.Until(ctx, e.Cluster, out.Wait, waiting)
		if ended(ctx, &out, seen, err) {
			return out
		}
	}
}

// ended says whether a wait ended in a failure, and puts it into the outcome.
func ended(ctx context.Context, out *Outcome, seen observe.Report, err error) bool {
	if len(seen.Pending) == 0 {
		seen.Pending = out.Leaving.Pending
	}
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && len(out.Leaving.Pending) > 0:
		out.State, out.Err = Failed, &StillThereError{Report: seen}
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		out.State, out.Err = Failed, &NotHealthyError{Report: seen, Timeout: true}
	case err != nil:
		out.State, out.Err = Failed, err
	case len(seen.Failed) > 0:
		out.State, out.Err = Sick, &NotHealthyError{Report: seen}
	default:
		return false
	}
	return true
}

// createNamespace makes the inventory's namespace, where it is not there.
func (e *Engine) createNamespace(ctx context.Context, owner plan.Owner) error {
	id := object.ID{Kind: "Namespace", Name: owner.Namespace}
	_, err := e.Cluster.Get(ctx, id, "v1")
	if err == nil || !apierrors.IsNotFound(err) {
		return wrapped(err, "reading %s", id)
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": id.Kind, "metadata": map[string]any{"name": id.Name},
	}}
	_, err = e.Cluster.Apply(ctx, u, cluster.ApplyOptions{Manager: owner.Manager})
	return wrapped(err, "creating %s", id)
}

func wrapped(err error, doing string, id object.ID) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(doing+": %w", id, err)
}

// home is the namespace in which a set's record lies, where the set itself makes it. It has to be
// there before the record, so it is made first, and told of as if the run had made it.
type home struct {
	engine *Engine
	req    Request
	made   bool
}

func (h *home) make(ctx context.Context) error {
	if h.made {
		return nil
	}
	made, err := h.engine.makeHome(ctx, h.req)
	h.made = made
	return err
}

func (h *home) correct(c apply.Change) apply.Change {
	if h.made && c.ID == (object.ID{Kind: "Namespace", Name: h.req.RecordNamespace}) && c.Action == plan.Configure {
		c.Action, c.Correct = plan.Create, false
	}
	return c
}

func (h *home) reported(changed func(apply.Change)) func(apply.Change) {
	if changed == nil {
		return nil
	}
	return func(c apply.Change) { changed(h.correct(c)) }
}

func (h *home) corrected(changes []apply.Change) []apply.Change {
	for i := range changes {
		changes[i] = h.correct(changes[i])
	}
	return changes
}

// BuildInventory marks objects as an inventory's, as an apply would send them. What an apply refuses
// without asking the cluster is refused.
func BuildInventory(owner plan.Owner, collected Collected) ([]*unstructured.Unstructured, error) {
	if len(collected.Objects) == 0 {
		return nil, &EmptySetError{}
	}
	if err := secrets.RefuseEncrypted(collected.Objects); err != nil {
		return nil, err
	}
	return marked(owner, collected.Objects), nil
}

func marked(owner plan.Owner, objs []*unstructured.Unstructured) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, 0, len(objs))
	for _, u := range objs {
		marked := u.DeepCopy()
		labels := marked.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		for k, v := range owner.Labels() {
			labels[k] = v
		}
		marked.SetLabels(labels)
		out = append(out, marked)
	}
	return out
}

// PinnedURLs returns the addresses of artifacts, by digest.
func PinnedURLs(pinned []artifact.Pinned) []string {
	out := []string{}
	for _, p := range pinned {
		out = append(out, p.URL())
	}
	return out
}
