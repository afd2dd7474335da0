// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

// Labels and annotations of records and of lists of leftovers, by which those of an installation
// are found without knowing each owner.
const (
	recordLabel    = "kustomizer.dev/record"
	leftoversLabel = "kustomizer.dev/leftovers"
	recordOwner    = "kustomizer.dev/record-owner"
)

// Uninstallation is what uninstall takes out of a cluster. What the agent deployed is no part of
// it.
type Uninstallation struct {
	Namespace string
	// Agent is the agent and its rights, in the order of their deletion. The rights go before
	// anything else, so that nothing that still runs with them can delete a workload.
	Agent []*unstructured.Unstructured
	// Resources are Flux's resources that would wait for ever for the agent to let them go.
	Resources   []*unstructured.Unstructured
	Definitions []*unstructured.Unstructured // their resources go with them
	Records     []*unstructured.Unstructured
	Home        *unstructured.Unstructured // the namespace, or nil where it stays
	Kept        []Kept

	// engines are others, whose resources and definitions are not touched.
	engines []object.ID
}

// self is the owner of the installation's objects.
func (u *Uninstallation) self() plan.Owner { return plan.Inventory(u.Namespace, AgentName) }

// Empty says whether there is nothing to take out.
func (u *Uninstallation) Empty() bool {
	return len(u.Agent)+len(u.Definitions)+len(u.Records) == 0 && u.Home == nil
}

