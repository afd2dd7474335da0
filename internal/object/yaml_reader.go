// SPDX-License-Identifier: Apache-2.0

package object

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v4"
)

const (
	maxErrors   = 10       // errors reported of one file
	maxDepth    = 100      // mappings and lists within each other
	aliasFactor = 10       // by how much aliases may enlarge a file
	maxFile     = 64 << 20 // bytes of one file
)

// node is a YAML node, or nil where a position is asked of something that isn't there.
type node yaml.Node

// reader turns the text of one file into values and remembers what is wrong with it.
type reader struct {
	file      string
	line      int // lines before the part that is being read
	aliases   int // bytes that aliases may still add
	expanding map[*yaml.Node]bool
	secret    bool // the document may be a Secret: its keys are not quoted either
	found     []Located
	errs      []error
	foreign   []error
}

func newReader(data []byte, file string) *reader {
	return &reader{file: file, aliases: aliasFactor * len(data), expanding: map[*yaml.Node]bool{}}
}

// documents calls each for the content of every document. Behind a document that can't be read it
// goes on with the next.
func (r *reader) documents(data []byte, each func(*node)) {
	if len(data) > maxFile {
		r.errs = append(r.errs, &SyntaxError{Position: Position{File: r.file}, Reason: fmt.Sprintf("larger than %d MiB", maxFile>>20)})
		return
	}
	if at, reason := forbidden(data); reason != "" {
		r.errs = append(r.errs, &SyntaxError{Position: r.offset(data, at), Reason: reason})
		return
	}
	for len(data) > 0 && len(r.errs) < maxErrors {
		err := r.stream(data, each)
		if err == nil {
			return
		}
		var skipped int
		data, skipped = nextDocument(data, r.syntax(err, data)-r.line)
		r.line += skipped
	}
}

// stream reads documents up to the end or to the first that is no YAML.
func (r *reader) stream(data []byte, each func(*node)) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for len(r.errs) < maxErrors {
		var doc yaml.Node
		if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(doc.Content) == 1 && doc.Content[0].ShortTag() != "!!null" {
			r.secret = mayBeSecret(doc.Content[0])
			each((*node)(doc.Content[0]))
		}
	}
	return nil
}

// syntax notes the YAML library's error about data and returns its line.
func (r *reader) syntax(err error, data []byte) int {
	pos, reason := Position{File: r.file, Line: r.line + 1}, "no valid YAML"
	var load *yaml.LoadError
	if errors.As(err, &load) {
		end := bytes.Count(bytes.TrimSpace(data), []byte("\n")) + 1
		mark := load.Mark
		if load.ContextMark.Line > 0 && mark.Line > end {
			mark = load.ContextMark // where something begins that isn't closed helps more than the end
		}
		if mark.Line > 0 {
			pos.Line, pos.Column = r.line+min(mark.Line, end), mark.Column
		}
		reason = plain(load)
	}
	r.errs = append(r.errs, &SyntaxError{Position: pos, Reason: reason})
	return pos.Line
}

// plain returns the library's message without anything that it quotes from the file.
func plain(e *yaml.LoadError) string {
	if strings.Contains(e.Message, "unknown anchor") {
		return "an alias names an anchor that isn't set before it"
	}
	if e.ContextMsg == "" {
		return e.Message
	}
	return e.Message + " " + e.ContextMsg
}

func (r *reader) fail(at *node, reason string) {
	if len(r.errs) < maxErrors {
		r.errs = append(r.errs, &SyntaxError{Position: r.position(at), Reason: reason})
	}
}

func (r *reader) notObject(at *node, reason string, kustomize bool) {
	if len(r.foreign) < maxErrors {
		r.foreign = append(r.foreign, &SyntaxError{Position: r.position(at), Reason: reason, NotObject: true, KustomizeConfig: kustomize})
	}
}

func (r *reader) err() error {
	all := append(r.errs, r.foreign...)
	return join(all[:min(len(all), maxErrors)])
}

func (r *reader) position(at *node) Position {
	if at == nil {
		return Position{File: r.file}
	}
	return Position{File: r.file, Line: r.line + at.Line, Column: at.Column}
}

func (r *reader) offset(data []byte, at int) Position {
	before := data[:at]
	line := bytes.Count(before, []byte("\n"))
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return Position{File: r.file, Line: line + 1, Column: column + 1}
}

// forbidden finds the first character that YAML doesn't allow.
func forbidden(data []byte) (int, string) {
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && size <= 1:
			return i, "not UTF-8"
		case c < 0x20 && c != '\t' && c != '\n' && c != '\r', c == 0x7f, c >= 0x80 && c < 0xa0 && c != 0x85, c == 0xfffe, c == 0xffff:
			return i, fmt.Sprintf("control character U+%04X", c)
		}
		i += size
	}
	return 0, ""
}

// nextDocument returns the text from the first line of dashes at or behind a line, but never from
// its own first line, and the number of lines that it left out.
func nextDocument(data []byte, line int) ([]byte, int) {
	skipped := 0
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			return nil, skipped
		}
		data = data[end+1:]
		skipped++
		if skipped+1 >= line && bytes.HasPrefix(data, []byte("---")) {
			return data, skipped
		}
	}
}

// mayBeSecret reports whether a document is a Secret, or a list that may hold one.
func mayBeSecret(root *yaml.Node) bool {
	kind := (*node)(root).field("kind")
	return kind != nil && (kind.Value == "Secret" || strings.HasSuffix(kind.Value, "List"))
}

func (n *node) resolve() *node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = (*node)(n.Alias)
	}
	return n
}

func (n *node) has(key string) bool { return n.lookup(key) != nil }

func (n *node) lookup(key string) *node {
	m := n.resolve()
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return (*node)(m.Content[i+1])
		}
	}
	return nil
}

// field returns the value under a key, or the mapping itself where there is none: the place at which
// to report that it is missing.
func (n *node) field(key string) *node {
	if v := n.lookup(key); v != nil {
		return v
	}
	return n
}

func (n *node) item(i int) *node {
	list := n.resolve()
	if list == nil || list.Kind != yaml.SequenceNode || i >= len(list.Content) {
		return n
	}
	return (*node)(list.Content[i])
}

// flatten returns the errors that were joined to err.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	return joined.Unwrap()
}

// join returns nil for no error, the error itself for one.
func join(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
