// SPDX-License-Identifier: Apache-2.0

package secrets_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/secrets"
)

// value is one that SOPS made.
const value = "ENC[AES256_GCM,data:p673w==,iv:YY=,tag:UQ=,type:str]"

func objects(t *testing.T, manifest string) []*unstructured.Unstructured {
	t.Helper()
	located, err := object.Decode([]byte(manifest), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, l := range located {
		out = append(out, l.Object)
	}
	return out
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestWhatSOPSEncryptedIsRefused(t *testing.T) {
	t.Parallel()
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: apps}\n"
	custom := "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n"
	disabled := "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t, annotations: {kustomize.toolkit.fluxcd.io/decrypt: disabled}}\n"
	for name, c := range map[string]struct{ manifest, want string }{
		"stanza":                       {secret + "sops: {mac: x, version: 3.9.0}\n", "Secret/apps/s (sops)"},
		"stanza without values":        {secret + "sops: {lastmodified: x, version: 3.9.0}\n", "Secret/apps/s (sops)"},
		"value":                        {secret + "stringData: {a: b, password: \"" + value + "\"}\n", "Secret/apps/s (stringData.password)"},
		"value, encoded":               {secret + "data: {password: " + encoded(value) + "}\n", "Secret/apps/s (data.password)"},
		"file of YAML":                 {secret + "data: {a.yaml: " + encoded("password: "+value+"\nsops:\n    mac: x\n") + "}\n", `Secret/apps/s (data["a.yaml"])`},
		"file of JSON":                 {secret + "data: {a.json: " + encoded("{\"password\": \""+value+"\", \"sops\": {}}") + "}\n", `Secret/apps/s (data["a.json"])`},
		"file of variables":            {secret + "data: {a.env: " + encoded("P="+value+"\nsops_mac=x\n") + "}\n", `Secret/apps/s (data["a.env"])`},
		"file of settings":             {secret + "data: {a.ini: " + encoded("[a]\nP="+value+"\n[sops]\nmac=x\n") + "}\n", `Secret/apps/s (data["a.ini"])`},
		"stanza in another kind":       {custom + "sops: {mac: x}\n", "Thing/t (sops)"},
		"value in another kind":        {custom + "spec: {list: [a, {b: \"" + value + "\"}]}\n", "Thing/t (spec.list[1].b)"},
		"another kind that wants it":   {disabled + "spec: {b: \"" + value + "\"}\nsops: {mac: x}\n", ""},
		"Secret that wants it":         {strings.Replace(secret, "{name: s,", "{name: s, labels: {kustomize.toolkit.fluxcd.io/decrypt: disabled},", 1) + "sops: {mac: x}\n", "Secret/apps/s (sops)"},
		"benign: plain Secret":         {secret + "data: {a: " + encoded("hunter2") + "}\n", ""},
		"benign: not base64":           {secret + "data: {a: \"%\"}\n", ""},
		"benign: field of that name":   {custom + "sops: {enabled: true}\n", ""},
		"benign: text about SOPS":      {custom + "doc: \"a value looks like " + value + "\"\n", ""},
		"benign: file that names SOPS": {secret + "data: {a.yaml: " + encoded("sops: true\n") + "}\n", ""},
	} {
		err := secrets.RefuseEncrypted(objects(t, c.manifest))
		var refused *secrets.EncryptedError
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: refused: %v", name, err)
		case c.want != "" && !errors.As(err, &refused):
			t.Errorf("%s: got %v", name, err)
		case c.want != "":
			if diff := cmp.Diff([]string{c.want}, refused.Places); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if strings.Contains(err.Error(), "ENC[") {
				t.Errorf("%s: the error quotes the value: %v", name, err)
			}
		}
	}
}

func TestManyEncryptedObjectsAreToldShortly(t *testing.T) {
	t.Parallel()
	var manifest strings.Builder
	for i := range 12 {
		fmt.Fprintf(&manifest, "apiVersion: v1\nkind: Secret\nmetadata: {name: s%02d}\nsops: {mac: x}\n---\n", i)
	}
	err := secrets.RefuseEncrypted(objects(t, manifest.String()))
	var refused *secrets.EncryptedError
	if !errors.As(err, &refused) || len(refused.Places) != 10 || refused.More != 2 || refused.Places[0] != "Secret/s00 (sops)" {
		t.Errorf("got %v", err)
	}
}
