// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/cluster"
)

// getFlags is the flags that the get commands have in common.
type getFlags struct {
	output
	all        bool
	noHeader   bool
	watch      bool
	status     string
	labels     string
	showSource bool
}

// AddFlags adds the flags to a command.
func (f *getFlags) AddFlags(cmd *cobra.Command) {
	f.output.AddFlags(cmd, formatTable, formatJSON, formatYAML, formatName)
	fs := cmd.Flags()
	fs.BoolVarP(&f.all, "all-namespaces", "A", false, "of all namespaces")
	fs.BoolVar(&f.noHeader, "no-header", false, "leave the table's header out")
	fs.BoolVarP(&f.watch, "watch", "w", false, "after the list, show each change until interrupted")
	fs.StringVar(&f.status, "status-selector", "", "only those with a condition, as TYPE=STATUS or TYPE!=STATUS, such as ready=false")
	fs.StringVarP(&f.labels, "label-selector", "l", "", "only those with these labels, such as app=web,tier!=cache")
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		switch name { // kubectl's names for the same
		case "selector":
			name = "label-selector"
		case "no-headers":
			name = "no-header"
		}
		return pflag.NormalizedName(name)
	})
}

func newGetCmd(a *app) *cobra.Command {
	sources := verb("sources", "List sources and their status",
		newGetKindCmd(a, ociRepositories(), "oci [NAME...]"), newGetAllCmd(a, "sources all", "List sources of all kinds", ociRepositories()))
	sources.Aliases = []string{"source"}
	return verb("get", "List resources and their status", sources,
		newGetKindCmd(a, kustomizations(), "kustomizations [NAME...]"),
		newGetInventoriesCmd(a),
		newGetAllCmd(a, "all", "List sources and Kustomizations", ociRepositories(), kustomizations()))
}

func newGetKindCmd(a *app, k kind, use string) *cobra.Command {
	var f getFlags
	word, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use:     use,
		Aliases: without(k.aliases, word),
		Short:   fmt.Sprintf("List %s resources and their status", k.title),
		Example: fmt.Sprintf("  # Of all namespaces\n  kustomizer get %[1]s -A\n\n"+
			"  # Those that are not ready, by name\n  kustomizer get %[1]s -A --status-selector ready=false -o name\n\n"+
			"  # One, with all that is known of it\n  kustomizer get %[1]s demo-app -o yaml",
			strings.Replace(strings.Replace(k.noun, "source ", "sources ", 1), "kustomization", "kustomizations", 1)),
		Args:              positional("[NAME...]"),
		ValidArgsFunction: a.completeNames(k, 0),
	}
	f.AddFlags(cmd)
	if k.Kind == kustomizations().Kind {
		cmd.Flags().BoolVar(&f.showSource, "show-source", false, "show the source of each")
	}
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		names := make([]string, len(args))
		for i, arg := range args {
			names[i] = k.named(arg)
		}
		return a.get(ctx, f, []kind{k}, names)
	})
	return cmd
}

// newGetAllCmd lists several kinds. The noun is the command's, whole.
func newGetAllCmd(a *app, noun, short string, kinds ...kind) *cobra.Command {
	var f getFlags
	cmd := &cobra.Command{Use: noun[strings.LastIndex(noun, " ")+1:], Short: short, Args: positional(),
		Example: "  # Of all namespaces\n  kustomizer get " + noun + " -A\n\n" +
			"  # Those that are not ready\n  kustomizer get " + noun + " --status-selector ready=false\n\n" +
			"  # For a script\n  kustomizer get " + noun + " -o json"}
	f.AddFlags(cmd)
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, _ []string) error {
		return a.get(ctx, f, kinds, nil)
	})
	return cmd
}

func without(words []string, word string) []string {
	var out []string
	for _, w := range words {
		if w != word {
			out = append(out, w)
		}
	}
	return out
}

// get lists resources of some kinds, all or those with the given names, and follows them if asked.
func (a *app) get(ctx context.Context, f getFlags, kinds []kind, names []string) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.watch && (len(kinds) > 1 || f.format == formatYAML) {
		return badUsage("", "--watch is for one kind at a time, as a table, JSON or names")
	}
	keep, err := statusFilter(f.status)
	if err != nil {
		return err
	}
	sel := cluster.Selection{LabelSelector: f.labels}
	if !f.all {
		if sel.Namespace, err = a.deliveryNamespace(); err != nil {
			return err
		}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	listing := listing{app: a, cluster: c, flags: f, selection: sel, names: names, keep: keep, prefixed: len(kinds) > 1}
	found, from, err := listing.read(ctx, kinds)
	if err != nil {
		return err
	}
	if err := listing.show(kinds, found); err != nil || !f.watch {
		return err
	}
	return listing.follow(ctx, kinds[0], from)
}

// statusFilter reads TYPE=STATUS or TYPE!=STATUS.
func statusFilter(selector string) (func(resource) bool, error) {
	if selector == "" {
		return func(resource) bool { return true }, nil
	}
	condition, status, found := strings.Cut(selector, "=")
	condition, negated := strings.CutSuffix(condition, "!")
	if !found || condition == "" || status == "" {
		return nil, badUsage("for example --status-selector ready=false", "--status-selector %q is not TYPE=STATUS or TYPE!=STATUS", selector)
	}
	return func(r resource) bool {
		for _, c := range r.conditions {
			if strings.EqualFold(c.Type, condition) {
				return strings.EqualFold(string(c.Status), status) != negated
			}
		}
		return negated || strings.EqualFold(condition, "ready") && strings.EqualFold(status, "false")
	}, nil
}

// row returns a resource's cells.
func (l listing) row(k kind, r resource) []string {
	ready := r.ready()
	name := r.id.Name
	if l.prefixed {
		name = strings.ToLower(k.Kind) + "/" + name
	}
	row := []string{name}
	if l.flags.all {
		row = []string{r.id.Namespace, name}
	}
	if l.flags.showSource {
		row = append(row, r.source)
	}
	suspended := "False"
	if r.suspended {
		suspended = "True"
	}
	return append(row, shorten(r.revision), suspended, string(ready.Status), shorten(ready.Message))
}

func (l listing) header() []string {
	if l.flags.noHeader {
		return nil
	}
	var header []string
	if l.flags.all {
		header = append(header, "NAMESPACE")
	}
	header = append(header, "NAME")
	if l.flags.showSource {
		header = append(header, "SOURCE")
	}
	return append(header, "REVISION", "SUSPENDED", "READY", "MESSAGE")
}

// shorten cuts the hexadecimal digests in a text to eight digits, as Flux does in tables.
func shorten(text string) string {
	return regexp.MustCompile(`\b[0-9a-f]{40,128}\b`).ReplaceAllStringFunc(text, func(hex string) string { return hex[:8] })
}
