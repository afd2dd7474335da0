// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// intervalsAtRest is how many intervals an agent with nothing to do is watched for.
const intervalsAtRest = 10

// interval is the shortest that makes sense on a busy machine: polls and passes are far shorter.
const interval = time.Second

func TestAtRestItOnlyLooks(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	app := a.Namespace + "-app"
	a.DeleteNamespaceAtEnd(t, app)
	revision := a.push(t, "demo", "latest", treeOf(t, filepath.Join("..", "..", "examples", "demo-app")))
	a.createSource(t, "demo", "latest", map[string]any{"interval": interval.String()})
	a.createKustomization(t, "demo", "demo", map[string]any{
		"interval": interval.String(), "targetNamespace": app, "wait": true,
	})
	a.startElecting(t, a.agent, a.storage)
	a.waitForReady(t, "demo", revision)
	a.waitForRest(t, a.Mark(t))

	a.restsFor(t, intervalsAtRest)

	mark := a.Mark(t)
	a.edit(t, app)
	a.waitForRest(t, mark)
	a.correctedOnce(t, mark, app)
}

// What a hand left can make the server refuse what is wanted: here it would have two ports of one
// name.
func TestAHandEditThatIsInTheWayIsPutBack(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	revision := a.push(t, "app", "latest", map[string]string{
		"service.yaml": "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n    - name: http\n      port: 80\n",
	})
	a.createSource(t, "app", "latest", nil)
	a.createKustomization(t, "app", "app", map[string]any{"interval": interval.String(), "targetNamespace": a.Namespace})
	a.start(t, a.agent)
	a.waitForReady(t, "app", revision)

	mark := a.Mark(t)
	web := a.Dynamic.Resource(services()).Namespace(a.Namespace)
	_, err := web.Patch(t.Context(), "web", types.JSONPatchType,
		[]byte(`[{"op":"replace","path":"/spec/ports/0/port","value":8080}]`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, web, "web", "has its port again", func(u *unstructured.Unstructured) error {
		ports, _, _ := unstructured.NestedSlice(u.Object, "spec", "ports")
		if len(ports) != 1 || ports[0].(map[string]any)["port"] != int64(80) {
			return fmt.Errorf("its ports are %v", ports)
		}
		return nil
	})
	a.waitForReady(t, "app", revision)
	if applies := a.requests(t, testkit.After(mark)).Of(applied); len(applies) != 1 {
		t.Errorf("it was put back by:\n%s", applies)
	}
	for _, e := range a.events(t, "Kustomization", "app") {
		if e.Type == "Warning" {
			t.Errorf("told was %s: %s", e.Reason, e.Message)
		}
	}
}

// treeOf reads a directory.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		out[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// aLookAtRest is all that one pass over the demo app asks for: the record, and one list for each of
// the app's kinds.
func aLookAtRest() []string {
	return []string{
		"list configmaps", "list deployments", "list horizontalpodautoscalers", "list namespaces",
		"list record", "list services",
	}
}

// looks splits what the agent asked for into passes: each begins with reading the record. What came
// before the first one is dropped.
func looks(requests testkit.Requests) [][]string {
	var out [][]string
	for _, r := range requests.Without("leases", "events") {
		line := strings.TrimSpace(r.Verb + " " + r.Resource)
		if r.Subresource != "" {
			line += "/" + r.Subresource
		}
		if r.DryRun {
			line += " (dry-run)"
		}
		if line == "list configmaps" && strings.Contains(r.URI, "kustomizer.dev%2Frecord") {
			line = "list record"
			out = append(out, nil)
		}
		if len(out) > 0 {
			out[len(out)-1] = append(out[len(out)-1], line)
		}
	}
	for _, l := range out {
		slices.Sort(l)
	}
	return out
}

// waitForRest waits until the latest whole passes since a mark did nothing but look.
func (a *arena) waitForRest(t *testing.T, mark testkit.Mark) {
	t.Helper()
	const enough = 3
	testkit.Eventually(t, "coming to rest", converges, func() error {
		passes := looks(a.requests(t, testkit.After(mark)))
		if len(passes) <= enough {
			return fmt.Errorf("only %d passes were made", len(passes))
		}
		for _, pass := range passes[len(passes)-1-enough : len(passes)-1] {
			if diff := cmp.Diff(aLookAtRest(), pass); diff != "" {
				return fmt.Errorf("a pass (-want +got):\n%s", diff)
			}
		}
		return nil
	})
}

// restsFor watches an agent at rest for some intervals: it asks the registry for one digest each,
// the API server for what a look needs, and writes nothing but its Leases.
func (a *arena) restsFor(t *testing.T, intervals int) {
	t.Helper()
	mark, polled, began := a.Mark(t), len(a.repositories.Requests(t)), time.Now()
	testkit.Eventually(t, "making passes", 10*converges, func() error {
		if n := len(looks(a.requests(t, testkit.After(mark)))); n <= intervals {
			return fmt.Errorf("%d were made", n)
		}
		return nil
	})
	took := time.Since(began)
	polls, requests := a.repositories.Requests(t)[polled:], a.requests(t, testkit.After(mark))

	most := int(took/interval) + 1
	passes := looks(requests)
	passes = passes[:len(passes)-1] // the last one may have been under way
	for i, pass := range passes {
		if diff := cmp.Diff(aLookAtRest(), pass); diff != "" {
			t.Errorf("pass %d (-want +got):\n%s", i+1, diff)
		}
	}
	if len(passes) > most {
		t.Errorf("%d passes were made within %s at an interval of %s", len(passes), took, interval)
	}
	if writes := requests.Writes().Without("leases"); len(writes) > 0 {
		t.Errorf("at rest it wrote:\n%s", writes)
	}
	if renewals := requests.Of(testkit.Resources("leases")); len(renewals.Of(testkit.Not(testkit.Verbs("update")))) > 0 {
		t.Errorf("its Leases cost more than their renewal:\n%s", renewals)
	}
	if watches := requests.Of(testkit.Verbs("watch")); len(watches) > 0 {
		t.Errorf("it began to watch anew:\n%s", watches)
	}
	head := "HEAD /v2/" + a.repositories.Prefix + "/demo/manifests/latest -> 200"
	for _, p := range polls {
		if p.String() != head {
			t.Errorf("the registry was asked for %s", p)
		}
	}
	if len(polls) < intervals || len(polls) > most {
		t.Errorf("the registry was asked %d times within %s at an interval of %s", len(polls), took, interval)
	}
	t.Logf("in %s: %d passes of %d requests, %d polls, %d Lease renewals", took.Round(time.Millisecond),
		len(passes), len(aLookAtRest()), len(polls), len(requests.Of(testkit.Resources("leases"))))
}

// edit changes a field of the app by hand.
func (a *arena) edit(t *testing.T, namespace string) {
	t.Helper()
	_, err := a.Dynamic.Resource(services()).Namespace(namespace).Patch(t.Context(), "cache", types.JSONPatchType,
		[]byte(`[{"op":"replace","path":"/spec/ports/0/targetPort","value":6380}]`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	if err != nil {
		t.Fatal(err)
	}
}

func services() schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: "services"}
}

// applied chooses server-side applies.
func applied(r testkit.Request) bool {
	return r.Verb == "patch" && !r.DryRun && strings.Contains(r.URI, "force=true")
}

// correctedOnce checks that the edit was put back by one apply, and told by one event.
func (a *arena) correctedOnce(t *testing.T, mark testkit.Mark, namespace string) {
	t.Helper()
	live, err := a.Dynamic.Resource(services()).Namespace(namespace).Get(t.Context(), "cache", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ports, _, _ := unstructured.NestedSlice(live.Object, "spec", "ports")
	if len(ports) != 1 || ports[0].(map[string]any)["targetPort"] != "redis" {
		t.Errorf("the Service's ports are %v", ports)
	}
	requests := a.requests(t, testkit.After(mark))
	writes := requests.Writes().Without("leases", "events")
	edited := func(r testkit.Request) bool {
		return r.Resource == "services" && r.Name == "cache" && r.Verb == "patch"
	}
	if applies := writes.Of(applied); len(applies) != 1 || len(applies.Of(edited)) != 1 || applies[0].Code != 200 {
		t.Errorf("the edit was put back by:\n%s", applies)
	}
	// Beside it: the edit's manager loses its fields, and the record learns how the object is now.
	others := writes.Of(testkit.Not(applied))
	if len(others.Of(edited)) > 1 || len(others.Of(testkit.Not(edited)).Without("configmaps")) > 0 || len(others.Of(testkit.Resources("configmaps"))) > 1 {
		t.Errorf("beside the apply it wrote:\n%s", others)
	}
	if rehearsed := requests.Of(func(r testkit.Request) bool { return r.DryRun }); len(rehearsed) > 1 || len(rehearsed.Of(testkit.Not(edited))) > 0 {
		t.Errorf("rehearsed was:\n%s", rehearsed)
	}
	testkit.Eventually(t, "an event", converges, func() error {
		var told []string
		for _, e := range a.events(t, "Kustomization", "demo") {
			if e.Reason == "DriftCorrected" {
				told = append(told, fmt.Sprintf("%d times %s", e.Count, e.Message))
			}
		}
		if want := []string{"1 times Service/" + namespace + "/cache corrected"}; !slices.Equal(told, want) {
			return fmt.Errorf("told was %q", told)
		}
		return nil
	})
}
