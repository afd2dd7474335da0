// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/report"
)

// maxAnswer bounds what is read as the answer to a question.
const maxAnswer = 1 << 10

// confirmation is the group of flags of commands that destroy something.
type confirmation struct{ yes bool }

// AddFlags adds --yes, and -s and --silent as Flux calls it.
func (c *confirmation) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVarP(&c.yes, "yes", "y", false, "do it without asking; needed where there is no terminal")
	fs.BoolVarP(&c.yes, "silent", "s", false, "the same as --yes")
	if f := fs.Lookup("silent"); f != nil {
		f.Hidden = true
	}
}

// confirm asks a question whose answer is yes or no. Off a terminal there is nobody to ask: without
// --yes the command ends with the line that would do it. The default is no.
func (a *app) confirm(cmd *cobra.Command, c confirmation, format string, args ...any) error {
	if c.yes {
		return nil
	}
	question := fmt.Sprintf(format, args...)
	if !a.streams.Interactive {
		return badUsage("to do it: "+a.again(cmd)+" --yes", "%s: not confirmed, and there is no terminal to ask on", question)
	}
	answer, err := a.ask(report.Clean(question + "?"))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return &report.DeclinedError{}
	}
}

// ask puts a question and reads the answer. The clock of the command stands meanwhile; a signal ends it.
func (a *app) ask(question string) (string, error) {
	defer a.ui.hush()()
	fmt.Fprintf(a.streams.Err, "%s [y/N] ", question)
	type line struct {
		text string
		err  error
	}
	answered := make(chan line, 1)
	go func() {
		text, err := bufio.NewReader(io.LimitReader(a.streams.In, maxAnswer)).ReadString('\n')
		answered <- line{text, err}
	}()
	if a.clock == nil {
		got := <-answered
		return got.text, got.err
	}
	a.clock.pause()
	defer a.clock.resume()
	select {
	case got := <-answered:
		return got.text, got.err
	case <-a.clock.Done():
		return "", context.Cause(a.clock)
	}
}

// again returns the command line that is running, as far as it may be shown: its own flags and the
// namespace, not the ones that choose the cluster, among which are credentials.
func (a *app) again(cmd *cobra.Command) string {
	words := append([]string{cmd.CommandPath()}, cmd.Flags().Args()...)
	if a.namespace != "" {
		words = append(words, "-n", a.namespace)
	}
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && f.Name != "creds" && f.Name != "approve-prune" {
			words = append(words, flagWords(f)...)
		}
	})
	for i, word := range words[1:] {
		words[i+1] = quote(word)
	}
	return strings.Join(words, " ")
}

// flagWords writes a flag as it can be given: one that takes several values once for each.
func flagWords(f *pflag.Flag) []string {
	list, ok := f.Value.(pflag.SliceValue)
	switch {
	case !ok && f.Value.Type() == "bool" && f.Value.String() == "true":
		return []string{"--" + f.Name}
	case !ok:
		return []string{"--" + f.Name + "=" + f.Value.String()}
	}
	var words []string
	for _, v := range list.GetSlice() {
		words = append(words, "--"+f.Name+"="+v)
	}
	return words
}

// quote makes a word safe to paste into a shell.
func quote(word string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@,+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !safe(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
