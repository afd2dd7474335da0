// SPDX-License-Identifier: Apache-2.0

package rehearse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// kindsAtOnce is how many kinds are listed before it is seen whether that is enough.
const kindsAtOnce = 8

// lookInto finds what a Namespace holds, kind by kind, without what Kubernetes puts there by itself.
// It stops when it has found anything that is not the owner's: that is enough for it to stay. A kind
// that can't be listed leaves it unknown what there is.
func (r *run) lookInto(ctx context.Context, namespace string, stake *plan.Stake) error {
	kinds, failed, err := r.kindsInNamespaces(ctx)
	if err != nil {
		return fmt.Errorf("what it holds: %w", err)
	}
	if len(failed) > 0 {
		return fmt.Errorf("what it holds: the kinds of %s can't be discovered", strings.Join(failed, ", "))
	}
	first := 0
	for first < len(kinds) && telling(kinds[first]) {
		first++
	}
	services := map[string]bool{}
	for _, some := range slices.Concat([][]cluster.Resource{kinds[:first]}, slices.Collect(slices.Chunk(kinds[first:], kindsAtOnce))) {
		foreign, err := r.lookForKinds(ctx, namespace, some, services, stake)
		if err != nil || foreign {
			return err
		}
	}
	return nil
}

// lookForKinds lists some kinds side by side, and says whether there is anything that is not the
// owner's. It adds to the names of the Services.
func (r *run) lookForKinds(ctx context.Context, namespace string, some []cluster.Resource, services map[string]bool, stake *plan.Stake) (bool, error) {
	all := make([]*found, len(some))
	for i, res := range some {
		all[i] = &found{contents: r.contents(res), services: services}
	}
	err := r.cluster.Each(ctx, len(all), func(ctx context.Context, i int) error { return all[i].list(ctx, r, namespace) })
	if err != nil {
		return false, err
	}
	foreign := false
	for _, f := range all {
		f.into(stake)
		stake.Agent = stake.Agent || f.agent
		foreign = foreign || f.foreign > 0
		if f.res.GroupKind() == (schema.GroupKind{Kind: "Service"}) {
			for _, name := range f.names {
				services[name] = true
			}
		}
	}
	return foreign, nil
}

// telling kinds are looked at first: a Service has Endpoints that go with it, and a ConfigMap may be
// the record of an agent.
func telling(res cluster.Resource) bool {
	return res.Group == "" && (res.Kind == "Service" || res.Kind == "ConfigMap")
}

// kindsInNamespaces lists the kinds that a Namespace may hold and that would be missed, the telling
// ones first, and the groups of which that is not known. Groups that an API server of the set serves go
// with the set.
func (r *run) kindsInNamespaces(ctx context.Context) ([]cluster.Resource, []string, error) {
	all, failed, err := r.cluster.Kinds(ctx)
	if err != nil {
		return nil, nil, err
	}
	own := r.servedBySet()
	failed = slices.DeleteFunc(failed, func(group string) bool { return own[group] })
	all = slices.DeleteFunc(all, func(res cluster.Resource) bool {
		return !res.Namespaced || !res.Listable || !res.Deletable || own[res.Group] || slices.Contains(expendable(), res.GroupKind())
	})
	slices.SortStableFunc(all, func(a, b cluster.Resource) int {
		switch {
		case telling(a) && !telling(b):
			return -1
		case telling(b) && !telling(a):
			return 1
		}
		return 0
	})
	return all, failed, nil
}

// expendable lists kinds that Kubernetes fills by itself.
func expendable() []schema.GroupKind {
	return []schema.GroupKind{
		{Kind: "Event"}, {Group: "events.k8s.io", Kind: "Event"},
		{Group: "discovery.k8s.io", Kind: "EndpointSlice"}, {Group: "coordination.k8s.io", Kind: "Lease"},
	}
}

// servedBySet lists the groups that API servers of the set serve.
func (r *run) servedBySet() map[string]bool {
	out := map[string]bool{}
	for id := range r.req.Record {
		if id.GroupKind() == (schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}) {
			_, group, _ := strings.Cut(id.Name, ".") // version.group, which the API server requires
			out[group] = true
		}
	}
	return out
}

// found is what there is of a kind in a Namespace.
type found struct {
	*contents
	services map[string]bool // names of Services
	names    []string        // of all of the kind
	agent    bool            // an agent's record is among it
}

func (f *found) list(ctx context.Context, r *run, namespace string) error {
	err := r.cluster.LookThrough(ctx, f.res, cluster.Selection{Namespace: namespace}, func(m *metav1.ObjectMeta) {
		f.names = append(f.names, m.Name)
		if cluster.Expendable(f.res.GroupKind(), m) || f.ofService(m) {
			return
		}
		if r.req.RecordOf != nil && f.res.GroupKind() == (schema.GroupKind{Kind: "ConfigMap"}) {
			owner, ok := r.req.RecordOf(m)
			f.agent = f.agent || ok && owner.Kind == plan.OwnerKustomization
			if ok && owner.String() == r.req.Owner.String() {
				return
			}
		}
		f.add(m)
	})
	var many *cluster.TooManyError
	if errors.As(err, &many) && f.foreign > 0 {
		return nil // that there is something is all that has to be known
	}
	if err != nil {
		return fmt.Errorf("what it holds: listing %s: %w", f.res.Resource, err)
	}
	return nil
}

// ofService says whether the object is the Endpoints that Kubernetes keeps for a Service.
func (f *found) ofService(m *metav1.ObjectMeta) bool {
	return f.res.GroupKind() == schema.GroupKind{Kind: "Endpoints"} && f.services[m.Name]
}
