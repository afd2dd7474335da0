// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/apply"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/observe"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// Installation is what install applies to one cluster, and what it leaves as it is there.
type Installation struct {
	Objects []*unstructured.Unstructured // in the order of [object.Sort]
	Kept    []Kept                       // definitions that stay as they are
}

// Kept is an object that is left as it is, and why.
type Kept struct {
	ID     object.ID
	Reason string
}

// ForeignAgentError says that the agent's Deployment is there and that something else manages it.
type ForeignAgentError struct {
	ID      object.ID
	Manager string
}

// Error implements error.
func (e *ForeignAgentError) Error() string {
	return fmt.Sprintf("%s is managed by %s", e.ID, e.Manager)
}

// PrepareInstall decides what install applies to a cluster. It refuses with an [OtherEngineError]
// where Flux's controllers run, with a [ForeignAgentError] where another tool installed the agent
// (unless force is set), and with a [DefinitionError] where a definition that it may not change
// does not suffice. It only reads.
func PrepareInstall(ctx context.Context, c *cluster.Cluster, opts InstallOptions, force bool) (Installation, error) {
	objs, err := Manifests(opts)
	if err != nil {
		return Installation{}, err
	}
	opts = opts.withDefaults()
	engines, err := runningEngines(ctx, c, opts.Namespace)
	if err != nil {
		return Installation{}, err
	}
	if len(engines) > 0 {
		return Installation{}, &OtherEngineError{Deployments: engines}
	}
	in := Installation{}
	for _, u := range objs {
		kept, err := judgeInstalled(ctx, c, u, plan.Inventory(opts.Namespace, AgentName))
		var foreign *ForeignAgentError
		if errors.As(err, &foreign) && force {
			err = nil
		}
		if err != nil {
			return Installation{}, err
		}
		if kept != "" {
			in.Kept = append(in.Kept, Kept{ID: object.Of(u), Reason: kept})
			continue
		}
		in.Objects = append(in.Objects, u)
	}
	return in, nil
}

// Request asks for an installation, with an inventory of its own in the agent's namespace.
func (in Installation) Request(namespace, approved string) Request {
	return Request{
		Owner:           plan.Inventory(namespace, AgentName),
		RecordNamespace: namespace,
		Objects:         in.Objects,
		Policy:          plan.Policy{Prune: true, Approved: approved, Protected: []string{namespace}},
		Wait:            true,
	}
}

// Progress is told how a run goes on. Both functions may be nil.
type Progress struct {
	Changed func(apply.Change)   // something was done
	Waiting func(observe.Report) // the verdict on what is waited for changed
}

// Install makes an installation true and waits until the agent runs. The namespace comes first,
// because the record of everything else lies in it.
func (e *Engine) Install(ctx context.Context, req Request, progress Progress) Outcome {
	made, err := e.makeHome(ctx, req)
	if err != nil {
		return Outcome{State: Failed, Err: err}
	}
	report := progress.Changed
	progress.Changed = func(c apply.Change) {
		if made && c.ID.Kind == "Namespace" {
			c.Action = plan.Create
		}
		if report != nil {
			report(c)
		}
	}
	return e.runToEnd(ctx, req, progress)
}

// makeHome creates the namespace of a request's record if it is not there.
func (e *Engine) makeHome(ctx context.Context, req Request) (bool, error) {
	for _, u := range req.Objects {
		if u.GetKind() != "Namespace" || u.GetName() != req.RecordNamespace {
			continue
		}
		id := object.Of(u)
		_, err := e.Cluster.Get(ctx, id, "v1")
		if err == nil {
			return false, nil
		}
		if !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("reading %s: %w", id, err)
		}
		if _, err = e.Cluster.Apply(ctx, u, cluster.ApplyOptions{Manager: req.Owner.Manager}); err != nil {
			return false, fmt.Errorf("creating %s: %w", id, err)
		}
		return true, nil
	}
	return false, nil
}

// runToEnd runs a request again whenever what it waited for has come.
func (e *Engine) runToEnd(ctx context.Context, req Request, progress Progress) Outcome {
	for {
		out := e.Run(ctx, req)
		for _, c := range out.Changes {
			progress.Changed(c)
		}
		if out.State != Waiting {
			return out
		}
		seen, err := observe.Until(ctx, e.Cluster, out.Wait, progress.Waiting)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			out.State, out.Err = Failed, &NotHealthyError{Report: seen, Timeout: true}
			return out
		case err != nil:
			out.State, out.Err = Failed, err
			return out
		case len(seen.Failed) > 0:
			out.State, out.Err = Sick, &NotHealthyError{Report: seen}
			return out
		}
	}
}

// judgeInstalled says why an object that install would apply stays as it is in the cluster.
func judgeInstalled(ctx context.Context, c *cluster.Cluster, ours *unstructured.Unstructured, self plan.Owner) (string, error) {
	id := object.Of(ours)
	if id.Kind != "CustomResourceDefinition" && id.Kind != "Deployment" {
		return "", nil
	}
	live, err := c.Get(ctx, id, ours.GroupVersionKind().Version)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", id, err)
	}
	if id.Kind == "CustomResourceDefinition" {
		return keepDefinition(ours, live, self)
	}
	if manager := foreignManager(live, self); manager != "" {
		return "", &ForeignAgentError{ID: id, Manager: manager}
	}
	return "", nil
}

// foreignManager names the tool or the installation, other than this one, that an object belongs to.
func foreignManager(live *unstructured.Unstructured, self plan.Owner) string {
	owner, marked := plan.OwnerOf(live)
	switch {
	case marked && owner != self:
		return owner.String()
	case live.GetAnnotations()["meta.helm.sh/release-name"] != "":
		return "the Helm release " + live.GetAnnotations()["meta.helm.sh/release-name"]
	case live.GetAnnotations()["argocd.argoproj.io/tracking-id"] != "":
		return "Argo CD"
	}
	return ""
}

// runningEngines finds, in all namespaces, what does the work of the agent in the given one.
func runningEngines(ctx context.Context, c *cluster.Cluster, namespace string) ([]object.ID, error) {
	deployments, err := list(ctx, c, schema.GroupKind{Group: "apps", Kind: "Deployment"}, cluster.Selection{})
	if err != nil {
		return nil, fmt.Errorf("looking for other engines: %w", err)
	}
	return otherEngines(deployments, namespace), nil
}

// list reads the objects of a kind; of a kind that the cluster doesn't serve there are none.
func list(ctx context.Context, c *cluster.Cluster, gk schema.GroupKind, sel cluster.Selection) ([]*unstructured.Unstructured, error) {
	res, err := c.Resolve(ctx, gk, "")
	var missing *cluster.KindError
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found, _, err := c.List(ctx, res, sel)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", strings.ToLower(res.Resource), err)
	}
	return found, nil
}
