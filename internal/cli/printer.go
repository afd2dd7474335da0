// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/kustomizer/kustomizer/internal/report"
)

// printer writes a command's lines: results to out, progress with a leading glyph to err. Every
// line is cleaned of what could take over a terminal, so text from anywhere may be passed in.
type printer struct {
	out, err io.Writer
	glyphs   glyphs
	colour   bool
	workflow bool // whoever reads the lines follows commands in them

	live *region // nil where there is no terminal that can redraw

	mu     sync.Mutex
	failed error // the first write to out that failed
}

// glyphs begin the lines of progress: Flux's, or words where the terminal can't show them.
type glyphs struct{ action, generate, wait, success, warning, failure string }

func newPrinter(s Streams, getenv func(string) string) *printer {
	p := &printer{out: s.Out, err: s.Err, glyphs: glyphs{"►", "✚", "◎", "✔", "⚠", "✗"}}
	if !speaksUTF8(getenv) {
		p.glyphs = glyphs{">", "+", "~", "ok:", "warning:", "error:"}
	}
	p.workflow = workflowOf(getenv) != nil
	p.colour = s.Terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	if s.Terminal && getenv("TERM") != "dumb" {
		p.live = &region{out: s.Err, width: s.Width}
	}
	return p
}

// speaksUTF8 says whether the locale is one of UTF-8. Without any locale it is taken to be: that
// is so in most CI systems and containers, and what Flux does.
func speaksUTF8(getenv func(string) string) bool {
	if getenv("TERM") == "dumb" {
		return false
	}
	locale := strings.ToLower(cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG")))
	return locale == "" || strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
}

// Action says that something is being done.
func (p *printer) Action(format string, args ...any) { p.progress(p.glyphs.action, "", format, args) }

// Generate says that something is being made.
func (p *printer) Generate(format string, args ...any) {
	p.progress(p.glyphs.generate, "", format, args)
}

// Wait says what is being waited for.
func (p *printer) Wait(format string, args ...any) { p.progress(p.glyphs.wait, "", format, args) }

// Success says that something was done.
func (p *printer) Success(format string, args ...any) {
	p.progress(p.glyphs.success, "\x1b[32m", format, args)
}

// Warn says that something deserves attention though the command goes on.
func (p *printer) Warn(format string, args ...any) {
	p.progress(p.glyphs.warning, "\x1b[33m", format, args)
}

// Note writes a line of progress without a glyph.
func (p *printer) Note(format string, args ...any) { p.progress("", "", format, args) }

// Fail writes an error, and below it a hint if there is one. The lines of a longer text, such as
// a server's answer, are indented below the first.
func (p *printer) Fail(line, hint string) {
	lines := report.Lines(line)
	p.progress(p.glyphs.failure, "\x1b[31m", "%s", []any{lines[0]})
	for _, more := range lines[1:] {
		p.Note("  %s", more)
	}
	if hint != "" {
		p.Note("  hint: %s", hint)
	}
}

func (p *printer) progress(glyph, colour, format string, args []any) {
	line := report.Clean(fmt.Sprintf(format, args...))
	if glyph != "" && p.colour && colour != "" {
		glyph = colour + glyph + "\x1b[0m"
	}
	if glyph != "" {
		line = glyph + " " + line
	}
	line = p.inert(line)
	p.around(func() { fmt.Fprintln(p.err, line) }) // there is nowhere left to say that stderr is gone
}

// Result writes one line of a result to standard output.
func (p *printer) Result(format string, args ...any) {
	p.Data([]byte(p.inert(report.Clean(fmt.Sprintf(format, args...))) + "\n"))
}

// Results writes many lines to standard output at one go: each by itself would be a call of the system.
func (p *printer) Results(lines []string) {
	if len(lines) == 0 {
		return
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(p.inert(report.Clean(line)) + "\n")
	}
	p.Data([]byte(b.String()))
}

// inert returns a line that is only shown.
func (p *printer) inert(line string) string {
	if p.workflow {
		return noCommand(line)
	}
	return line
}

// Annotate writes lines that GitHub Actions follows.
func (p *printer) Annotate(lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range lines {
		fmt.Fprintln(p.err, line) // there is nowhere left to say that stderr is gone
	}
}

// Data writes bytes to standard output as they are.
func (p *printer) Data(data []byte) {
	p.around(func() {
		if _, err := p.out.Write(data); err != nil && p.failed == nil {
			p.failed = fmt.Errorf("writing the result: %w", err)
		}
	})
}

// writeError returns the first error that writing results met.
func (p *printer) writeError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// environment reads a variable of the process's environment.
func environment(name string) string { return os.Getenv(name) }
