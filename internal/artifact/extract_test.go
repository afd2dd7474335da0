// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// entry is what goes into an archive of a test: a file, unless the header says something else.
type entry struct {
	name    string
	content string
	header  tar.Header
	raw     []byte // in place of all the above: blocks as they are
}

func file(name string) entry { return entry{name: name, content: "kind: A\n"} }

func dir(name string) entry { return entry{name: name, header: tar.Header{Typeflag: tar.TypeDir}} }

func link(typeflag byte, name, target string) entry {
	return entry{name: name, header: tar.Header{Typeflag: typeflag, Linkname: target}}
}

// archive returns a tar with its end blocks.
func archive(entries ...entry) []byte {
	return append(body(entries...), make([]byte, 1024)...)
}

// body returns a tar without its end blocks.
func body(entries ...entry) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		if e.raw != nil {
			b.Write(e.raw)
			continue
		}
		w := tar.NewWriter(&b)
		h := e.header
		h.Name, h.Size = e.name, int64(len(e.content))
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		must(w.WriteHeader(&h))
		if len(e.content) > 0 {
			_, err := w.Write([]byte(e.content))
			must(err)
		}
		must(w.Flush())
	}
	return b.Bytes()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// patched returns a file's blocks with bytes of the header overwritten and its checksum made right.
