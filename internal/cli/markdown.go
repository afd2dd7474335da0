// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/report"
)

// markdownTable is a table whose cells are Markdown already. Headers may be empty.
func markdownTable(header []string, rows [][]string) string {
	var b strings.Builder
	b.WriteString("| " + strings.Join(header, " | ") + " |\n|" + strings.Repeat("---|", len(header)) + "\n")
	for _, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	return b.String()
}

// markdownCode shows text of any origin as code within a table.
func markdownCode(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.NewReplacer("`", "'", "|", `\|`).Replace(report.OneLine(text)) + "`"
}

// markdownFolded is a block of lines of any origin that is unfolded by a click on its title.
func markdownFolded(title, language, text string) string {
	fence := strings.Repeat("`", max(3, longestRun(text)+1))
	var lines strings.Builder
	for line := range strings.Lines(text) {
		lines.WriteString(report.Clean(strings.TrimRight(line, "\n")) + "\n")
	}
	title = strings.NewReplacer("<", "&lt;", "&", "&amp;").Replace(report.OneLine(title))
	return fmt.Sprintf("<details><summary>%s</summary>\n\n%s%s\n%s%s\n\n</details>\n", title, fence, language, lines.String(), fence)
}

// longestRun returns the length of the longest run of backticks.
func longestRun(text string) int {
	longest, run := 0, 0
	for _, r := range text {
		if run++; r != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	return longest
}

// markdownDiff is a table of what differs, and a block for each object. The words say what became of
// an object.
func markdownDiff(found []deploy.Difference, word func(deploy.Difference) string) ([]string, error) {
	if len(found) == 0 {
		return []string{"No differences.\n"}, nil
	}
	var rows [][]string
	var folded []string
	for _, d := range found {
		paths := make([]string, 0, len(d.Fields))
		for _, c := range d.Fields {
			paths = append(paths, markdownCode(c.Path))
		}
		rows = append(rows, []string{markdownCode(d.ID.String()), word(d), strings.Join(paths, "<br>")})
		text, err := unifiedDiff(d)
		if err != nil {
			return nil, err
		}
		folded = append(folded, markdownFolded(d.ID.String()+" "+word(d), "diff", text))
	}
	return append([]string{markdownTable([]string{"object", "change", "fields"}, rows)}, folded...), nil
}
