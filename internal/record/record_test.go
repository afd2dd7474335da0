// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
	"github.com/kustomizer/kustomizer/internal/record"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

type entries = map[object.ID]plan.Entry

// world is a namespace with the record of one owner.
type world struct {
	*testkit.Env
	t       *testing.T
	cluster *cluster.Cluster
	owner   plan.Owner
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	env := testkit.Cluster(t)
	return &world{Env: env, t: t, cluster: connect(t, env.Config), owner: plan.Kustomization(env.Namespace, "app")}
}

func connect(t *testing.T, config *rest.Config) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Connect(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) load() *record.Record {
	w.t.Helper()
	r, err := record.Load(w.t.Context(), w.cluster, w.owner, w.Namespace)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) save(r *record.Record, h record.Head, e entries) {
	w.t.Helper()
	if err := r.Save(w.t.Context(), w.cluster, h, e); err != nil {
		w.t.Fatal(err)
	}
}

// chunks returns the record's ConfigMaps, by name.
func (w *world) chunks() map[string]corev1.ConfigMap {
	w.t.Helper()
	list, err := w.Kube.CoreV1().ConfigMaps(w.Namespace).List(w.t.Context(), metav1.ListOptions{LabelSelector: "kustomizer.dev/record"})
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]corev1.ConfigMap{}
	for _, cm := range list.Items {
		out[cm.Name] = cm
	}
	return out
}

