// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/testkit"
)

// hazard is a mistake in what is published, or in a Kustomization, that looks as if objects had been
// removed on purpose.
type hazard struct {
	name  string
	path  string // what is deployed of the artifact; "./deploy" where it is empty
	layer []byte // what the followed tag comes to point to
	wrong string // what spec.path is changed to, where that is the mistake

	failing string // kind of the resource that says so
	reason  string
	says    string // part of its message
}

const (
	aKustomization = "Kustomization"
	aSource        = "OCIRepository"
)

func hazards(t *testing.T) []hazard {
	t.Helper()
	const moved = "elsewhere/objects.yaml"
	tree := func(path, content string) []byte { return archive(t, files(map[string]string{path: content})) }
	link := func(kind byte, to string) []byte {
		entries := files(map[string]string{moved: configMaps("linked", 1)})
		return archive(t, append(entries, entry{Header: tar.Header{Typeflag: kind, Name: "deploy/objects.yaml", Linkname: to}}))
	}
	return []hazard{
		heldHazard("empty-root", archive(t, nil), "the artifact holds no files").at("./"),
		lostHazard("empty-tree", archive(t, nil), `path "./deploy" not found: the artifact holds no files`),
		heldHazard("only-comments", tree("deploy/objects.yaml", "# all gone\n---\n# here too\n"), "only comments or empty documents in 1 YAML file"),
		heldHazard("readme-only", tree("deploy/README.md", "# App\n"), "no YAML files (1 other file)"),
		heldHazard("no-resources", tree("deploy/kustomization.yaml", "resources: []\n"), "the kustomization lists no resources"),
		lostHazard("wrong-path", nil, `path "./deplyo" not found in the artifact`).to("./deplyo"),
		lostHazard("moved-tree", tree(moved, configMaps("moved", 1)), `path "./deploy" not found in the artifact`),
		refusedHazard("hard-link", link(tar.TypeLink, moved), `HardLinkNotAllowed "deploy/objects.yaml"`),
		refusedHazard("symbolic-link", link(tar.TypeSymlink, "../"+moved), `SymlinkNotAllowed "deploy/objects.yaml"`),
		refusedHazard("truncated-tar", truncated(t, "deploy/objects.yaml", configMaps("cut", 1)), "archive refused: Truncated"),
	}
}

// heldHazard renders to nothing, lostHazard can't be rendered, and refusedHazard is never fetched.
func heldHazard(name string, layer []byte, says string) hazard {
	return hazard{name: name, layer: layer, failing: aKustomization, reason: "PruneHeld", says: says}
}

func lostHazard(name string, layer []byte, says string) hazard {
	return hazard{name: name, layer: layer, failing: aKustomization, reason: meta.ArtifactFailedReason, says: says}
}

func refusedHazard(name string, layer []byte, says string) hazard {
	return hazard{name: name, layer: layer, failing: aSource, reason: sourcev1.OCILayerOperationFailedReason, says: says}
}

func (h hazard) at(path string) hazard { h.path = path; return h }

func (h hazard) to(wrong string) hazard { h.wrong = wrong; return h }

