// SPDX-License-Identifier: Apache-2.0

package object

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// minMasked is the length from which on a value is taken out of a text: shorter ones are too
// common to say anything, and to be secret.
const minMasked = 3

// Mask takes the values of a Secret out of a text about it, such as an API server's refusal, which
// may quote them. The text about any other object stays as it is.
func Mask(u *unstructured.Unstructured, text string) string {
	if u == nil || Of(u).GroupKind() != (schema.GroupKind{Kind: "Secret"}) {
		return text
	}
	var values []string
	for _, field := range []string{"data", "stringData"} {
		m, _ := u.Object[field].(map[string]any)
		for _, v := range m {
			values = append(values, spellings(v)...)
		}
	}
	// The longest first, so that no value is left half because another is a part of it.
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	for _, v := range slices.Compact(values) {
		text = strings.ReplaceAll(text, v, "***")
	}
	return text
}

// spellings returns the forms in which a message may hold a value.
func spellings(v any) []string {
	text, isString := v.(string)
	if !isString {
		text = fmt.Sprint(v)
	}
	forms := []string{text, base64.StdEncoding.EncodeToString([]byte(text))}
	if plain, err := base64.StdEncoding.DecodeString(text); err == nil {
		forms = append(forms, string(plain))
	}
	for _, form := range slices.Clone(forms) {
		quoted := fmt.Sprintf("%q", form)
		forms = append(forms, quoted[1:len(quoted)-1])
	}
	forms = append(forms, strings.Join(strings.Fields(text), " "))
	return slices.DeleteFunc(forms, func(s string) bool { return len(strings.TrimSpace(s)) < minMasked })
}
