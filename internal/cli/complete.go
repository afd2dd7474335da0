// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kustomizer/kustomizer/internal/cluster"
)

// completionTimeout bounds what pressing the tab key may take.
const completionTimeout = 1500 * time.Millisecond

// completion is what cobra asks for the words that can stand at a place.
type completion func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// completeNames completes the names of the resources of a kind, up to a number of them (0 for any).
// It is silent about errors: there is nobody to read them.
func (a *app) completeNames(k kind, most int) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		names, err := a.names(ctx, k)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(names, func(n string) bool { return slices.Contains(args, n) }), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) names(ctx context.Context, k kind) ([]string, error) {
	ns, err := a.deliveryNamespace()
	if err != nil {
		return nil, err
	}
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	all, _, err := list(ctx, c, k, cluster.Selection{Namespace: ns})
	if err != nil {
		return nil, err
	}
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = r.id.Name
	}
	return names, nil
}