func patched(e entry, offset int, value string) entry {
	block := body(e)
	copy(block[offset:], value)
	copy(block[148:156], "        ")
	sum := 0
	for _, c := range block[:512] {
		sum += int(c)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return entry{raw: block}
}

func gz(content []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(content)
	must(err)
	must(w.Close())
	return b.Bytes()
}

func zst(content []byte) []byte {
	w, err := zstd.NewWriter(nil)
	must(err)
	return w.EncodeAll(content, nil)
}

func many(n int, entryOf func(i int) entry) []entry {
	entries := []entry{}
	for i := range n {
		entries = append(entries, entryOf(i))
	}
	return entries
}

const (
	tarType  = "application/vnd.oci.image.layer.v1.tar"
	gzipType = artifact.MediaTypeLayer
	zstdType = "application/vnd.oci.image.layer.v1.tar+zstd"
)

// limits are small, so that the archives of the tests can be.
func limits() artifact.Limits {
	return artifact.Limits{
		Compressed: 1 << 20, Extracted: 1 << 20, File: 512 << 10, Entries: 200, HeaderBytes: 7 << 10, Ratio: 100, RatioFrom: 200 << 10,
	}
}

// hostileArchive is an archive with one fault, and the same without it.
type hostileArchive struct {
	hostile   []byte
	mediaType string // gzipType if empty
	want      artifact.Reason
	twin      []byte
	twinType  string // gzipType if empty
}

func hostileArchives() map[string]hostileArchive {
	good := gz(archive(file("a.yaml")))
	noise := func(n int) string { // does not compress well
		b := make([]byte, n)
		x := uint32(1)
		for i := range b {
			x = x*1664525 + 1013904223
			b[i] = byte(x >> 24)
		}
		return string(b)
	}
	global := func(records map[string]string) entry {
		return entry{header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: records}}
	}
	pax := func(name string, records map[string]string) entry {
		return entry{name: name, content: "kind: A\n", header: tar.Header{PAXRecords: records, Format: tar.FormatPAX}}
	}
	pathCases := func(name string) []byte {
		return gz(archive(patched(file("placeholder"), 0, name+strings.Repeat("\x00", 100-len(name)))))
	}
	return map[string]hostileArchive{
		"path leaves upwards":        {hostile: gz(archive(file("../x"))), want: artifact.PathEscapes, twin: gz(archive(file("x")))},
		"path leaves in its middle":  {hostile: gz(archive(file("a/../../x"))), want: artifact.PathEscapes, twin: gz(archive(file("a/x")))},
		"path goes up and back":      {hostile: gz(archive(file("a/../x"))), want: artifact.PathEscapes, twin: gz(archive(file("a/..x")))},
		"path is absolute":           {hostile: gz(archive(file("/etc/x"))), want: artifact.PathEscapes, twin: gz(archive(file("etc/x")))},
		"path is absolute, behind .": {hostile: gz(archive(file(".//etc/x"))), want: artifact.PathEscapes, twin: gz(archive(file("./etc/x")))},
		"backslashes":                {hostile: gz(archive(file(`a\..\x`))), want: artifact.PathEscapes, twin: gz(archive(file("a/x")))},
		"drive letter":               {hostile: gz(archive(file("C:x"))), want: artifact.PathEscapes, twin: gz(archive(file("C/x")))},
		"drive letter, backslash":    {hostile: gz(archive(file(`C:\x`))), want: artifact.PathEscapes, twin: gz(archive(file("C/x")))},
		"share of another machine":   {hostile: gz(archive(file(`\\host\x`))), want: artifact.PathEscapes, twin: gz(archive(file("host/x")))},
		"path is a dot":              {hostile: gz(archive(file("."))), want: artifact.BadPath, twin: gz(archive(dir("./"), file("a.yaml")))},
		"path is two dots":           {hostile: gz(archive(file(".."))), want: artifact.PathEscapes, twin: gz(archive(file("..a")))},
		"dot in the middle":          {hostile: gz(archive(file("a/./b"))), want: artifact.BadPath, twin: gz(archive(file("a/.b")))},
		"two leading dots":           {hostile: gz(archive(file("././b"))), want: artifact.BadPath, twin: gz(archive(file("./b")))},
		"empty part":                 {hostile: gz(archive(file("a//b"))), want: artifact.BadPath, twin: gz(archive(file("a/b")))},
		"empty path":                 {hostile: pathCases(""), want: artifact.BadPath, twin: pathCases("a")},
		"not UTF-8":                  {hostile: pathCases("a\xff\xfe"), want: artifact.BadPath, twin: pathCases("ä")},
		"line feed in path":          {hostile: pathCases("a\nb"), want: artifact.BadPath, twin: pathCases("a b")},
		"escape sequence in path":    {hostile: pathCases("a\x1b[2J"), want: artifact.BadPath, twin: pathCases("a[2J")},
		"NUL in path":                {hostile: gz(archive(paxNamed("a\x00b"))), want: artifact.NotTar, twin: gz(archive(paxNamed("a-b")))},
		"slash after a file":         {hostile: gz(archive(patched(file("ab"), 1, "/"))), want: artifact.BadPath, twin: gz(archive(file("ab")))},
		"path of 1025 bytes": {
			hostile: gz(archive(file(strings.Repeat("a/", 10) + strings.Repeat("b", 1005)))), want: artifact.PathTooLong,
			twin: gz(archive(file(strings.Repeat("a/", 10) + strings.Repeat("b", 200)))),
		},
		"path of 5000 bytes": {
			hostile: gz(archive(file(strings.Repeat("a", 5000)))), want: artifact.PathTooLong, twin: gz(archive(file(strings.Repeat("a", 50)))),
		},
		"long name of GNU tar escapes": {
			hostile: gz(archive(gnuNamed("../" + strings.Repeat("a", 120)))), want: artifact.PathEscapes, twin: gz(archive(gnuNamed(strings.Repeat("a", 120)))),
		},
		"33 levels": {
			hostile: gz(archive(file(strings.Repeat("a/", 32) + "b"))), want: artifact.PathTooDeep,
			twin: gz(archive(file(strings.Repeat("a/", 31) + "b"))),
		},
		"symlink outside": {
			hostile: gz(archive(file("a"), link(tar.TypeSymlink, "b", "/etc/passwd"))), want: artifact.SymlinkNotAllowed,
			twin: gz(archive(file("a"), file("b"))),
		},
		"symlink inside": {
			hostile: gz(archive(file("a"), link(tar.TypeSymlink, "b", "a"))), want: artifact.SymlinkNotAllowed,
			twin: gz(archive(file("a"), file("b"))),
		},
		"write through a symlink": {
			hostile: gz(archive(link(tar.TypeSymlink, "d", "/tmp"), file("d/x"))), want: artifact.SymlinkNotAllowed,
			twin: gz(archive(dir("d/"), file("d/x"))),
		},
		"symlink to a symlink": {
			hostile: gz(archive(file("a"), link(tar.TypeSymlink, "b", "c"), link(tar.TypeSymlink, "c", "a"))), want: artifact.SymlinkNotAllowed,
			twin: gz(archive(file("a"), file("b"), file("c"))),
		},
		"symlink with a long target": {
			hostile: gz(archive(link(tar.TypeSymlink, "b", strings.Repeat("../", 80)+"etc/passwd"))), want: artifact.SymlinkNotAllowed,
			twin: gz(archive(file("b"))),
		},
		"hard link to itself": {
			hostile: gz(archive(link(tar.TypeLink, "b", "b"))), want: artifact.HardLinkNotAllowed,
			twin: gz(archive(file("b"))),
		},
		"hard link to a later file": {
			hostile: gz(archive(link(tar.TypeLink, "b", "a"), file("a"))), want: artifact.HardLinkNotAllowed,
			twin: gz(archive(file("b"), file("a"))),
		},
		"hard link outside": {
			hostile: gz(archive(link(tar.TypeLink, "b", "/etc/passwd"))), want: artifact.HardLinkNotAllowed,
			twin: gz(archive(file("b"))),
		},
		"hard link to an earlier file": {
			hostile: gz(archive(file("a"), link(tar.TypeLink, "b", "a"))), want: artifact.HardLinkNotAllowed,
			twin: gz(archive(file("a"), file("b"))),
		},
		"character device": {
			hostile: gz(archive(entry{name: "d", header: tar.Header{Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}})),
			want:    artifact.DeviceNotAllowed, twin: gz(archive(file("d"))),
		},
		"block device": {
			hostile: gz(archive(entry{name: "d", header: tar.Header{Typeflag: tar.TypeBlock}})),
			want:    artifact.DeviceNotAllowed, twin: gz(archive(file("d"))),
		},
		"FIFO": {
			hostile: gz(archive(entry{name: "d", header: tar.Header{Typeflag: tar.TypeFifo}})),
			want:    artifact.DeviceNotAllowed, twin: gz(archive(file("d"))),
		},
		"contiguous file": {hostile: gz(archive(patched(file("d"), 156, "7"))), want: artifact.EntryTypeNotAllowed, twin: gz(archive(patched(file("d"), 156, "0")))},
		"unknown type":    {hostile: gz(archive(patched(file("d"), 156, "Z"))), want: artifact.EntryTypeNotAllowed, twin: gz(archive(patched(file("d"), 156, "\x00")))},
		"old GNU sparse":  {hostile: gz(archive(oldSparse())), want: artifact.SparseNotAllowed, twin: gz(archive(file("sparse")))},
		"PAX sparse 1.0": {
			hostile: gz(archive(paxSparse("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=x", "GNU.sparse.realsize=1073741824"))),
			want:    artifact.SparseNotAllowed, twin: gz(archive(paxSparse("comment=harmless"))),
		},
		"PAX sparse 0.1": {
			hostile: gz(archive(paxSparse("GNU.sparse.size=1073741824", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,1"))),
			want:    artifact.SparseNotAllowed, twin: gz(archive(paxSparse("comment=harmless"))),
		},
		"PAX sparse 0.0": {
			hostile: gz(archive(paxSparse("GNU.sparse.size=1073741824", "GNU.sparse.numblocks=1", "GNU.sparse.offset=0", "GNU.sparse.numbytes=1"))),
			want:    artifact.SparseNotAllowed, twin: gz(archive(paxSparse("comment=harmless"))),
		},
		"PAX size beyond the limit": {
			hostile: gz(archive(paxSparse("size=1073741824"))), want: artifact.FileTooLarge, twin: gz(archive(paxSparse("size=519"))),
		},
		"PAX record cut short": {
			hostile: gz(archive(paxRaw("9999 comment=x\n"))), want: artifact.NotTar, twin: gz(archive(paxRaw("13 comment=x\n"))),
		},
		"global header makes links": {
			hostile: gz(archive(global(map[string]string{"linkpath": "/etc/passwd"}), file("a"))), want: artifact.GlobalHeader,
			twin: gz(archive(global(map[string]string{"comment": "of git archive"}), file("a"))),
		},
		"global header sizes": {
			hostile: gz(archive(global(map[string]string{"size": "0"}), file("a"))), want: artifact.GlobalHeader,
			twin: gz(archive(global(map[string]string{"comment": "of git archive"}), file("a"))),
		},
		"global header renames": {
			hostile: gz(archive(global(map[string]string{"path": "b"}), file("a"))), want: artifact.GlobalHeader,
			twin: gz(archive(global(map[string]string{"comment": "of git archive"}), file("a"))),
		},
		"PAX path escapes": {hostile: gz(archive(pax("../é", nil))), want: artifact.PathEscapes, twin: gz(archive(pax("é", nil)))},
		"huge PAX header": {
			hostile: gz(archive(pax("a", map[string]string{"comment": noise(8192)}))), want: artifact.HeaderTooLarge,
			twin: gz(archive(pax("a", map[string]string{"comment": "short"}))),
		},
		"same path twice":      {hostile: gz(archive(file("a"), file("a"))), want: artifact.DuplicatePath, twin: gz(archive(file("a"), file("b")))},
		"same path with a dot": {hostile: gz(archive(file("a"), file("./a"))), want: artifact.DuplicatePath, twin: gz(archive(file("a"), file("./b")))},
		"same directory twice": {hostile: gz(archive(dir("a/"), dir("a/"))), want: artifact.DuplicatePath, twin: gz(archive(file("a/b"), dir("a/")))},
		"file, then directory": {hostile: gz(archive(file("a"), dir("a/"))), want: artifact.FileAndDirectory, twin: gz(archive(file("a"), dir("b/")))},
		"file under a file":    {hostile: gz(archive(file("a"), file("a/b"))), want: artifact.FileAndDirectory, twin: gz(archive(dir("a"), file("a/b")))},
		"directory, then file": {hostile: gz(archive(file("a/b"), file("a"))), want: artifact.FileAndDirectory, twin: gz(archive(file("a/b"), file("c")))},
		"paths differ in case": {hostile: gz(archive(file("A.yaml"), file("a.yaml"))), want: artifact.PathCollides, twin: gz(archive(file("A.yaml"), file("b.yaml")))},
		"directories differ in case": {
			hostile: gz(archive(file("A/x"), file("a/y"))), want: artifact.PathCollides, twin: gz(archive(file("A/x"), file("A/y"))),
		},
		"paths differ in Unicode form": {
			hostile: gz(archive(file("é"), file("e\u0301"))), want: artifact.PathCollides, twin: gz(archive(file("é"), file("e"))),
		},
		"file one byte too large": {
			hostile: gz(archive(entry{name: "a", content: noise(512<<10 + 1)})), want: artifact.FileTooLarge,
			twin: gz(archive(entry{name: "a", content: noise(512 << 10)})),
		},
		"all files one byte too large": {
			hostile: gz(archive(entry{name: "a", content: noise(512 << 10)}, entry{name: "b", content: strings.Repeat("ab", 256<<10)}, entry{name: "c", content: "x"})),
			want:    artifact.TooLarge,
			twin:    gz(archive(entry{name: "a", content: noise(512 << 10)}, entry{name: "b", content: strings.Repeat("ab", 256<<10)})),
		},
		"layer too large": {
			hostile: archive(many(3, func(i int) entry { return entry{name: fmt.Sprint(i), content: noise(400 << 10)} })...), mediaType: tarType,
			want: artifact.TooLarge,
			twin: archive(many(2, func(i int) entry { return entry{name: fmt.Sprint(i), content: noise(400 << 10)} })...), twinType: tarType,
		},
		"expands too much": {
			hostile: gz(archive(entry{name: "a", content: strings.Repeat("\x00", 400<<10)})), want: artifact.RatioTooHigh,
			twin: gz(archive(entry{name: "a", content: noise(8<<10) + strings.Repeat("\x00", 400<<10)})),
		},
		"size of MaxInt64": {
			hostile: gz(archive(patched(file("a"), 124, "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"))), want: artifact.FileTooLarge,
			twin: gz(archive(patched(file("a"), 124, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08"))),
		},
		"size in base-256 beyond the limit": {
			hostile: gz(archive(patched(file("a"), 124, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x01"))), want: artifact.FileTooLarge,
			twin: gz(archive(patched(file("a"), 124, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08"))),
		},
		"size beyond 64 bits": {
			hostile: gz(archive(patched(file("a"), 124, "\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))), want: artifact.NotTar,
			twin: gz(archive(file("a"))),
		},
		"size that is no number": {
			hostile: gz(archive(patched(file("a"), 124, "00000000abc\x00"))), want: artifact.NotTar,
			twin: gz(archive(patched(file("a"), 124, "00000000010\x00"))),
		},
		"header with a wrong checksum": {
			hostile: gz(archive(entry{raw: flip(body(file("a")), 0)})), want: artifact.NotTar, twin: gz(archive(file("a"))),
		},
		"negative size": {
			hostile: gz(archive(patched(file("a"), 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))), want: artifact.NotTar,
			twin: gz(archive(file("a"))),
		},
		"bad header later": {
			hostile: gz(append(body(file("a")), []byte(noise(2048))...)), want: artifact.MalformedHeader, twin: gz(archive(file("a"), file("b"))),
		},
		"directory with content": {
			hostile: gz(archive(patched(file("d"), 156, "5"))), want: artifact.MalformedHeader, twin: gz(archive(dir("d/"))),
		},
		"201 files": {
			hostile: gz(archive(many(201, func(i int) entry { return entry{name: fmt.Sprint(i)} })...)), want: artifact.TooManyEntries,
			twin: gz(archive(many(200, func(i int) entry { return entry{name: fmt.Sprint(i)} })...)),
		},
		"201 directories": {
			hostile: gz(archive(many(201, func(i int) entry { return dir(fmt.Sprint(i)) })...)), want: artifact.TooManyEntries,
			twin: gz(archive(many(200, func(i int) entry { return dir(fmt.Sprint(i)) })...)),
		},
		"201 implied directories": {
			hostile: gz(archive(many(20, func(i int) entry { return file(fmt.Sprint(i) + strings.Repeat("/d", 15)) })...)), want: artifact.TooManyEntries,
			twin: gz(archive(many(10, func(i int) entry { return file(fmt.Sprint(i) + strings.Repeat("/d", 15)) })...)),
		},
		"truncated in gzip":           {hostile: good[:len(good)/2], want: artifact.Truncated, twin: good},
		"gzip without its trailer":    {hostile: good[:len(good)-8], want: artifact.Truncated, twin: good},
		"truncated tar in whole gzip": {hostile: gz(archive(entry{name: "a", content: noise(4096)})[:2048]), want: artifact.Truncated, twin: good},
		"no end blocks":               {hostile: gz(body(file("a"))), want: artifact.Truncated, twin: gz(archive(file("a")))},
		"one end block":               {hostile: gz(append(body(file("a")), make([]byte, 512)...)), want: artifact.Truncated, twin: gz(archive(file("a")))},
		"file of zeros, no end blocks": {
			hostile: gz(body(entry{name: "a", content: strings.Repeat("\x00", 4096)})), want: artifact.Truncated,
			twin: gz(archive(entry{name: "a", content: strings.Repeat("\x00", 4096)})),
		},
		"data after the end":    {hostile: gz(append(archive(file("a")), body(file("b"))...)), want: artifact.TrailingData, twin: gz(append(archive(file("a")), make([]byte, 10240)...))},
		"data after gzip":       {hostile: append(bytes.Clone(good), "garbage"...), want: artifact.TrailingData, twin: good},
		"endless padding":       {hostile: gz(append(archive(entry{name: "a", content: noise(100 << 10)}), make([]byte, 2<<20)...)), want: artifact.TrailingData, twin: good},
		"second gzip member":    {hostile: append(bytes.Clone(good), good...), want: artifact.MultipleMembers, twin: good},
		"wrong gzip checksum":   {hostile: flip(good, len(good)-8), want: artifact.Corrupt, twin: good},
		"wrong gzip length":     {hostile: flip(good, len(good)-2), want: artifact.Corrupt, twin: good},
		"gzip header cut":       {hostile: good[:5], want: artifact.Truncated, twin: good},
		"gzip of nothing":       {hostile: gz(nil), want: artifact.Truncated, twin: gz(archive())},
		"no bytes":              {hostile: nil, want: artifact.Empty, twin: good},
		"plain tar as gzip":     {hostile: archive(file("a")), want: artifact.NotGzip, twin: good},
		"zstd as gzip":          {hostile: zst(archive(file("a"))), want: artifact.NotGzip, twin: good},
		"HTML as gzip":          {hostile: []byte("<html><body>sign in</body></html>"), want: artifact.NotGzip, twin: good},
		"age as gzip":           {hostile: []byte("age-encryption.org/v1\n"), want: artifact.NotGzip, twin: good},
		"gzip as tar":           {hostile: good, mediaType: tarType, want: artifact.NotTar, twin: archive(file("a")), twinType: tarType},
		"gzip as zstd":          {hostile: good, mediaType: zstdType, want: artifact.NotZstd, twin: zst(archive(file("a"))), twinType: zstdType},
		"zstd cut":              {hostile: zst(archive(file("a")))[:30], mediaType: zstdType, want: artifact.Truncated, twin: zst(archive(file("a"))), twinType: zstdType},
		"zstd with garbage":     {hostile: append(zst(archive(file("a"))), "garbage"...), mediaType: zstdType, want: artifact.Corrupt, twin: zst(archive(file("a"))), twinType: zstdType},
		"text in gzip":          {hostile: gz([]byte(strings.Repeat("kind: A\n", 100))), want: artifact.NotTar, twin: good},
		"short text in gzip":    {hostile: gz([]byte("kind: A\n")), want: artifact.NotTar, twin: good},
		"gzip in gzip":          {hostile: gz(good), want: artifact.NotTar, twin: good},
		"encrypted":             {hostile: []byte("age-encryption.org/v1\n"), mediaType: artifact.MediaTypeEncryptedLayer, want: artifact.Encrypted, twin: good},
		"not an archive's type": {hostile: good, mediaType: "application/json", want: artifact.MediaTypeNotAccepted, twin: good},
	}
}

func TestHostileArchivesAreRefusedAndTheirBenignTwinsAreNot(t *testing.T) {
	t.Parallel()
	for name, c := range hostileArchives() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.mediaType == "" {
				c.mediaType = gzipType
			}
			if c.twinType == "" {
				c.twinType = gzipType
			}
			parent := t.TempDir()
			_, err := artifact.Extract(t.Context(), bytes.NewReader(c.hostile), c.mediaType, filepath.Join(parent, "out"), limits())
			var refused *artifact.RefusedError
			if !errors.As(err, &refused) || refused.Reason != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("the message has control characters: %q", err)
			}
			if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if _, err := artifact.Extract(t.Context(), bytes.NewReader(c.twin), c.twinType, filepath.Join(parent, "out"), limits()); err != nil {
				t.Errorf("the benign twin is refused: %v", err)
			}
		})
	}
}

func flip(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 0xff
	return c
}

// oldSparse returns a GNU sparse file of 1 GiB in a few blocks.
func oldSparse() entry {
	e := patched(file("sparse"), 156, "S")
	block := e.raw
	copy(block[257:], "ustar  \x00")
	copy(block[386:], "00000000000\x0000000000010\x00")
	copy(block[483:], "10000000000\x00")
	copy(block[148:156], "        ")
	sum := 0
	for _, c := range block[:512] {
		sum += int(c)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return e
}

// record writes a PAX record with its length.
func record(r string) string {
	n := len(r) + 3
	for n != len(fmt.Sprintf("%d %s\n", n, r)) {
		n++
	}
	return fmt.Sprintf("%d %s\n", n, r)
}

// paxRaw returns a file behind a PAX header with the given content.
func paxRaw(content string) entry {
	header := patched(entry{name: "PaxHeaders/x", content: content}, 156, "x")
	return entry{raw: append(header.raw, body(file("x"))...)}
}

// paxNamed returns a file whose path a PAX header says.
func paxNamed(name string) entry { return paxRaw(record("path=" + name)) }

// gnuNamed returns a file whose path is in an entry of its own before it, as GNU tar writes long ones.
func gnuNamed(name string) entry {
	e := file(name)
	e.header.Format = tar.FormatGNU
	return e
}

// paxSparse returns a file behind a PAX header with the given records, which the writer of
// archive/tar would not write.
func paxSparse(records ...string) entry {
	var content string
	for _, r := range records {
		content += record(r)
	}
	header := patched(entry{name: "PaxHeaders/x", content: content}, 156, "x")
	data := "1\n0\n1\n" + strings.Repeat("\x00", 506) + "x"
	return entry{raw: append(header.raw, body(entry{name: "x", content: data})...)}
}

func TestPackingsThatOthersPushAreAccepted(t *testing.T) {
	t.Parallel()
	content := archive(dir("./"), dir("./d/"), file("./d/a.yaml"))
	for mediaType, layer := range map[string][]byte{
		tarType:                           content,
		"application/x-tar":               content,
		gzipType:                          gz(content),
		artifact.MediaTypeFluxLayer:       gz(content),
		artifact.MediaTypeKustomizerLayer: gz(content),
		"application/vnd.cncf.helm.chart.content.v1.tar+gzip": gz(content),
		zstdType: zst(content),
	} {
		t.Run(mediaType, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "out")
			got, err := artifact.Extract(t.Context(), bytes.NewReader(layer), mediaType, out, artifact.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			want := artifact.Extracted{Files: 1, Bytes: 8, Checksum: artifact.DigestOf(content).Hex()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestModesAndTimesOfAnArchiveAreNotTakenOver(t *testing.T) {
	t.Parallel()
	withMode := func(name string, mode int64, at time.Time) entry {
		return entry{name: name, content: "x", header: tar.Header{Mode: mode, ModTime: at, Format: tar.FormatPAX}}
	}
	content := gz(archive(
		withMode("none", 0o001, time.Unix(-1e9, 0)), withMode("all", 0o777, time.Unix(9e9, 0)), withMode("setuid", 0o4755, time.Unix(0, 0)),
	))
	out := filepath.Join(t.TempDir(), "out")
	if _, err := artifact.Extract(t.Context(), bytes.NewReader(content), gzipType, out, artifact.Limits{}); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&^0o644 != 0 || info.Mode()&0o400 == 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		if age := time.Since(info.ModTime()); math.Abs(age.Hours()) > 1 {
			t.Errorf("%s is %s old", path, age)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDirectoriesWithNothingInThemAreExtracted(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	layer := archive(dir("a/"), dir("b/"), file("b/x"), dir("b/c/d/"), file("e/x"), dir("e/"))
	if _, err := artifact.Extract(t.Context(), bytes.NewReader(layer), tarType, out, artifact.Limits{}); err != nil {
		t.Fatal(err)
	}
	var found []string
	err := fs.WalkDir(os.DirFS(out), ".", func(path string, _ fs.DirEntry, err error) error {
		found = append(found, path)
		return err
	})
	if diff := cmp.Diff([]string{".", "a", "b", "b/c", "b/c/d", "b/x", "e", "e/x"}, found); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestADirectoryThatIsInUseIsLeftAlone(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	if err := os.WriteFile(filepath.Join(out, "mine"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := artifact.Extract(t.Context(), bytes.NewReader(gz(archive(file("a")))), gzipType, out, artifact.Limits{})
	var notEmpty *artifact.NotEmptyError
	if !errors.As(err, &notEmpty) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 1 {
		t.Errorf("found %v, %v", left, err)
	}
}

func TestExtractionStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	parent := t.TempDir()
	_, err := artifact.Extract(ctx, bytes.NewReader(gz(archive(file("a")))), gzipType, filepath.Join(parent, "out"), artifact.Limits{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