// truncated makes an archive whose tar ends within its only file, compressed as if that were all.
func truncated(t *testing.T, name, content string) []byte {
	t.Helper()
	var whole, out bytes.Buffer
	w := tar.NewWriter(&whole)
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	compressed := gzip.NewWriter(&out)
	_, err := compressed.Write(whole.Bytes()[:whole.Len()-10])
	if err := errors.Join(err, compressed.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Whatever the mistake, nothing is deleted, and the resource at fault says what is wrong in words of
// its own.
func TestAMistakeInWhatIsPublishedDeletesNothing(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 10, 50} {
		t.Run(fmt.Sprintf("%d objects", size), func(t *testing.T) {
			t.Parallel()
			a, all := newArena(t), hazards(t)
			for _, h := range all {
				a.deployTree(t, h.name, map[string]string{"deploy/objects.yaml": configMaps(h.name, size)}, h.path)
			}
			a.start(t, a.agent)
			revisions := map[string]string{}
			for _, h := range all {
				ks := a.waitForInventory(t, h.name, size)
				revisions[h.name] = ks.Status.LastAppliedRevision
			}
			before := a.configMapUIDs(t)
			for _, h := range all {
				a.makeMistake(t, h)
			}
			said := map[string]string{}
			for _, h := range all {
				message := a.waitForHazard(t, h, revisions[h.name])
				if other, twice := said[message]; twice {
					t.Errorf("%s and %s are told in the same words: %s", h.name, other, message)
				}
				said[message] = h.name
			}
			if deletions := a.requests(t, testkit.Verbs("delete", "deletecollection")); len(deletions) > 0 {
				t.Errorf("the agent deleted:\n%s", deletions)
			}
			if diff := cmp.Diff(before, a.configMapUIDs(t)); diff != "" {
				t.Errorf("objects changed (-before +after):\n%s", diff)
			}
		})
	}
}

func (a *arena) makeMistake(t *testing.T, h hazard) {
	t.Helper()
	if h.wrong != "" {
		a.patch(t, kustomizationsResource(), h.name, fmt.Sprintf(`{"spec":{"path":%q}}`, h.wrong))
		return
	}
	a.pushLayer(t, h.name, "1.0.0", h.layer)
	a.reconcile(t, repositoriesResource(), h.name)
}

// waitForHazard waits until the mistake is told, and returns how, without what is different for each
// resource anyway.
func (a *arena) waitForHazard(t *testing.T, h hazard, revision string) string {
	t.Helper()
	var message string
	resource := kustomizationsResource()
	if h.failing == aSource {
		resource = repositoriesResource()
	}
	a.wait(t, resource, h.name, "fails by "+h.reason, func(u *unstructured.Unstructured) error {
		ready := readyOf(t, u)
		message = ready.Message
		if ready.Status != metav1.ConditionFalse || ready.Reason != h.reason || !strings.Contains(ready.Message, h.says) {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	if h.failing == aSource { // what runs goes on running, and is told to be ready
		a.waitForReady(t, h.name, revision)
		ks := a.lookAgain(t, h.name)
		if err := readyWith(ks, revision); err != nil {
			t.Errorf("%s: what is deployed is no longer ready: %v", h.name, err)
		}
	}
	return hexadecimal.ReplaceAllString(strings.ReplaceAll(message, h.name, "NAME"), "HEX")
}

// The other side of the same coin: what is removed on purpose goes, and nothing else.
func TestOneRemovedObjectOfTwentyIsPruned(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.deploy(t, "app", configMaps("app", 20), nil)
	a.start(t, a.agent)
	a.waitForInventory(t, "app", 20)
	before := a.configMapUIDs(t)
	revision := a.publish(t, "app", configMaps("app", 19))
	a.waitForReady(t, "app", revision)

	want := maps.Clone(before)
	delete(want, "app-19")
	if diff := cmp.Diff(want, a.configMapUIDs(t)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	deletions := a.requests(t, testkit.Verbs("delete", "deletecollection"))
	if len(deletions) != 1 || deletions[0].Name != "app-19" || deletions[0].UID != string(before["app-19"]) || deletions[0].ResourceVersion == "" {
		t.Errorf("want one deletion of app-19 with uid and resource version, got:\n%s", deletions)
	}
	if n := len(a.recorded(t, "app").Entries); n != 19 {
		t.Errorf("%d objects are on record, not 19", n)
	}
	if a.saidOf(t, aKustomization, "app", "Progressing", "ConfigMap/"+a.Namespace+"/app-19 deleted") == 0 {
		t.Error("no event tells of the deletion")
	}
}

func TestHeldDeletionsAreReleasedByTheirOwnPlanOnly(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.deploy(t, "app", configMaps("app", 3), nil)
	a.deploy(t, "other", configMaps("other", 3), nil)
	agent := a.start(t, a.agent)
	a.waitForInventory(t, "app", 3)
	a.waitForInventory(t, "other", 3)
	before := a.configMapUIDs(t)

	a.push(t, "app", "1.0.0", map[string]string{"deploy/README.md": "nothing"})
	a.reconcile(t, repositoriesResource(), "app")
	first := heldPlan(t, a.waitForReason(t, "app", "PruneHeld"))
	wrong := strings.Map(func(r rune) rune { return map[bool]rune{true: '1', false: '0'}[r == '0'] }, first)
	for _, hash := range []string{wrong, first[:12], "true", "*"} {
		ks := a.approve(t, "app", hash)
		if ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition); ready.Reason != "PruneHeld" {
			t.Fatalf("released by %q: %+v", hash, ready)
		}
	}

	// What was approved was another artifact's plan.
	a.push(t, "app", "1.0.0", map[string]string{"deploy/README.md": "nothing at all"})
	a.reconcile(t, repositoriesResource(), "app")
	second := heldPlan(t, a.waitForKustomization(t, "app", "is held anew", func(ks *kustomizev1.Kustomization) error {
		ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition)
		if ready.Reason != "PruneHeld" || strings.Contains(ready.Message, first) {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	}))
	if ks := a.approve(t, "app", first); heldPlan(t, ks) != second {
		t.Error("the plan changed without reason")
	}
	if deletions := a.requests(t, testkit.Verbs("delete", "deletecollection")); len(deletions) > 0 {
		t.Fatalf("deleted without approval:\n%s", deletions)
	}
	if diff := cmp.Diff(before, a.configMapUIDs(t)); diff != "" {
		t.Fatalf("objects changed (-before +after):\n%s", diff)
	}

	// A restart forgets nothing, and tells nothing twice.
	agent.Kill()
	a.start(t, a.agent)
	if ks := a.lookAgain(t, "app"); heldPlan(t, ks) != second {
		t.Error("another plan is held after a restart")
	}
	told := 0
	for _, e := range a.events(t, aKustomization, "app") {
		if e.Reason == "PruneHeld" {
			told += int(max(e.Count, 1))
		}
	}
	if told != 2 {
		t.Errorf("two plans were held, and told %d times", told)
	}

	a.kustomizer(t, "approve", "prune", "ks/app", "--plan="+second[:12])
	a.waitForKustomization(t, "app", "is ready", func(ks *kustomizev1.Kustomization) error {
		return readyWith(ks, ks.Status.LastAttemptedRevision)
	})
	maps.DeleteFunc(before, func(name string, _ types.UID) bool { return strings.HasPrefix(name, "app-") })
	if diff := cmp.Diff(before, a.configMapUIDs(t)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if n := len(a.requests(t, testkit.Verbs("delete"), testkit.Resources("configmaps"))); n != 3 {
		t.Errorf("%d deletions, not 3", n)
	}
}

func TestTheBrakeHoldsFromItsThresholdsOn(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	cases := []struct {
		name      string
		had, left int
		held      bool
	}{
		{"two-of-three", 3, 1, false},
		{"three-of-five", 5, 2, true},
		{"half-of-six", 6, 3, false},
		{"ten-of-twenty-one", 21, 11, false},
		{"eleven-of-thirty-six", 36, 25, true},
		{"eleven-of-thirty-seven", 37, 26, false},
	}
	for _, c := range cases {
		a.deploy(t, c.name, configMaps(c.name, c.had), nil)
	}
	a.start(t, a.agent)
	for _, c := range cases {
		a.waitForInventory(t, c.name, c.had)
		a.publish(t, c.name, configMaps(c.name, c.left))
	}
	for _, c := range cases {
		want := c.left
		if c.held {
			want = c.had
			ks := a.waitForReason(t, c.name, "PruneHeld")
			says := fmt.Sprintf("%d of %d objects would be deleted", c.had-c.left, c.had)
			if ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition); !strings.Contains(ready.Message, says) {
				t.Errorf("%s: %q does not say %q", c.name, ready.Message, says)
			}
		} else {
			a.waitForInventory(t, c.name, c.left)
		}
		got := slices.Collect(maps.Keys(a.configMapUIDs(t)))
		got = slices.DeleteFunc(got, func(name string) bool { return !strings.HasPrefix(name, c.name+"-") })
		if len(got) != want {
			t.Errorf("%s: %d objects are there, not %d", c.name, len(got), want)
		}
	}
}

// What takes data or other people's objects with it is held however few it is; so is the last
// workload.
func TestWhatIsDearIsHeldAlone(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	const some = 6
	cases := map[string]struct{ object, says string }{
		"claim": {
			"---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data\nspec:\n  accessModes: [ReadWriteOnce]\n  resources:\n    requests:\n      storage: 1Mi\n",
			"protected objects would be deleted: PersistentVolumeClaim/" + a.Namespace + "/data (it holds data)",
		},
		"workload": {deployment("web", "", ""), "the last workload would be deleted"},
	}
	for name, c := range cases {
		a.deploy(t, name, configMaps(name, some)+c.object, nil)
	}
	a.start(t, a.agent)
	for name, c := range cases {
		a.waitForInventory(t, name, some+1)
		a.publish(t, name, configMaps(name, some))
		ks := a.waitForReason(t, name, "PruneHeld")
		if ready := conditionOf(ks.Status.Conditions, meta.ReadyCondition); !strings.Contains(ready.Message, c.says) {
			t.Errorf("%s: %q does not say %q", name, ready.Message, c.says)
		}
	}
	if deletions := a.requests(t, testkit.Verbs("delete", "deletecollection")); len(deletions) > 0 {
		t.Errorf("the agent deleted:\n%s", deletions)
	}
}