// fluxKinds are the kinds whose resources the agent holds by a finalizer.
func fluxKinds() []schema.GroupKind {
	return []schema.GroupKind{
		{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"},
		{Group: "source.toolkit.fluxcd.io", Kind: "OCIRepository"},
	}
}

// PrepareUninstall finds what an installation in the given namespace consists of. It only reads.
func PrepareUninstall(ctx context.Context, c *cluster.Cluster, namespace string, keepNamespace bool) (*Uninstallation, error) {
	engines, err := runningEngines(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	u := &Uninstallation{Namespace: namespace, engines: engines}
	steps := []func(context.Context, *cluster.Cluster) error{u.findAgent, u.findResources, u.findRecords}
	if !keepNamespace {
		steps = append(steps, u.findHome)
	}
	for _, step := range steps {
		if err := step(ctx, c); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// findAgent reads what install applies and what it once applied, as far as it is there and ours.
func (u *Uninstallation) findAgent(ctx context.Context, c *cluster.Cluster) error {
	candidates, proven, err := u.candidates(ctx, c)
	if err != nil {
		return err
	}
	for _, id := range candidates {
		live, err := c.Get(ctx, id, "")
		var missing *cluster.KindError
		if apierrors.IsNotFound(err) || errors.As(err, &missing) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", id, err)
		}
		u.sort(live, proven[id] != "" && proven[id] == string(live.GetUID()))
	}
	slices.SortStableFunc(u.Agent, func(a, b *unstructured.Unstructured) int { return removalRank(a) - removalRank(b) })
	return nil
}

// sort puts an object where it belongs, or among what is kept.
func (u *Uninstallation) sort(live *unstructured.Unstructured, proven bool) {
	id := object.Of(live)
	reason := ""
	switch {
	case id.Namespace == "" && len(u.engines) > 0:
		reason = "it may be in use: " + (&OtherEngineError{Deployments: u.engines}).Error()
	case id.Kind == "CustomResourceDefinition":
		reason = definitionOwner(live, u.self())
	case !proven && live.GetLabels()[PartOfLabel] != AgentName:
		reason = "it was not installed by kustomizer"
	default:
		if manager := foreignManager(live, u.self()); manager != "" {
			reason = "it is managed by " + manager
		}
	}
	switch {
	case reason != "":
		u.Kept = append(u.Kept, Kept{ID: id, Reason: reason})
	case id.Kind == "CustomResourceDefinition":
		u.Definitions = append(u.Definitions, live)
	default:
		u.Agent = append(u.Agent, live)
	}
}

// candidates names what this version of install applies and what the installation's record holds,
// in the reverse order of an apply, with the UIDs that the record proves. The namespace is not
// among them.
func (u *Uninstallation) candidates(ctx context.Context, c *cluster.Cluster) ([]object.ID, map[object.ID]string, error) {
	objs, err := Manifests(InstallOptions{Namespace: u.Namespace, Image: AgentName})
	if err != nil {
		return nil, nil, err
	}
	rec, err := record.Load(ctx, c, u.self(), u.Namespace)
	if err != nil {
		return nil, nil, err
	}
	proven := map[object.ID]string{}
	ids := rec.IDs()
	for _, id := range ids {
		proven[id] = rec.Entries[id].UID
	}
	for _, u := range objs {
		ids = append(ids, object.Of(u))
	}
	ids = slices.DeleteFunc(ids, func(id object.ID) bool { return id.Group == "" && id.Kind == "Namespace" })
	object.SortIDs(ids)
	ids = slices.Compact(ids)
	slices.Reverse(ids)
	return ids, proven, nil
}

// removalRank puts the Deployment first and the agent's rights second.
func removalRank(u *unstructured.Unstructured) int {
	switch u.GetKind() {
	case "Deployment":
		return 0
	case "ClusterRoleBinding", "RoleBinding":
		return 1
	default:
		return 2
	}
}

// findResources lists Flux's resources. Where another engine runs they are that one's to hold.
func (u *Uninstallation) findResources(ctx context.Context, c *cluster.Cluster) error {
	if len(u.engines) > 0 {
		return nil
	}
	for _, gk := range fluxKinds() {
		found, err := list(ctx, c, gk, cluster.Selection{})
		if err != nil {
			return err
		}
		u.Resources = append(u.Resources, found...)
	}
	return nil
}

// findRecords lists the agent's records and the installation's own. Those of other inventories of
// the command line in the same namespace are not the installation's.
func (u *Uninstallation) findRecords(ctx context.Context, c *cluster.Cluster) error {
	found, err := list(ctx, c, schema.GroupKind{Kind: "ConfigMap"}, cluster.Selection{Namespace: u.Namespace})
	if err != nil {
		return err
	}
	own := u.self().String()
	for _, cm := range found {
		owner := cm.GetAnnotations()[recordOwner]
		labels := cm.GetLabels()
		recorded := (labels[recordLabel] != "" || labels[leftoversLabel] != "") && (owner == own || strings.HasPrefix(owner, plan.OwnerKustomization+"/"))
		if recorded || cm.GetName() == "inv-"+AgentName {
			u.Records = append(u.Records, cm)
		}
	}
	return nil
}

// findHome reads the namespace and decides whether it goes.
func (u *Uninstallation) findHome(ctx context.Context, c *cluster.Cluster) error {
	id := object.ID{Kind: "Namespace", Name: u.Namespace}
	live, err := c.Get(ctx, id, "v1")
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", id, err)
	}
	var reason string
	if manager := foreignManager(live, u.self()); manager != "" {
		reason = "it is managed by " + manager
	} else if live.GetLabels()[PartOfLabel] != AgentName || slices.Contains(systemNamespaces(), u.Namespace) {
		reason = "it was not made by kustomizer"
	} else if reason, err = u.foreignContent(ctx, c); err != nil {
		reason = err.Error()
	}
	if reason != "" {
		u.Kept = append(u.Kept, Kept{ID: id, Reason: reason})
		return nil
	}
	u.Home = live
	return nil
}

func systemNamespaces() []string {
	return []string{"default", "kube-system", "kube-public", "kube-node-lease"}
}

// foreignContent says what the namespace holds beside the installation, or nothing.
func (u *Uninstallation) foreignContent(ctx context.Context, c *cluster.Cluster) (string, error) {
	found, err := contents(ctx, c, u.Namespace)
	if err != nil {
		return "", err
	}
	ours := map[object.ID]bool{}
	for _, list := range [][]*unstructured.Unstructured{u.Agent, u.Records} {
		for _, o := range list {
			ours[object.Of(o)] = true
		}
	}
	if len(u.Definitions) == len(fluxKinds()) { // else the resources stay, with the namespace they are in
		for _, o := range u.Resources {
			ours[object.Of(o)] = true
		}
	}
	found = slices.DeleteFunc(found, func(id object.ID) bool { return ours[id] })
	if len(found) == 0 {
		return "", nil
	}
	names := make([]string, 0, maxNamed+1)
	for _, id := range found[:min(len(found), maxNamed)] {
		names = append(names, id.String())
	}
	if more := len(found) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return "it still holds " + strings.Join(names, ", "), nil
}

// maxNamed bounds how many objects a reason lists by name.
const maxNamed = 10
