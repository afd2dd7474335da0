// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/artifact"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// What a source has fetched is there for others, at the address in its status, as the bytes that its
// status names. After a restart the address is another one, outside of a cluster.
func TestAnArtifactIsServedToOthers(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	layer := archive(t, files(map[string]string{"objects.yaml": configMaps("app", 1)}))
	revision := a.pushLayer(t, "app", "1.0.0", layer)
	a.createSource(t, "app", "1.0.0", nil)
	agent := a.start(t, a.agent)
	a.waitForSource(t, "app", revision)
	first := a.artifactOf(t, "app", "is there", func(*meta.Artifact) error { return nil })
	if want := artifact.DigestOf(layer).String(); first.Digest != want || *first.Size != int64(len(layer)) {
		t.Errorf("the status names %s of %d bytes, not %s of %d", first.Digest, *first.Size, want, len(layer))
	}
	got, err := fetch(t, first.URL)
	if err != nil || !slices.Equal(got, layer) {
		t.Errorf("served were %d bytes, not the %d of the layer (%v)", len(got), len(layer), err)
	}
	for name, url := range map[string]string{
		"another source's": strings.Replace(first.URL, "/app/", "/other/", 1), "the root": first.URL[:strings.Index(first.URL, "/ocirepository")] + "/",
		"out of the store": strings.Replace(first.URL, "/ocirepository/", "/ocirepository/../../", 1),
	} {
		if _, err := fetch(t, url); err == nil {
			t.Errorf("%s is served at %s", name, url)
		}
	}

	agent.Kill()
	a.start(t, a.agent)
	second := a.artifactOf(t, "app", "is served elsewhere", func(now *meta.Artifact) error {
		if now.URL == first.URL {
			return errors.New("the address is the same")
		}
		return nil
	})
	if got, err := fetch(t, second.URL); err != nil || !slices.Equal(got, layer) {
		t.Errorf("served after a restart were %d bytes, not the %d of the layer (%v)", len(got), len(layer), err)
	}
	first.URL = second.URL
	first.LastUpdateTime, second.LastUpdateTime = metav1.Time{}, metav1.Time{}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the artifact changed with the address (-before +after):\n%s", diff)
	}
}

// artifactOf waits until the artifact in a source's status passes a check, and returns it.
func (a *arena) artifactOf(t *testing.T, name, what string, check func(*meta.Artifact) error) *meta.Artifact {
	t.Helper()
	repo := &sourcev1.OCIRepository{}
	a.wait(t, repositoriesResource(), name, what, func(u *unstructured.Unstructured) error {
		if err := convert(u, repo); err != nil {
			return err
		}
		if repo.Status.Artifact == nil {
			return errors.New("there is none")
		}
		return check(repo.Status.Artifact)
	})
	return repo.Status.Artifact
}

