// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newOptionsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "options",
		Short: "List the flags that all commands have, those that choose the cluster among them",
		Example: "  # The flags\n" +
			"  kustomizer options\n\n" +
			"  # Another cluster, as somebody else\n" +
			"  kustomizer get all --context=production --as=jane\n\n" +
			"  # A kubeconfig of its own, with less patience\n" +
			"  kustomizer get all --kubeconfig=./kubeconfig --timeout=10s",
		Args: positional(),
	}
	cmd.RunE = a.run(noTimeout, func(context.Context, []string) error {
		a.ui.Result("These flags can be given to every command:")
		a.ui.Result("")
		a.ui.Data([]byte(visible(cmd.Root().PersistentFlags()).FlagUsages()))
		return nil
	})
	return cmd
}

// visible returns a copy of flags in which none is hidden.
func visible(flags *pflag.FlagSet) *pflag.FlagSet {
	out := pflag.NewFlagSet("all", pflag.ContinueOnError)
	flags.VisitAll(func(f *pflag.Flag) {
		shown := *f
		shown.Hidden = false
		out.AddFlag(&shown)
	})
	return out
}
