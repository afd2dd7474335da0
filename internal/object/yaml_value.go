// SPDX-License-Identifier: Apache-2.0

package object

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v4"
)

// convert returns a document's value, or nil if something is wrong with it, which it has then noted.
// The values are those that JSON knows and that kubectl reads from the same text.
func (r *reader) convert(root *node) any {
	before := len(r.errs)
	value := r.value((*yaml.Node)(root), 1)
	if len(r.errs) > before {
		return nil
	}
	return value
}

func (r *reader) value(n *yaml.Node, depth int) any {
	if depth > maxDepth {
		r.failAt(n, fmt.Sprintf("nested deeper than %d levels", maxDepth))
		return nil
	}
	if len(r.expanding) > 0 && !r.spend(n) {
		return nil
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.alias(n, func(target *yaml.Node) any { return r.value(target, depth) })
	case yaml.MappingNode:
		return r.mapping(n, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			list = append(list, r.value(item, depth+1))
		}
		return list
	default:
		value, reason := scalar(n)
		if reason != "" {
			r.failAt(n, reason)
		}
		return value
	}
}

// alias visits what an alias stands for. An alias within its own anchor has no value.
func (r *reader) alias(n *yaml.Node, visit func(*yaml.Node) any) any {
	target := n.Alias
	if target == nil || r.expanding[target] {
		r.failAt(n, "an alias stands for something that contains it")
		return nil
	}
	r.expanding[target] = true
	defer delete(r.expanding, target)
	return visit(target)
}

// spend takes what a node within an alias adds to the text from what aliases may add in all.
func (r *reader) spend(n *yaml.Node) bool {
	if r.aliases < 0 {
		return false
	}
	r.aliases -= len(n.Value) + 1
	if r.aliases < 0 {
		r.failAt(n, fmt.Sprintf("aliases enlarge the file more than %d times", aliasFactor))
		return false
	}
	return true
}

func (r *reader) mapping(n *yaml.Node, depth int) map[string]any {
	out := make(map[string]any, len(n.Content)/2)
	lines := make(map[string]int, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		name, ok := r.key(key)
		if !ok {
			continue
		}
		if first, twice := lines[name]; twice {
			r.failAt(key, r.duplicate(name, first))
			continue
		}
		lines[name] = r.line + key.Line
		out[name] = r.value(value, depth+1)
	}
	for _, m := range merged {
		r.merge(m, out, depth)
	}
	return out
}

// merge adds the fields of a merge key (<<) that the mapping doesn't set itself.
func (r *reader) merge(n *yaml.Node, into map[string]any, depth int) {
	switch n.Kind {
	case yaml.AliasNode:
		r.alias(n, func(target *yaml.Node) any { r.merge(target, into, depth); return nil })
	case yaml.SequenceNode:
		for _, item := range n.Content {
			r.merge(item, into, depth)
		}
	case yaml.MappingNode:
		fields, _ := r.value(n, depth).(map[string]any)
		for key, value := range fields {
			if _, set := into[key]; !set {
				into[key] = value
			}
		}
	default:
		r.failAt(n, "a merge key needs a mapping or a list of mappings")
	}
}

func (r *reader) key(n *yaml.Node) (string, bool) {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		r.failAt(n, "a key must be a text")
		return "", false
	}
	value, reason := scalar(n)
	if reason != "" {
		r.failAt(n, reason)
		return "", false
	}
	switch v := value.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case bool:
		return strconv.FormatBool(v), true
	default:
		r.failAt(n, "a key must be a text")
		return "", false
	}
}

func (r *reader) duplicate(name string, first int) string {
	if r.secret {
		return fmt.Sprintf("a key is given twice, first in line %d", first)
	}
	return fmt.Sprintf("key %q is given twice, first in line %d", name, first)
}

func (r *reader) failAt(n *yaml.Node, reason string) { r.fail((*node)(n), reason) }

// scalar returns the value of a scalar, or the reason why it has none.
func scalar(n *yaml.Node) (any, string) {
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return nil, ""
	case "!!str":
		return text(n), ""
	case "!!timestamp", "!!merge":
		return n.Value, ""
	case "!!bool":
		var b bool
		if n.Decode(&b) != nil {
			return nil, "neither true nor false"
		}
		return b, ""
	case "!!int", "!!float":
		return number(n)
	case "!!binary":
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil || !utf8.Valid(raw) {
			return nil, "binary data that is no text"
		}
		return string(raw), ""
	default:
		return nil, fmt.Sprintf("tag %s has no meaning in a Kubernetes object", tag)
	}
}

// text returns a string, except for the plain words that YAML 1.1 and kubectl read as booleans.
func text(n *yaml.Node) any {
	if n.Style&(yaml.TaggedStyle|yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return n.Value
	}
	switch n.Value {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return true
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return false
	}
	return n.Value
}

func number(n *yaml.Node) (any, string) {
	var v any
	if n.Decode(&v) != nil {
		return nil, "no number"
	}
	switch v := v.(type) {
	case int:
		return int64(v), ""
	case int64:
		return v, ""
	case uint64:
		return float64(v), ""
	case float64:
		return float(v)
	default:
		return nil, "no number"
	}
}

// float returns a number as it would be after a journey through JSON, where 1.0 is 1.
func float(f float64) (any, string) {
	switch {
	case math.IsNaN(f), math.IsInf(f, 0):
		return nil, "a number that JSON can't express"
	case f == math.Trunc(f) && math.Abs(f) < 1<<63:
		return int64(f), ""
	default:
		return f, ""
	}
}
