// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/report"
)

// usagef returns an error of usage (exit code 2) whose hint is the command's help.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &report.UsageError{Message: fmt.Sprintf(format, args...), Hint: helpHint(cmd)}
}

// badUsage returns an error of usage with the given hint, or the command's help where that is empty.
func badUsage(hint, format string, args ...any) error {
	return &report.UsageError{Message: fmt.Sprintf(format, args...), Hint: hint}
}

// positional checks that a command gets exactly the named arguments. A last name in brackets with
// three dots, such as "[NAME...]", stands for any number.
func positional(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		required, open := names, false
		if n := len(names); n > 0 && strings.HasSuffix(names[n-1], "...]") {
			required, open = names[:n-1], true
		}
		if len(args) < len(required) {
			return usagef(cmd, "%s needs %s", cmd.CommandPath(), strings.Join(required[len(args):], " and "))
		}
		if !open && len(args) > len(required) {
			return usagef(cmd, "%s does not take the argument %q", cmd.CommandPath(), args[len(required)])
		}
		return nil
	}
}

// requireFlags checks that flags were given that a command can't do without.
func requireFlags(cmd *cobra.Command, names ...string) error {
	var missing []string
	for _, name := range names {
		if !cmd.Flags().Changed(name) {
			missing = append(missing, "--"+name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return usagef(cmd, "%s needs %s", cmd.CommandPath(), strings.Join(missing, " and "))
}

// requireOneFlag checks that one of several flags was given, and not more than one.
func requireOneFlag(cmd *cobra.Command, names ...string) error {
	given := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !cmd.Flags().Changed(name) })
	all := "--" + strings.Join(names, ", --")
	switch len(given) {
	case 0:
		return usagef(cmd, "%s needs one of %s", cmd.CommandPath(), all)
	case 1:
		return nil
	default:
		return usagef(cmd, "only one of %s can be given", all)
	}
}

// verb makes a command that only has others below it, such as "create".
func verb(name, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: cobra.ArbitraryArgs}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return unknownCommand(cmd, args) }
	cmd.AddCommand(children...)
	return cmd
}

// unknownCommand says that a command has no such one below it, or that one is missing.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef(cmd, "%s needs one of: %s", cmd.CommandPath(), strings.Join(childNames(cmd), ", "))
	}
	err := fmt.Sprintf("there is no command %q below %s", args[0], cmd.CommandPath())
	candidates := childNames(cmd)
	for _, child := range cmd.Commands() {
		candidates = append(candidates, child.Aliases...)
	}
	if near := nearest(args[0], candidates); near != "" {
		return badUsage("did you mean: "+cmd.CommandPath()+" "+near, "%s", err)
	}
	return badUsage(helpHint(cmd), "%s", err)
}

func childNames(cmd *cobra.Command) []string {
	var names []string
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			names = append(names, child.Name())
		}
	}
	return names
}

// flagError words what is wrong with a command's flags, and suggests the flag that was meant.
func flagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		return unknownCommand(cmd, args) // the flag is one of the command that was meant
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedName() == "" || unknown.GetSpecifiedShortnames() != "" {
		return usagef(cmd, "%s", err)
	}
	name := unknown.GetSpecifiedName()
	if near := nearest(name, flagNames(cmd)); near != "" {
		return badUsage("did you mean: --"+near, "%s does not have the flag --%s", cmd.CommandPath(), name)
	}
	return usagef(cmd, "%s does not have the flag --%s", cmd.CommandPath(), name)
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// nearest returns the candidate that a mistyped word most likely meant, or nothing.
func nearest(word string, candidates []string) string {
	best, distance := "", 3
	if len(word) < 4 {
		distance = 2
	}
	for _, candidate := range candidates {
		if d := edits(strings.ToLower(word), candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	for _, candidate := range candidates {
		if strings.HasPrefix(candidate, strings.ToLower(word)) {
			return candidate
		}
	}
	return ""
}

// edits counts the single-character changes that turn one word into another (Levenshtein).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
