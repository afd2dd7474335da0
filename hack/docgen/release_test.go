// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/kustomizer/kustomizer/internal/cli"
)

// TestTheManualSaysWhatHelpSays guards what Markdown could lose: flags, placeholders and patterns.
func TestTheManualSaysWhatHelpSays(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1767323045")
	dir, again := t.TempDir(), t.TempDir()
	for _, to := range []string{dir, again} {
		if err := run([]string{"man", to}); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range all(cli.Commands()) {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		text := plain(string(page))
		same, err := os.ReadFile(filepath.Join(again, name))
		if err != nil || string(same) != string(page) {
			t.Errorf("%s differs when it is made again: %v", name, err)
		}
		wanted := []string{plain(cmd.Short), `"Jan 2026"`}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Deprecated == "" && f.Name != "help" {
				wanted = append(wanted, "--"+f.Name, plain(f.Usage))
			}
		})
		for _, want := range append(wanted, strings.Fields(plain(cmd.Long))...) {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q", name, want)
			}
		}
	}
}

// plain takes the marks of a manual page, and the quotes that it words differently, out of a text.
func plain(text string) string {
	return strings.NewReplacer(`\fB`, "", `\fI`, "", `\fP`, "", `\&`, "", `\-`, "-", `\`, "", "\t", " ").Replace(text)
}

// TestCompletionIsWrittenForEachShell reads the one whose shell is everywhere.
func TestCompletionIsWrittenForEachShell(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := run([]string{"completion", dir}); err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{
		"kustomizer.bash": "complete -o default", "_kustomizer": "#compdef kustomizer", "kustomizer.fish": "complete -c kustomizer",
		"kustomizer.ps1": "Register-ArgumentCompleter -CommandName 'kustomizer'",
	} {
		script, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(script), says) {
			t.Errorf("%s does not say %q: %v", name, says, err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "bash", "-n", filepath.Join(dir, "kustomizer.bash")).CombinedOutput(); err != nil {
		t.Errorf("bash: %v: %s", err, out)
	}
}
