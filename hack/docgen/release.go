// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// writeManual writes a manual page for each command. The same commands and the same date give the
// same pages everywhere.
func writeManual(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	date, err := releaseDate(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	root.InitDefaultCompletionCmd()
	escapeMarkdown(root)
	return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Date: &date, Source: "kustomizer", Manual: "kustomizer manual"}, dir)
}

func releaseDate(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// escapeMarkdown makes plain text of what describes commands and flags: the manual is made from
// Markdown, in which <commit> would be a tag that nobody sees.
func escapeMarkdown(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	escape := strings.NewReplacer(`\`, `\\`, "<", `\<`, "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`)
	cmd.Short, cmd.Long = escape.Replace(cmd.Short), escape.Replace(cmd.Long)
	flag := func(f *pflag.Flag) {
		f.Usage = escape.Replace(f.Usage)
		if f.Value.Type() != "string" { // which the page quotes
			f.DefValue = escape.Replace(f.DefValue)
		}
	}
	cmd.LocalNonPersistentFlags().VisitAll(flag)
	cmd.PersistentFlags().VisitAll(flag)
	for _, child := range cmd.Commands() {
		escapeMarkdown(child)
	}
}

// writeCompletion writes each shell's file under the name that packages give it.
func writeCompletion(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		root.GenBashCompletionFileV2(filepath.Join(dir, "kustomizer.bash"), true),
		root.GenZshCompletionFile(filepath.Join(dir, "_kustomizer")),
		root.GenFishCompletionFile(filepath.Join(dir, "kustomizer.fish"), true),
		root.GenPowerShellCompletionFileWithDesc(filepath.Join(dir, "kustomizer.ps1")),
	)
}
