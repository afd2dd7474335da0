// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/record"
)

// getInventories is the flags of "get inventories".
type getInventories struct {
	output
	all      bool
	noHeader bool
}

func newGetInventoriesCmd(a *app) *cobra.Command {
	var f getInventories
	cmd := &cobra.Command{
		Use:     "inventories",
		Aliases: []string{"inventory", "inv"},
		Short:   "List the inventories of a namespace, those that Kustomizer made among them",
		Example: "  # Those of the current namespace\n  kustomizer get inventories\n\n" +
			"  # Of all namespaces\n" +
			"  kustomizer get inventories -A\n\n" +
			"  # For a script\n" +
			"  kustomizer get inventories -n apps -o json",
		Args: positional(),
	}
	f.output.AddFlags(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "of all namespaces")
	cmd.Flags().BoolVar(&f.noHeader, "no-header", false, "leave the table's header out")
	cmd.RunE = a.run(ownTimeout, func(ctx context.Context, _ []string) error {
		if err := f.check(); err != nil {
			return err
		}
		namespace, err := a.inventoryNamespace()
		if err != nil {
			return err
		}
		like, err := a.inventoryOwner("any")
		if err != nil {
			return err
		}
		if f.all {
			namespace = ""
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		found, err := record.ListInventories(ctx, c, namespace, like)
		if err != nil {
			return err
		}
		return a.showInventories(f, found)
	})
	return cmd
}

func (a *app) showInventories(f getInventories, found []record.Stored) error {
	results := make([]inventoryResult, len(found))
	for i, s := range found {
		results[i] = inventoryResultOf(s)
	}
	switch {
	case f.structured():
		return a.print(f.output, results)
	case f.format == formatName:
		for _, r := range results {
			a.ui.Result("inventory/%s", r.Name)
		}
		return nil
	case len(results) == 0:
		a.ui.Note("no inventories found")
		return nil
	}
	header := []string{"NAME", "ENTRIES", "SOURCE", "REVISION", "LAST APPLIED"}
	var rows [][]string
	for _, r := range results {
		rows = append(rows, []string{r.Name, strconv.Itoa(len(r.Entries)), r.Source, r.Revision, r.LastApplied})
	}
	if f.all {
		header = append([]string{"NAME", "NAMESPACE"}, header[1:]...)
		for i, r := range results {
			rows[i] = append([]string{r.Name, r.Namespace}, rows[i][1:]...)
		}
	}
	if f.noHeader {
		header = nil
	}
	a.table(header, rows)
	for _, r := range results {
		if r.Problem != "" {
			a.ui.Warn("inventory %s in namespace %s: %s", r.Name, r.Namespace, r.Problem)
		}
	}
	return nil
}