// edit changes the n-th ConfigMap of the record by hand.
func (w *world) edit(n int, change func(data map[string]string)) {
	w.t.Helper()
	chunks := w.chunks()
	cm := chunks[slices.Sorted(maps.Keys(chunks))[n]]
	change(cm.Data)
	if _, err := w.Kube.CoreV1().ConfigMaps(w.Namespace).Update(w.t.Context(), &cm, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func id(i int) object.ID {
	return object.ID{Kind: "ConfigMap", Namespace: "shop", Name: fmt.Sprintf("cm-%04d", i)}
}

// some returns the entries from one number up to another, or every n-th of them.
func some(from, to int, every ...int) entries {
	out := entries{}
	step := 1
	if len(every) > 0 {
		step = every[0]
	}
	for i := from; i < to; i += step {
		out[id(i)] = plan.Entry{ID: id(i), Version: "v1", UID: fmt.Sprintf("uid-%d", i), Desired: strings.Repeat("d", 32), Live: strings.Repeat("l", 32)}
	}
	return out
}

func TestRecordKeepsEverything(t *testing.T) {
	w := newWorld(t)
	r := w.load()
	if r.Exists || len(r.Entries) != 0 || r.Degraded() != "" {
		t.Fatalf("before the first save: %+v", r)
	}
	want := entries{}
	for _, e := range []plan.Entry{
		{ID: object.ID{Kind: "Namespace", Name: "shop"}, Version: "v1", UID: "u1", Desired: "d", Live: "l"},
		{ID: object.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web.v1"}, Version: "v1", Pending: true},
		{ID: object.ID{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "system:shop"}, Version: "v1", Retained: true, UID: "u2"},
		{ID: object.ID{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "a__b_c:d"}, Version: "v1", Unproven: true},
	} {
		want[e.ID] = e
	}
	head := record.Head{Cluster: "c", Digest: "sha256:x", Revision: "main@sha1:x"}
	w.save(r, head, want)
	got := w.load()
	if diff := cmp.Diff(want, got.Entries); diff != "" || got.Head != head || !got.Exists || got.Degraded() != "" {
		t.Errorf("entries (-want +got):\n%s\nhead %+v, damage %q", diff, got.Head, got.Damage)
	}
	if err := got.Delete(t.Context(), w.cluster); err != nil {
		t.Fatal(err)
	}
	if got := w.load(); got.Exists || len(w.chunks()) != 0 {
		t.Errorf("after the deletion: %+v", got)
	}
}

func TestOwnersDoNotShareRecords(t *testing.T) {
	w := newWorld(t)
	w.save(w.load(), record.Head{}, some(0, 3))
	for _, owner := range []plan.Owner{
		plan.Kustomization(w.Namespace, "app2"), plan.Kustomization("other", "app"), plan.Inventory(w.Namespace, "app"),
	} {
		r, err := record.Load(t.Context(), w.cluster, owner, w.Namespace)
		if err != nil || r.Exists {
			t.Errorf("%s has a record (%v)", owner, err)
		}
	}
}

func TestLongNamesMakeValidRecords(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{strings.Repeat("a", 253), strings.Repeat("a", 39) + "." + strings.Repeat("b", 60), strings.Repeat("a", 39) + "-" + strings.Repeat("b", 60)} {
		w.owner = plan.Kustomization(w.Namespace, name)
		w.save(w.load(), record.Head{}, some(0, 1))
		if r := w.load(); len(r.Entries) != 1 || r.Degraded() != "" {
			t.Errorf("%s: %q", name, r.Damage)
		}
	}
}

func TestEntriesStayInTheirChunk(t *testing.T) {
	w := newWorld(t)
	place := func() map[string]string {
		out := map[string]string{}
		for name, cm := range w.chunks() {
			for row := range strings.Lines(cm.Data["entries"]) {
				out[row] = name
			}
		}
		return out
	}
	stays := func(before map[string]string) {
		t.Helper()
		moved := 0
		for row, chunk := range place() {
			if was, known := before[row]; known && was != chunk {
				moved++
			}
		}
		if moved > 0 {
			t.Errorf("%d entries moved", moved)
		}
	}
	r := w.load()
	w.save(r, record.Head{Cluster: "c"}, some(0, 2500))
	if n := len(w.chunks()); n != 3 {
		t.Fatalf("%d chunks", n)
	}
	before := place()
	w.save(r, record.Head{Cluster: "c"}, some(0, 2600))
	stays(before)
	// A change of one entry writes one chunk.
	mark := w.Mark(t)
	changed := some(0, 2600)
	e := changed[id(1500)]
	e.Pending = true
	changed[id(1500)] = e
	w.save(w.load(), record.Head{Cluster: "c"}, changed)
	if writes := w.Requests(t, testkit.ByUser(w.UserName), testkit.After(mark)).Writes(); len(writes) != 1 {
		t.Errorf("writes:\n%s", writes)
	}
	// Nothing changed, nothing written.
	mark = w.Mark(t)
	w.save(w.load(), record.Head{Cluster: "c"}, changed)
	if writes := w.Requests(t, testkit.ByUser(w.UserName), testkit.After(mark)).Writes(); len(writes) != 0 {
		t.Errorf("writes:\n%s", writes)
	}
	before = place()
	w.save(w.load(), record.Head{Cluster: "c"}, some(800, 3000))
	stays(before)
	if r := w.load(); len(r.Entries) != 2200 || r.Degraded() != "" {
		t.Errorf("%d entries, damage %q", len(r.Entries), r.Damage)
	}
	for name, cm := range w.chunks() {
		if n := strings.Count(cm.Data["entries"], "\n"); n > 1000 || len(cm.Data["entries"]) > 256<<10 {
			t.Errorf("%s holds %d entries, %d bytes", name, n, len(cm.Data["entries"]))
		}
	}
	w.save(w.load(), record.Head{Cluster: "c"}, entries{})
	if r := w.load(); len(r.Entries) != 0 || !r.Exists || r.Degraded() != "" {
		t.Errorf("%d entries, damage %q", len(r.Entries), r.Damage)
	}
}

// While the record is being saved, each entry is on it as it was or as it will be: an entry that is
// both before and after is never missing.
func TestCrashBetweenChunksLosesNothing(t *testing.T) {
	t.Parallel()
	const chunks = 3
	for write := 1; write <= chunks; write++ {
		for _, c := range []struct {
			name          string
			before, after entries
		}{
			{"growing from nothing", entries{}, some(0, 2500)},
			{"growing", some(0, 900), some(0, 2500)},
			{"shrinking", some(0, 2500), some(0, 2500, 3)},
		} {
			t.Run(fmt.Sprintf("%s, cut at write %d", c.name, write), func(t *testing.T) {
				w := newWorld(t)
				if len(c.before) > 0 {
					w.save(w.load(), record.Head{Cluster: "c"}, c.before)
				}
				n := 0
				proxy := testkit.FaultProxy(t, w.Env, w.Identity, func(r testkit.Request) testkit.Fault {
					if testkit.Verbs("create", "update")(r) {
						n++
						return testkit.Fault{Cut: n >= write}
					}
					return testkit.Fault{}
				})
				r := w.load()
				if err := r.Save(t.Context(), connect(t, proxy.Config), record.Head{Cluster: "c"}, c.after); err == nil {
					t.Fatal("saved in spite of the cut")
				}
				got := w.load()
				for id := range c.before {
					if _, stays := c.after[id]; stays && got.Entries[id].UID == "" {
						t.Fatalf("%s is lost", id)
					}
				}
				// The next run saves it, from what is there or from what it had read.
				w.save(got, record.Head{Cluster: "c"}, c.after)
				if got := w.load(); got.Degraded() != "" || !maps.Equal(got.Entries, c.after) {
					t.Errorf("%d entries, damage %q", len(got.Entries), got.Damage)
				}
			})
		}
	}
}

func TestATooLargeSetIsRefusedBeforeAnythingIsStored(t *testing.T) {
	w := newWorld(t)
	all := entries{}
	for i := range 100_001 {
		all[object.ID{Kind: "ConfigMap", Name: fmt.Sprint(i)}] = plan.Entry{}
	}
	err := w.load().Save(t.Context(), w.cluster, record.Head{}, all)
	var large *record.TooLargeError
	if !errors.As(err, &large) || large.Objects != len(all) {
		t.Fatalf("error: %v", err)
	}
	if stored := w.chunks(); len(stored) > 0 {
		t.Errorf("%d parts were stored", len(stored))
	}
}

func TestStaleRecordIsNotWritten(t *testing.T) {
	w := newWorld(t)
	conflict := func(r *record.Record) {
		t.Helper()
		err := r.Save(t.Context(), w.cluster, record.Head{}, some(0, 9))
		var lost *record.ConflictError
		if !errors.As(err, &lost) || lost.Owner != w.owner {
			t.Errorf("error: %v", err)
		}
	}
	first, second := w.load(), w.load()
	w.save(first, record.Head{}, some(0, 3))
	conflict(second) // both made the first one
	second = w.load()
	w.save(first, record.Head{}, some(0, 4))
	conflict(second) // both changed it
	second = w.load()
	if err := first.Delete(t.Context(), w.cluster); err != nil {
		t.Fatal(err)
	}
	if err := second.Save(t.Context(), w.cluster, record.Head{}, some(0, 5)); err == nil {
		t.Error("a record that was deleted meanwhile came back")
	}
}

func TestDamageIsNeverReadAsEmptyAndNeverMendsItself(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		damage func(w *world)
		want   string
		left   int // entries that can still be read
	}{
		"a line that is no JSON": {func(w *world) {
			w.edit(1, func(d map[string]string) { d["entries"] = strings.Replace(d["entries"], "{", "(", 1) })
		}, "1 entries can't be read", 2499},
		"a line that names no object": {func(w *world) {
			w.edit(1, func(d map[string]string) { d["entries"] = strings.Replace(d["entries"], "/ConfigMap/", "/", 1) })
		}, "1 entries can't be read", 2499},
		"a line that is cut off": {func(w *world) {
			w.edit(2, func(d map[string]string) { d["entries"] = strings.TrimSuffix(d["entries"], "\"}\n") })
		}, "1 entries can't be read", 2499},
		"a head that is no JSON": {func(w *world) { w.edit(0, func(d map[string]string) { d["head"] = "x" }) }, "its head can't be read", 1500},
		"no head":                {func(w *world) { w.edit(0, func(d map[string]string) { delete(d, "head") }) }, "its head can't be read", 1500},
		"no data":                {func(w *world) { w.edit(0, func(d map[string]string) { clear(d) }) }, "its head can't be read", 1500},
		"a head of another owner": {func(w *world) {
			w.edit(1, func(d map[string]string) { d["head"] = strings.Replace(d["head"], "/app\"", "/other\"", 1) })
		}, "it is the record of", 1500},
		"a head of another part": {func(w *world) {
			w.edit(1, func(d map[string]string) { d["head"] = strings.Replace(d["head"], `"index":1`, `"index":2`, 1) })
		}, "it says that it is part 2", 1500},
		"the first part is missing":       {func(w *world) { w.remove(0) }, "-0 is missing", 1500},
		"a part in the middle is missing": {func(w *world) { w.remove(1) }, "-1 is missing", 1500},
		"the last part is missing":        {func(w *world) { w.remove(2) }, "-2 is missing", 2000},
		"a part that does not belong to it": {func(w *world) {
			for _, cm := range w.chunks() {
				cm.Name, cm.ResourceVersion, cm.UID = "somebody-elses", "", ""
				if _, err := w.Kube.CoreV1().ConfigMaps(w.Namespace).Create(w.t.Context(), &cm, metav1.CreateOptions{}); err != nil {
					w.t.Fatal(err)
				}
				return
			}
		}, "its name is not that of a part", 2500},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.save(w.load(), record.Head{Cluster: "c"}, some(0, 2500))
			c.damage(w)
			r := w.load()
			if !strings.Contains(r.Degraded(), c.want) || len(r.Entries) != c.left || !r.Exists {
				t.Fatalf("%d entries, damage %q", len(r.Entries), r.Damage)
			}
			// New entries can be stored, old ones dropped, and it stays damaged.
			next := maps.Clone(r.Entries)
			maps.Copy(next, some(2500, 2800))
			w.save(r, record.Head{Cluster: "c"}, next)
			delete(next, id(2600))
			w.save(w.load(), record.Head{Cluster: "c"}, next)
			r = w.load()
			if !strings.Contains(r.Degraded(), c.want) || len(r.Entries) != len(next) {
				t.Errorf("later: %d entries, want %d, damage %q", len(r.Entries), len(next), r.Damage)
			}
		})
	}
}

