// SPDX-License-Identifier: Apache-2.0

package early

import "syscall"

const advisePopulateRead = 22 // MADV_POPULATE_READ

// mapProgram has the kernel map all of the program's file that is only read. What packages do before main begins
// needs a part of every other piece of it, which would be an exception each. Kernels before 5.14 know no such
// advice, and map it by and by.
func mapProgram() {
	var maps [4096]byte // the program comes first
	for _, m := range onlyRead(string(maps[:readStart("/proc/self/maps", maps[:])])) {
		if advise(m.from, m.to-m.from, advisePopulateRead) != nil {
			return
		}
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// onlyRead returns the mappings before the first that can be written to, of what the kernel lists. Its format is
// that of proc(5); packages that would take it apart have their turn later.
func onlyRead(list string) []mapping {
	var found []mapping
	for line, more, ends := cutLine(list); ends; line, more, ends = cutLine(more) {
		from, rest := address(line)
		to, rest := address(rest)
		if to <= from || len(rest) < 2 || rest[0] != 'r' || rest[1] == 'w' {
			break
		}
		found = append(found, mapping{from, to})
	}
	return found
}

// cutLine returns the first line of a text, what is behind it, and whether the line ends at all.
func cutLine(text string) (line, rest string, ends bool) {
	for i := range len(text) {
		if text[i] == '\n' {
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

// address reads a hexadecimal number, and the character behind it.
func address(text string) (value uintptr, rest string) {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			value = value<<4 | uintptr(c-'0')
		case c >= 'a' && c <= 'f':
			value = value<<4 | uintptr(c-'a'+10)
		default:
			return value, text[i+1:]
		}
	}
	return value, ""
}

// readStart fills a buffer from the beginning of a file, as far as one call does, and returns how much that is.
func readStart(name string, buffer []byte) int {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer func() { _ = syscall.Close(fd) }() // it was only read from
	n, err := syscall.Read(fd, buffer)
	if err != nil {
		return 0
	}
	return n
}
