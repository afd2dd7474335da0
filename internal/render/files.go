// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
)

// decode reads a file of objects and returns their number.
func (s *scanner) decode(path string) int {
	if n, ok := s.decoded[path]; ok {
		return n
	}
	text, err := s.fs.ReadFile(path)
	if err != nil {
		s.fail(object.Position{File: s.show(path)}, oneLine(err.Error()))
		return 0
	}
	found, err := object.Decode(text, s.show(path))
	if err != nil {
		s.noteAll(err)
	}
	s.remember(path, found)
	return len(found)
}

// remember keeps where objects were found, for messages, and what must not appear in one.
func (s *scanner) remember(path string, found []object.Located) {
	s.decoded[path] = len(found)
	s.objects += len(found)
	for _, l := range found {
		key := placeKey(l.Object.GetKind(), l.Object.GetName())
		s.places[key] = append(s.places[key], l.Position)
		if l.Object.GetKind() == "Secret" {
			s.hideSecret(l.Object)
		}
	}
}

func placeKey(kind, name string) string { return kind + "/" + name }

func (s *scanner) checkSyntax(path string) {
	text, err := s.fs.ReadFile(path)
	if err != nil {
		s.fail(object.Position{File: s.show(path)}, oneLine(err.Error()))
		return
	}
	if err := object.CheckSyntax(text, s.show(path)); err != nil {
		s.noteAll(err)
	}
}

// noteAll notes each of the errors that were joined to one.
func (s *scanner) noteAll(err error) {
	for _, e := range split(err) {
		s.note(e)
	}
}

// hide keeps a text out of all messages. Short ones would make messages unreadable and tell nothing.
func (s *scanner) hide(text string) {
	if text = strings.TrimSpace(text); len(text) >= 4 {
		s.secrets = append(s.secrets, text)
	}
}

func (s *scanner) hideSecret(secret *unstructured.Unstructured) {
	for _, field := range []string{"data", "stringData"} {
		values, _ := secret.Object[field].(map[string]any)
		for _, v := range values {
			if text, ok := v.(string); ok {
				s.hide(text)
			}
		}
	}
}

// hideLines hides the lines of a file that becomes a Secret, and the values in them.
func (s *scanner) hideLines(path string) {
	text, err := s.fs.ReadFile(path)
	if err != nil || len(text) > 1<<20 {
		return // what is larger can't become a Secret
	}
	for line := range strings.Lines(string(text)) {
		s.hide(line)
		if _, value, found := strings.Cut(line, "="); found {
			s.hide(value)
		}
	}
}

// redact removes from a message of kustomize's what came from Secrets, plain or quoted.
func (s *scanner) redact(message string) string {
	longestFirst := slices.SortedFunc(slices.Values(s.secrets), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, secret := range longestFirst {
		quoted := strings.Trim(strconv.Quote(secret), `"`)
		message = strings.ReplaceAll(strings.ReplaceAll(message, secret, "***"), quoted, "***")
	}
	return byteList().ReplaceAllString(message, "[***]") // kustomize prints some texts as bytes
}

func byteList() *regexp.Regexp { return regexp.MustCompile(`\[\d{1,3}( \d{1,3})+\]`) }
