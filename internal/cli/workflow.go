// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/report"
)

// What GitHub takes of a step: larger summaries are refused as a whole, further annotations dropped.
const (
	summaryLimit    = 1 << 20
	annotationLimit = 10
)

// workflow is the step of GitHub Actions that a command runs in. It is described at
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands.
type workflow struct {
	outputs, summary string // files that the runner reads after the step; empty if there are none
	workspace        string // where the repository is checked out
}

// workflowOf returns the step that the environment describes, or nil outside of GitHub Actions.
func workflowOf(getenv func(string) string) *workflow {
	if getenv("GITHUB_ACTIONS") != "true" {
		return nil
	}
	return &workflow{
		outputs: getenv("GITHUB_OUTPUT"), summary: getenv("GITHUB_STEP_SUMMARY"), workspace: getenv("GITHUB_WORKSPACE"),
	}
}

// stepOutput is a value that later steps can use.
type stepOutput struct{ name, value string }

// tellWorkflow gives a step's outputs and its summary to GitHub Actions. Outside of it nothing is
// done. The summary is made of blocks, of which as many are kept as fit.
func (a *app) tellWorkflow(outputs []stepOutput, summary func() ([]string, error)) error {
	if a.workflow == nil {
		return nil
	}
	if err := a.workflow.output(outputs); err != nil {
		return err
	}
	if a.workflow.summary == "" {
		return nil
	}
	blocks, err := summary()
	if err == nil {
		err = a.workflow.summarise(blocks)
	}
	if err != nil {
		a.ui.Warn("the step has no summary: %s", err)
	}
	return nil
}

// output appends to the file of outputs. A value may have lines: each ends with a line that nobody
// can foresee, so that none can set an output of its own.
func (w *workflow) output(outputs []stepOutput) error {
	if w.outputs == "" || len(outputs) == 0 {
		return nil
	}
	end := "end-" + rand.Text()
	var b strings.Builder
	for _, o := range outputs {
		fmt.Fprintf(&b, "%s<<%s\n%s\n%s\n", o.name, end, o.value, end)
	}
	if err := appendTo(w.outputs, b.String()); err != nil {
		return fmt.Errorf("writing the step's outputs: %w", err)
	}
	return nil
}

// summarise appends blocks of Markdown to the step's summary.
func (w *workflow) summarise(blocks []string) error {
	room := summaryLimit
	if info, err := os.Stat(w.summary); err == nil {
		room -= int(min(info.Size(), summaryLimit))
	}
	const ending = "\n%d more are left out here: the summary of a step has a limit.\n"
	room -= len(ending) + len(strconv.Itoa(len(blocks)))
	var b strings.Builder
	for i, block := range blocks {
		if b.Len()+len(block)+1 > room {
			fmt.Fprintf(&b, ending, len(blocks)-i)
			break
		}
		b.WriteString(block + "\n")
	}
	return appendTo(w.summary, b.String())
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // the runner reads it, perhaps as somebody else
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// annotations are the lines that show problems on the page of the step, and in the files of a pull
// request where the place is known.
func (w *workflow) annotations(problems []report.Problem) []string {
	var out []string
	for i, p := range problems {
		text := report.Clean(p.Line)
		if p.Hint != "" {
			text += "\nhint: " + report.Clean(p.Hint)
		}
		if more := len(problems) - annotationLimit; i == annotationLimit-1 && more > 0 {
			text += fmt.Sprintf("\nand %d more: see the log", more)
		}
		out = append(out, "::error "+w.place(p.Position)+"title="+asProperty(p.Code)+"::"+asMessage(text))
		if len(out) == annotationLimit {
			break
		}
	}
	return out
}

// place names a file in a way that GitHub finds it in the repository, or nothing.
func (w *workflow) place(at object.Position) string {
	file, err := filepath.Abs(at.File)
	if at.File == "" || err != nil {
		return ""
	}
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	file, err = filepath.Rel(cmp.Or(w.workspace, "."), file)
	if err != nil || !filepath.IsLocal(file) {
		return ""
	}
	out := "file=" + asProperty(filepath.ToSlash(file)) + ","
	if at.Line > 0 {
		out += fmt.Sprintf("line=%d,", at.Line)
		if at.Column > 0 {
			out += fmt.Sprintf("col=%d,", at.Column)
		}
	}
	return out
}

// asMessage escapes the text of a workflow command.
func asMessage(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(text)
}

// asProperty escapes a property of a workflow command.
func asProperty(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(text)
}

// noCommand keeps a line from being a workflow command: the runner follows those in whatever a step
// prints, also in text that came from a registry.
func noCommand(line string) string {
	if rest := strings.TrimLeftFunc(line, unicode.IsSpace); strings.HasPrefix(rest, "::") {
		line = line[:len(line)-len(rest)] + `\x3a` + rest[1:]
	}
	return strings.ReplaceAll(line, "##[", `#\x23[`)
}
