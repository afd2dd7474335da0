// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text of foreign origin safe to show on a terminal: control characters, line breaks
// among them, and characters that change the direction of text are escaped, as are bytes that are
// no UTF-8. Whatever came from a registry, a cluster or an archive goes through it.
func Clean(s string) string {
	if !strings.ContainsFunc(s, unsafe) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case unsafe(r) && r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case unsafe(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Lines takes text of foreign origin apart into lines that are each [Clean], without the empty
// ones at its end.
func Lines(s string) []string {
	lines := strings.Split(strings.TrimRight(s, "\r\n \t"), "\n")
	for i, line := range lines {
		lines[i] = Clean(strings.ReplaceAll(strings.TrimRight(line, "\r"), "\t", "  "))
	}
	return lines
}

// OneLine puts text of foreign origin on one [Clean] line, for tables.
func OneLine(s string) string { return Clean(strings.Join(strings.Fields(s), " ")) }

// unsafe says whether a character is a control character, one that changes the direction of text,
// or an invisible separator that terminals treat as a line break.
func unsafe(r rune) bool {
	switch {
	case unicode.IsControl(r):
		return true
	case r == '\u061c', r >= '\u200b' && r <= '\u200f', r >= '\u2028' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == '\ufeff':
		return true
	default:
		return false
	}
}