// remove deletes the n-th ConfigMap of the record.
func (w *world) remove(n int) {
	w.t.Helper()
	name := slices.Sorted(maps.Keys(w.chunks()))[n]
	if err := w.Kube.CoreV1().ConfigMaps(w.Namespace).Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func TestAnotherFormatIsRefused(t *testing.T) {
	w := newWorld(t)
	w.save(w.load(), record.Head{}, some(0, 3))
	w.edit(0, func(d map[string]string) { d["format"] = "2" })
	_, err := record.Load(t.Context(), w.cluster, w.owner, w.Namespace)
	var format *record.FormatError
	if !errors.As(err, &format) || format.Format != "2" {
		t.Errorf("error: %v", err)
	}
}

func TestUnreadableRecordIsAnError(t *testing.T) {
	w := newWorld(t)
	w.save(w.load(), record.Head{}, some(0, 3))
	for name, status := range map[string]int{"a busy server": 503, "a server that refuses": 403} {
		proxy := testkit.FaultProxy(t, w.Env, w.Identity, func(r testkit.Request) testkit.Fault {
			if testkit.Resources("configmaps")(r) {
				return testkit.Fault{Status: status}
			}
			return testkit.Fault{}
		})
		if r, err := record.Load(t.Context(), connect(t, proxy.Config), w.owner, w.Namespace); err == nil {
			t.Errorf("%s: read as %d entries", name, len(r.Entries))
		}
	}
}

func TestClaims(t *testing.T) {
	w := newWorld(t)
	theirs := some(0, 6)
	for i, change := range []func(e *plan.Entry){
		func(*plan.Entry) {}, func(e *plan.Entry) { e.Pending = true }, func(e *plan.Entry) { e.Retained = true }, func(e *plan.Entry) { e.Unproven = true },
		func(e *plan.Entry) { e.Claimed = true },
	} {
		e := theirs[id(i)]
		change(&e)
		theirs[id(i)] = e
	}
	delete(theirs, id(5))
	w.save(w.load(), record.Head{}, theirs)
	labelled := map[object.ID][]plan.Owner{}
	dead := plan.Kustomization(w.Namespace, "dead")
	for i := range 6 {
		labelled[id(i)] = []plan.Owner{dead, w.owner}
	}
	// One that lives and has no record yet: all that it has labelled is its own.
	labelled[id(6)] = []plan.Owner{plan.Kustomization(w.Namespace, "without-a-record")}
	labelled[id(7)] = []plan.Owner{plan.Inventory(w.Namespace, "without-a-record")}
	labelled[id(8)] = []plan.Owner{dead}
	gone := dead
	lives := func(_ context.Context, owner plan.Owner) (bool, error) { return owner != dead && owner != gone, nil }
	claims := func() []string {
		t.Helper()
		got, err := record.Claims(t.Context(), w.cluster, w.Namespace, labelled, lives)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for id := range got {
			names = append(names, id.Name)
		}
		slices.Sort(names)
		return names
	}
	if diff := cmp.Diff([]string{"cm-0000", "cm-0001", "cm-0006"}, claims()); diff != "" {
		t.Errorf("claimed (-want +got):\n%s", diff)
	}
	// What a record that is damaged does not show may be on it.
	w.edit(0, func(d map[string]string) { d["entries"] += "?\n" })
	if diff := cmp.Diff([]string{"cm-0000", "cm-0001", "cm-0005", "cm-0006"}, claims()); diff != "" {
		t.Errorf("claimed by a damaged record (-want +got):\n%s", diff)
	}
	w.edit(0, func(d map[string]string) { d["format"] = "2" })
	if diff := cmp.Diff([]string{"cm-0000", "cm-0001", "cm-0002", "cm-0003", "cm-0004", "cm-0005", "cm-0006"}, claims()); diff != "" {
		t.Errorf("claimed by a record of another format (-want +got):\n%s", diff)
	}
	// What an owner has that is gone is nobody's.
	gone = w.owner
	if diff := cmp.Diff([]string{"cm-0006"}, claims()); diff != "" {
		t.Errorf("claimed by nobody who lives (-want +got):\n%s", diff)
	}
}

func TestLeftoversAreWrittenDown(t *testing.T) {
	w := newWorld(t)
	var left []plan.Step
	for i := range 20000 {
		left = append(left, plan.Step{ID: id(i), Reason: "a reason that is long enough to fill a ConfigMap sooner or later"})
	}
	r := w.load()
	name, err := record.SaveLeftovers(t.Context(), w.cluster, r, left)
	if err != nil {
		t.Fatal(err)
	}
	cm, err := w.Kube.CoreV1().ConfigMaps(w.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || !strings.Contains(cm.Data["objects"], "ConfigMap/shop/cm-0001: a reason") || !strings.HasSuffix(cm.Data["objects"], " more\n") {
		t.Errorf("%v: %.200s", err, cm.Data["objects"])
	}
	if r := w.load(); r.Exists {
		t.Error("the list of leftovers counts as a record")
	}
}
