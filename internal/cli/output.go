// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/report"
)

// The output formats. Which of them a command has, its constructor says.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
)

// output is the group of flags that choose a format.
type output struct {
	format  string
	allowed []string
}

// AddFlags adds -o to a command. The first of the allowed formats is the default; an empty first
// one stands for the command's own text.
func (o *output) AddFlags(cmd *cobra.Command, allowed ...string) {
	o.allowed = allowed
	named := slices.DeleteFunc(slices.Clone(allowed), func(f string) bool { return f == "" })
	cmd.Flags().StringVarP(&o.format, "output", "o", allowed[0], "output format: "+strings.Join(named, ", "))
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return named, cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc("output", complete); err != nil {
		panic(err) // the flag was added above
	}
}

// check says whether the chosen format is one of the allowed.
func (o *output) check() error {
	if slices.Contains(o.allowed, o.format) {
		return nil
	}
	named := slices.DeleteFunc(slices.Clone(o.allowed), func(f string) bool { return f == "" })
	return badUsage("", "the output format %q is not one of %s", o.format, strings.Join(named, ", "))
}

// structured says whether the result is written for a program: then nothing else goes to stdout.
func (o *output) structured() bool { return o.format == formatJSON || o.format == formatYAML }

// print writes a value as JSON or YAML, whichever is chosen.
func (a *app) print(o output, value any) error {
	data, err := encode(o.format, value)
	if err != nil {
		return err
	}
	a.ui.Data(data)
	return nil
}

func encode(format string, value any) ([]byte, error) {
	if format == formatYAML {
		data, err := yaml.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("writing YAML: %w", err)
		}
		return data, nil
	}
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	return append(data, '\n'), nil
}

// table writes rows in columns that are as wide as they need to be, under upper-case headers. An
// empty header leaves the headers out.
func (a *app) table(header []string, rows [][]string) {
	all := rows
	if len(header) > 0 {
		all = append([][]string{header}, rows...)
	}
	var widths []int
	clean := make([][]string, len(all))
	for i, row := range all {
		for j, cell := range row {
			cell = report.OneLine(cell)
			clean[i] = append(clean[i], cell)
			if j == len(widths) {
				widths = append(widths, 0)
			}
			widths[j] = max(widths[j], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, len(clean))
	for i, row := range clean {
		lines[i] = tableLine(row, widths)
	}
	a.ui.Results(lines)
}

func tableLine(row []string, widths []int) string {
	var b strings.Builder
	for j, cell := range row {
		b.WriteString(cell)
		if j < len(row)-1 {
			b.WriteString(strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)+2))
		}
	}
	return strings.TrimRight(b.String(), " ")
}
