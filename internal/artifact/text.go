// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"strings"
	"unicode"
)

// OneLine makes text that came from a registry, a service or an artifact fit for a message: as
// [Line] does, and of at most 300 bytes.
func OneLine(s string) string {
	const most = 300
	s = Line(s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// Line makes text of foreign origin fit for a message, whole: on one line, without control characters
// and what turns the direction of writing.
func Line(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(s), " ")
}
