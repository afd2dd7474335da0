// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheMedianIsTheMiddle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		values []time.Duration
		want   time.Duration
	}{
		{"none", nil, 0},
		{"one", []time.Duration{3}, 3},
		{"odd, in any order", []time.Duration{9, 1, 4}, 4},
		{"even", []time.Duration{8, 2, 4, 100}, 6},
	} {
		if got := Median(c.values); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestASectionIsReplacedAndTheOthersStay(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "RESULTS.md")
	for _, s := range [][2]string{{"a", "one"}, {"b", "two"}, {"a", "three"}} {
		if err := WriteSection(file, s[0], s[1]); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "<!-- begin a -->\nthree\n<!-- end a -->\n\n<!-- begin b -->\ntwo\n<!-- end b -->\n"
	if string(data) != want {
		t.Errorf("the file holds\n%s\nwant\n%s", data, want)
	}
}

func TestARunThatFailsTellsWhatItPrinted(t *testing.T) {
	t.Parallel()
	_, err := Run(t.Context(), Command{Args: []string{"go", "no-such-command"}, Env: os.Environ()})
	if err == nil {
		t.Fatal("no error of a program that failed")
	}
	if _, err := Run(t.Context(), Command{Args: []string{"go", "no-such-command"}, Env: os.Environ(), Accept: []int{2}}); err != nil {
		t.Errorf("an exit code that was accepted: %v", err)
	}
}
