// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// WriteSection puts a text into a file of results in place of the section of that name, or at the end. Sections stand
// between comments that Markdown does not show, so that each bench has its own in one file.
func WriteSection(file, name, text string) error {
	data, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("reading results: %w", err)
	}
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->\n"
	section := []byte(begin + strings.TrimRight(text, "\n") + "\n" + end)
	from, to := bytes.Index(data, []byte(begin)), bytes.Index(data, []byte(end))
	switch {
	case from >= 0 && to > from:
		data = bytes.Join([][]byte{data[:from], section, data[to+len(end):]}, nil)
	case len(data) > 0:
		data = bytes.Join([][]byte{data, section}, []byte("\n"))
	default:
		data = section
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	return nil
}

// Machine describes what a measurement ran on: processors, their load before it began, system, date.
func Machine() string {
	return fmt.Sprintf("%d CPUs, %s/%s, %s, load average before the run %s, %s",
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), Load(), time.Now().UTC().Format("2006-01-02 15:04 MST"))
}

// Load returns the machine's load averages: a machine that is shared with others makes every figure
// a matter of luck.
func Load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if fields := strings.Fields(string(data)); err == nil && len(fields) >= 3 {
		return strings.Join(fields[:3], " ")
	}
	return "unknown"
}

// Ratio says how many times longer the first takes than the second.
func Ratio(a, b time.Duration) string {
	if b <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f×", float64(a)/float64(b))
}