func fetch(t *testing.T, url string) ([]byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// Flux's tools, and all that computes a state from conditions as kstatus does, read the status.
func TestAStatusIsReadByTheToolsThatThereAre(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	both := []schema.GroupVersionResource{repositoriesResource(), kustomizationsResource()}
	a.deploy(t, "app", configMaps("app", 3)+deployment("web", "", ""), map[string]any{"wait": true})
	a.deploy(t, "stalled", configMaps("stalled", 1), map[string]any{"namePrefix": "x"})
	a.deploy(t, "waiting", deployment("waiting", badImage, ""), map[string]any{"wait": true, "timeout": "30m"})
	a.createSource(t, "stalled-source", "1.0.0", map[string]any{"ignore": "x"})
	for _, resource := range both {
		if got := a.stateOf(t, resource, "app"); got != kstatus.InProgressStatus {
			t.Errorf("%s: before anybody looked at it the state is %s", resource.Resource, got)
		}
	}
	a.start(t, a.agent)
	ks := a.waitForInventory(t, "app", 4)
	a.waitForReasonOf(t, kustomizationsResource(), "stalled", "UnsupportedField")
	a.waitForReasonOf(t, repositoriesResource(), "stalled-source", "UnsupportedField")
	a.waitForKustomization(t, "waiting", "waits", func(ks *kustomizev1.Kustomization) error {
		if ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition); !strings.Contains(ready.Message, "waiting for health") {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	for _, c := range []struct {
		resource schema.GroupVersionResource
		name     string
		state    kstatus.Status
	}{
		{repositoriesResource(), "app", kstatus.CurrentStatus}, {kustomizationsResource(), "app", kstatus.CurrentStatus},
		{repositoriesResource(), "stalled-source", kstatus.FailedStatus}, {kustomizationsResource(), "stalled", kstatus.FailedStatus},
		{kustomizationsResource(), "waiting", kstatus.InProgressStatus},
	} {
		if got := a.stateOf(t, c.resource, c.name); got != c.state {
			t.Errorf("%s %s: the state is %s, not %s", c.resource.Resource, c.name, got, c.state)
		}
	}

	if ks.Status.ObservedGeneration != ks.Generation || ks.Status.LastAttemptedRevision != ks.Status.LastAppliedRevision {
		t.Errorf("generation %d of %d was observed, %q applied and %q attempted", ks.Status.ObservedGeneration, ks.Generation,
			ks.Status.LastAppliedRevision, ks.Status.LastAttemptedRevision)
	}
	a.inventoryIsTheRecord(t, ks)
	a.publish(t, "app", configMaps("app", 2)+deployment("web", "", ""))
	a.inventoryIsTheRecord(t, a.waitForInventory(t, "app", 3))
	for _, what := range []string{"source/app", "kustomization/app"} {
		kind, name, _ := strings.Cut(what, "/")
		args := map[string][]string{"source": {"get", "sources", "oci", name}, "kustomization": {"get", "kustomizations", name}}[kind]
		if out := a.kustomizer(t, args...); !strings.Contains(out, "True") {
			t.Errorf("kustomizer %s says:\n%s", strings.Join(args, " "), out)
		}
	}
}

// stateOf computes a resource's state from its conditions.
func (a *arena) stateOf(t *testing.T, resource schema.GroupVersionResource, name string) kstatus.Status {
	t.Helper()
	u, err := a.Dynamic.Resource(resource).Namespace(a.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := kstatus.Compute(u)
	if err != nil {
		t.Fatal(err)
	}
	return result.Status
}

// inventoryIsTheRecord compares what Flux's tools read with what the agent goes by.
func (a *arena) inventoryIsTheRecord(t *testing.T, ks *kustomizev1.Kustomization) {
	t.Helper()
	want := map[string]string{}
	for id, entry := range a.recorded(t, ks.Name).Entries {
		want[id.InventoryID()] = entry.Version
	}
	got := map[string]string{}
	for _, e := range ks.Status.Inventory.Entries {
		got[e.ID] = e.Version
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the inventory of %s (-record +status):\n%s", ks.Name, diff)
	}
}

// An interval of nothing, which the definitions allow, would mean never again.
func TestAnIntervalOfNothingIsASecond(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	first := a.push(t, "app", "1.0.0", map[string]string{"objects.yaml": configMaps("app", 1)})
	a.createSource(t, "app", "1.0.0", map[string]any{"interval": "0s"})
	a.createKustomization(t, "app", "app", map[string]any{"targetNamespace": a.Namespace, "interval": "0s", "retryInterval": "0s"})
	a.start(t, a.agent)
	a.waitForReady(t, "app", first)
	a.drift(t, "app-0")
	second := a.push(t, "app", "1.0.0", map[string]string{"objects.yaml": configMaps("app", 2)})
	a.waitForReady(t, "app", second)
	if n := len(a.requests(t, testkit.Verbs("list"), testkit.Resources("configmaps"))); n > 60 {
		t.Errorf("%d lists were asked for: is it looked at all the time?", n)
	}
}
