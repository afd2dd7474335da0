// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
)

func newBuildCmd(a *app) *cobra.Command {
	return verb("build", "Print the objects of inventories", newBuildInventoryCmd(a))
}

func newApplyCmd(a *app) *cobra.Command {
	return verb("apply", "Apply inventories", newApplyInventoryCmd(a))
}

func newDiffCmd(a *app) *cobra.Command {
	return verb("diff", "Show what would change, or differs", newDiffArtifactCmd(a), newDiffInventoryCmd(a))
}

func newInspectCmd(a *app) *cobra.Command {
	return verb("inspect", "Show what is in artifacts and inventories", newInspectArtifactCmd(a), newInspectInventoryCmd(a))
}

// inventoryResult is what is printed of an inventory with -o.
type inventoryResult struct {
	Name        string          `json:"name"`
	Namespace   string          `json:"namespace"`
	Source      string          `json:"source,omitempty"`
	Revision    string          `json:"revision,omitempty"`
	LastApplied string          `json:"lastAppliedAt,omitempty"`
	Artifacts   []string        `json:"artifacts"`
	Entries     []inventoryLine `json:"entries"`
	Problem     string          `json:"problem,omitempty"` // what is wrong with its record
	RunningNow  string          `json:"heldBy,omitempty"`  // the run that is at work on it, or was when it ended
}

// inventoryLine is an entry of an inventory.
type inventoryLine struct {
	Group     string `json:"group"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	State     string `json:"state"`

	id object.ID
}

// The states of an entry.
const (
	stateApplied  = "applied"
	statePending  = "pending"  // an apply was begun; whether it was made is not known
	stateRetained = "retained" // in the set no longer, and kept in the cluster
	stateShared   = "shared"   // in the set, and kept by another owner that has the same
)

func inventoryResultOf(s record.Stored) inventoryResult {
	out := inventoryResult{
		Name: s.Owner.Name, Namespace: s.Owner.Namespace, Source: s.Source, Revision: s.Revision,
		Artifacts: []string{}, Entries: []inventoryLine{},
	}
	for _, a := range s.Artifacts {
		out.Artifacts = append(out.Artifacts, "oci://"+a)
	}
	if !s.LastApplied.IsZero() {
		out.LastApplied = s.LastApplied.UTC().Format(time.RFC3339)
	}
	if s.Record != nil {
		out.Problem, out.RunningNow = s.Record.Degraded(), s.Record.Holder().Name
	}
	entries := slices.Clone(s.Entries)
	slices.SortFunc(entries, func(a, b plan.Entry) int { return object.CompareApplyOrder(a.ID, b.ID) })
	for _, e := range entries {
		out.Entries = append(out.Entries, inventoryLine{
			Group: e.ID.Group, Version: e.Version, Kind: e.ID.Kind, Namespace: e.ID.Namespace, Name: e.ID.Name,
			UID: e.UID, State: stateOf(e, s.Record != nil), id: e.ID,
		})
	}
	return out
}

// stateOf says how it stands with an entry. What Kustomizer wrote down it has applied.
func stateOf(e plan.Entry, recorded bool) string {
	switch {
	case e.Claimed:
		return stateShared
	case e.Retained:
		return stateRetained
	case e.Pending && recorded:
		return statePending
	default:
		return stateApplied
	}
}

// completeInventories completes the name of an inventory. It is silent about errors: there is nobody
// to read them.
func (a *app) completeInventories(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	namespace, err := a.inventoryNamespace()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	like, err := a.inventoryOwner("any")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := record.ListInventories(ctx, c, namespace, like)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Owner.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
