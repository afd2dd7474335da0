// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/kustomizer/kustomizer/internal/report"
)

// maxRegion is how many lines a live region has at most.
const maxRegion = 8

// region is a few lines at the end of a terminal that are drawn anew as things go on, below the lines
// that stay.
type region struct {
	out   io.Writer
	width func() int // columns of the terminal; 0 where that is not known
	lines []string
	drawn int // lines that are on the screen

	hushed bool // a question is on the screen: nothing is drawn below it
}

// fallbackWidth is taken where the terminal does not tell its width.
const fallbackWidth = 80

// erase takes the region off the screen. The cursor is then where it began.
func (r *region) erase() {
	if r.drawn > 0 {
		fmt.Fprintf(r.out, "\x1b[%dA\r\x1b[J", r.drawn)
		r.drawn = 0
	}
}

// draw puts the region on the screen. No line is longer than the screen is wide: it would take up two.
func (r *region) draw() {
	width := fallbackWidth
	if r.width != nil && r.width() > 0 {
		width = r.width()
	}
	for _, line := range r.lines {
		fmt.Fprintln(r.out, cut(line, width-1))
		r.drawn++
	}
}

// cut shortens a line to a number of columns.
func cut(line string, columns int) string {
	if utf8.RuneCountInString(line) <= columns {
		return line
	}
	runes := []rune(line)
	return string(runes[:max(columns-1, 0)]) + "…"
}

// Live shows lines below all others until they are replaced; none takes them off. Where there is no
// terminal nothing is shown.
func (p *printer) Live(lines ...string) {
	if p.live == nil {
		return
	}
	if more := len(lines) - maxRegion; more > 0 {
		lines = append(lines[:maxRegion-1:maxRegion-1], fmt.Sprintf("  … and %d more", more+1))
	}
	clean := make([]string, 0, len(lines))
	for _, line := range lines {
		clean = append(clean, strings.ReplaceAll(report.Clean(line), "\n", " "))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live.hushed {
		return
	}
	p.live.erase()
	p.live.lines = clean
	p.live.draw()
}

// around writes something that stays, above the live region.
func (p *printer) around(write func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live != nil {
		p.live.erase()
		defer p.live.draw()
	}
	write()
}

// hush takes the live region off the screen for as long as a question is on it. It returns what ends that.
func (p *printer) hush() (end func()) {
	if p.live == nil {
		return func() {}
	}
	p.Live()
	set := func(hushed bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.live.hushed = hushed
	}
	set(true)
	return func() { set(false) }
}
