// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestAListIsDecodedAsByPackageUnstructured(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"built in": `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"x"},"items":[{"metadata":{"name":"a"},"n":1,"f":1.5},{"metadata":{"name":"b"}}]}`,
		"custom":   `{"kind":"ThingList","apiVersion":"x.io/v1","metadata":{},"items":[{"kind":"Thing","apiVersion":"x.io/v1","metadata":{"name":"a"},"Kind":"other"}]}`,
		"mixed":    `{"kind":"List","apiVersion":"v1","items":[{"kind":"Pod","apiVersion":"v1"},{"kind":"Node"}]}`,
		"empty":    `{"kind":"PodList","apiVersion":"v1","items":[]}`,
		"null":     `{"kind":"PodList","apiVersion":"v1","items":null}`,
		"large":    listOf(200),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := &unstructured.UnstructuredList{}
			if err := want.UnmarshalJSON([]byte(body)); err != nil {
				t.Fatal(err)
			}
			got, err := decodeList([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestWhatIsNoObjectOrListIsRefused(t *testing.T) {
	t.Parallel()
	for body, says := range map[string]string{
		``: "unexpected end", `{`: "unexpected end", `null`: "kind", `[]`: "array", `{}`: "kind", `{"kind":""}`: "kind",
		`{"kind":7}`: "kind", `{"kind":"Pod"} {}`: "after top-level value",
	} {
		if _, err := decodeObject([]byte(body)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the object %s gives %v, which does not say %q", body, err, says)
		}
		if _, err := decodeList([]byte(body)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the list %s gives %v, which does not say %q", body, err, says)
		}
	}
	for body, says := range map[string]string{
		`{"kind":"Status","apiVersion":"v1","status":"Failure"}`: `no list, but of kind "Status"`,
		`{"kind":"PodList","items":{}}`:                          `no list`,
		`{"kind":"PodList","items":[{},7]}`:                      "item 1 is no object",
	} {
		if _, err := decodeList([]byte(body)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the list %s gives %v, which does not say %q", body, err, says)
		}
	}
}

// listOf writes a list as the server sends it.
func listOf(n int) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(`{"metadata":{"name":"app-%d","namespace":"apps","uid":"8f2c2b1e-%d","resourceVersion":"%d","labels":{"app":"app-%[1]d"},
			"managedFields":[{"manager":"kustomizer","operation":"Apply","apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{},"f:selector":{}}}}]},
			"spec":{"replicas":%[1]d,"selector":{"matchLabels":{"app":"app-%[1]d"}},"template":{"spec":{"containers":[{"name":"app","image":"ghcr.io/org/app:1.%[1]d.0",
			"ports":[{"name":"http","containerPort":8080}],"resources":{"requests":{"cpu":"10m","memory":"16Mi"}}}]}}},"status":{"observedGeneration":1}}`, i, i, i)
	}
	return `{"kind":"DeploymentList","apiVersion":"apps/v1","metadata":{"resourceVersion":"77"},"items":[` + strings.Join(items, ",") + `]}`
}

func BenchmarkDecodeList(b *testing.B) {
	body := []byte(listOf(500))
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := decodeList(body); err != nil {
			b.Fatal(err)
		}
	}
}
