// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/deploy"
	"github.com/kustomizer/kustomizer/internal/testkit"
)

// owned lists what carries the owner's labels, by a look from outside.
func (w *world) owned() []string {
	w.t.Helper()
	var got []string
	kinds := []schema.GroupVersionResource{configMaps, deployments, {Version: "v1", Resource: "services"}, {Version: "v1", Resource: "serviceaccounts"}}
	for _, gvr := range kinds {
		list, err := w.resource(gvr).List(w.t.Context(), metav1.ListOptions{LabelSelector: w.owner.Selector()})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, u := range list.Items {
			got = append(got, u.GetKind()+"/"+u.GetName())
		}
	}
	slices.Sort(got)
	return got
}

// crash runs a request and ends it at one of its writes, as kill -9 does.
func (w *world) crash(req deploy.Request, write int, moment testkit.Moment) {
	w.t.Helper()
	proxy := testkit.FaultProxy(w.t, w.Env, w.agent, nil)
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	died := proxy.KillAt(write, moment, cancel)
	out := w.engineOf(proxy.Config).Run(ctx, req)
	if ctx.Err() == nil {
		w.t.Fatalf("the run has no write %d: %s %v", write, out.State, out.Err)
	}
	<-died // what ended the run may not have returned yet
	if out.State == deploy.Done && moment == testkit.BeforeWrite {
		w.t.Error("the run that died says that it is done")
	}
}

// converges runs a request until it is done, and compares the cluster and the record with it.
func (w *world) converges(req deploy.Request) {
	w.t.Helper()
	w.mustRunState(req, deploy.Done)
	var want []string
	for _, u := range req.Objects {
		want = append(want, u.GetKind()+"/"+u.GetName())
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, w.owned()); diff != "" {
		w.t.Errorf("in the cluster (-want +got):\n%s", diff)
	}
	onRecord := w.recorded()
	slices.Sort(onRecord)
	if diff := cmp.Diff(want, onRecord); diff != "" {
		w.t.Errorf("on record (-want +got):\n%s", diff)
	}
	quiet(w, req)
}

// The scenarios of the sweep. Each begins with a set in the cluster (or none), is killed while a
// second set is applied, and has to converge on a third.
func TestNoCrashForgetsOrLeavesAnything(t *testing.T) {
	t.Parallel()
	account := "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: NS}\n"
	first := []string{cm("kept"), cm("changed"), cm("dropped"), account, web}
	second := []string{cm("kept"), cm("changed", "more", "x"), cm("added"), account, web}
	replaced := []string{cm("kept"), cm("changed"), cm("dropped"), account, strings.ReplaceAll(web, "{app: web}", "{app: other}")}
	small := []string{cm("kept")}
	cases := map[string]struct {
		before, killed, after []string
		prepare               func(w *world)
		writes                int // of the run that is killed, the record's included
	}{
		"a first install, then the same":     {nil, first, first, nil, 7},
		"a first install, then another set":  {nil, first, second, nil, 7},
		"a first install, then nearly none":  {nil, first, small, nil, 7},
		"an update, then the same":           {first, second, second, nil, 5},
		"an update, then back":               {first, second, first, nil, 5},
		"a deletion of most, then the same":  {first, small, small, nil, 5},
		"a replacement, then the same":       {first, replaced, replaced, nil, 4},
		"a replacement, then without it":     {first, replaced, small, nil, 4},
		"an object made again, then without": {first, first, small, func(w *world) { w.delete(configMaps, "dropped") }, 3},
		"a namesake taken in, then without": {first, first, small, func(w *world) {
			w.delete(configMaps, "dropped")
			u := w.objects(cm("dropped", "whose", "theirs"))[0]
			if _, err := w.resource(configMaps).Create(w.t.Context(), u, metav1.CreateOptions{FieldManager: "operator"}); err != nil {
				w.t.Fatal(err)
			}
		}, 3},
		"a take-over, then the same": {first, first, first, func(w *world) {
			w.onDeployment("web", "set", "env", "deployment/web", "DEBUG=1")
		}, 2},
	}
	for name, c := range cases {
		for write := 1; write <= c.writes; write++ {
			for _, moment := range []testkit.Moment{testkit.BeforeWrite, testkit.AfterWrite} {
				if moment == testkit.BeforeWrite && write > 1 {
					continue // the cluster is as after the write before it
				}
				t.Run(fmt.Sprintf("%s, killed %s write %d", name, moment, write), func(t *testing.T) {
					w := newWorld(t)
					request := func(manifests []string) deploy.Request {
						req := w.request(manifests...)
						req.Digest = fmt.Sprintf("sha256:%x", strings.Join(manifests, ""))[:20]
						req.Policy.GuardOff, req.Policy.Force = true, true
						return req
					}
					if c.before != nil {
						w.mustRunState(request(c.before), deploy.Done)
					}
					if c.prepare != nil {
						c.prepare(w)
					}
					w.crash(request(c.killed), write, moment)
					onRecord := w.recorded()
					for _, name := range w.owned() {
						if !slices.Contains(onRecord, name) {
							t.Errorf("%s is in the cluster and not on record: %s", name, onRecord)
						}
					}
					w.converges(request(c.after))
				})
			}
		}
	}
}
