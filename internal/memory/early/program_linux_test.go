// SPDX-License-Identifier: Apache-2.0

package early

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestTheProgramIsMapped looks at how much of the program the kernel has mapped. One that knows no such advice
// says that it is invalid.
func TestTheProgramIsMapped(t *testing.T) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	parts := onlyRead(string(maps))
	if len(parts) == 0 {
		t.Fatalf("nothing is only read of\n%s", maps)
	}
	mapProgram()
	if err := advise(parts[0].from, parts[0].to-parts[0].from, advisePopulateRead); errors.Is(err, syscall.EINVAL) {
		return
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		_, of, found := strings.Cut(string(smaps), fmt.Sprintf("%08x-%08x ", part.from, part.to))
		if !found {
			t.Errorf("%x is no mapping any more", part.from)
			continue
		}
		if size, resident := field(of, "Size:"), field(of, "Rss:"); size == "" || size != resident {
			t.Errorf("of the mapping at %x with %s, %s are mapped", part.from, size, resident)
		}
	}
}

// field returns the first value of that name.
func field(smaps, name string) string {
	_, value, _ := strings.Cut(smaps, "\n"+name)
	value, _, _ = strings.Cut(value, "\n")
	return strings.TrimSpace(value)
}

func TestOnlyWhatIsReadAtTheBeginningIsMapped(t *testing.T) {
	t.Parallel()
	const text, data = "00400000-02742000 r-xp 00000000 fe:00 7  /bin/kustomizer\n", "04eb9000-05013000 rw-p 04ab9000 fe:00 7  /bin/kustomizer\n"
	const constants = "02742000-04eb9000 r--p 02342000 fe:00 7  /bin/kustomizer\n"
	all := []mapping{{0x400000, 0x2742000}, {0x2742000, 0x4eb9000}}
	for name, c := range map[string]struct {
		list string
		want []mapping
	}{
		"text, constants, data": {text + constants + data, all},
		"more behind":           {text + constants + data + "7ffc5c971000-7ffc5c973000 r-xp 00000000 00:00 0  [vdso]\n", all},
		"cut off":               {text + constants[:20], all[:1]},
		"no addresses":          {"text\n", nil},
		"no end":                {"00400000- r-xp\n", nil},
		"upside down":           {"02742000-00400000 r-xp\n", nil},
		"no rights":             {"00400000-02742000\n", nil},
		"nothing may be read":   {"00400000-02742000 ---p 00000000 00:00 0\n", nil},
		"nothing":               {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := onlyRead(c.list); !slices.Equal(got, c.want) {
				t.Errorf("got %x, want %x", got, c.want)
			}
		})
	}
}
