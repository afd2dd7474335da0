// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
)

// DecryptKey is Flux's label and annotation with which an object says, by the value disabled, that what
// SOPS has encrypted in it is not to be decrypted.
const DecryptKey = "kustomize.toolkit.fluxcd.io/decrypt"

// EncryptedError says that objects hold values that SOPS has encrypted. Applied as they are, the
// ciphertext would be taken for the value.
type EncryptedError struct {
	Places []string // object and field, sorted; ten at most
	More   int      // that are not listed
}

// Error names the places.
func (e *EncryptedError) Error() string {
	s := "encrypted with SOPS, which this version does not decrypt: " + strings.Join(e.Places, ", ")
	if e.More > 0 {
		s += fmt.Sprintf(", and %d more", e.More)
	}
	return s
}

// RefuseEncrypted returns an [EncryptedError] if there are values that SOPS has encrypted. An object
// that is meant to be applied so, since something in the cluster decrypts it, says so by [DecryptKey];
// a Secret can't.
func RefuseEncrypted(objs []*unstructured.Unstructured) error {
	const most = 10
	var places []string
	for _, u := range objs {
		if at := encryptedAt(u); at != "" && (isSecret(u) || !optedOut(u)) {
			places = append(places, object.Of(u).String()+" ("+at+")")
		}
	}
	if len(places) == 0 {
		return nil
	}
	slices.Sort(places)
	shown := places[:min(len(places), most)]
	return &EncryptedError{Places: shown, More: len(places) - len(shown)}
}

// HasEncrypted says whether SOPS has encrypted anything in an object.
func HasEncrypted(u *unstructured.Unstructured) bool { return encryptedAt(u) != "" }

// encryptedAt returns the first field of an object that SOPS has encrypted, or that tells of it.
func encryptedAt(u *unstructured.Unstructured) string {
	if metadata, ok := u.Object["sops"].(map[string]any); ok && describesEncryption(metadata) {
		return "sops"
	}
	if isSecret(u) {
		if at := encryptedData(u); at != "" {
			return at
		}
	}
	return encryptedValue(u.Object, "")
}

func isSecret(u *unstructured.Unstructured) bool {
	return u.GetKind() == "Secret" && u.GroupVersionKind().Group == ""
}

func optedOut(u *unstructured.Unstructured) bool {
	return strings.EqualFold(u.GetLabels()[DecryptKey], "disabled") || strings.EqualFold(u.GetAnnotations()[DecryptKey], "disabled")
}

// describesEncryption recognises the stanza that SOPS adds to a file.
func describesEncryption(metadata map[string]any) bool {
	_, mac := metadata["mac"]
	_, modified := metadata["lastmodified"]
	_, version := metadata["version"]
	return mac || modified && version
}

// encryptedData looks for whole files that SOPS has encrypted in what a Secret holds.
func encryptedData(u *unstructured.Unstructured) string {
	for _, field := range []string{"data", "stringData"} {
		values, _ := u.Object[field].(map[string]any)
		keys := make([]string, 0, len(values))
		for key := range values {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			text, _ := values[key].(string)
			if field == "data" {
				raw, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					continue
				}
				text = string(raw)
			}
			if isFile(text) || isValue(text) {
				return field + at(key)
			}
		}
	}
	return ""
}

// isFile recognises a file that SOPS has encrypted, in any of its formats.
func isFile(text string) bool {
	stanza := regexp.MustCompile(`(?m)"sops"\s*:|^[ \t]*(sops[ \t]*:|sops_(mac|version)[ \t]*=|\[sops\])`)
	return strings.Contains(text, valueStart) && stanza.MatchString(text)
}

const valueStart = "ENC[AES256_GCM,data:"

// isValue recognises one value that SOPS has encrypted.
func isValue(s string) bool {
	s = strings.TrimSpace(s)
	return strings.HasPrefix(s, valueStart) && strings.HasSuffix(s, "]") && strings.Contains(s, ",tag:")
}

// encryptedValue returns the first field, in the order of names, that is a value that SOPS encrypted.
func encryptedValue(v any, path string) string {
	switch v := v.(type) {
	case string:
		if isValue(v) {
			return path
		}
	case []any:
		for i, item := range v {
			if found := encryptedValue(item, path+"["+strconv.Itoa(i)+"]"); found != "" {
				return found
			}
		}
	case map[string]any:
		first := ""
		for key, item := range v {
			if found := encryptedValue(item, strings.TrimPrefix(path+at(key), ".")); found != "" && (first == "" || found < first) {
				first = found
			}
		}
		return first
	}
	return ""
}

// at shows the name of a field, quoted where it is none of the usual ones.
func at(key string) string {
	if strings.Trim(strings.ToLower(key), "abcdefghijklmnopqrstuvwxyz0123456789_-") == "" {
		return "." + key
	}
	return "[" + strconv.Quote(key) + "]"
}
