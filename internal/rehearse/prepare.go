// SPDX-License-Identifier: Apache-2.0

package rehearse

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
	"github.com/kustomizer/kustomizer/internal/plan"
)

// prepare turns rendered objects into what would be sent: with owner labels, with a namespace
// exactly where the kind has one.
func (r *run) prepare(ctx context.Context) error {
	wants := make([]*plan.Want, 0, len(r.req.Objects))
	for _, rendered := range r.req.Objects {
		wants = append(wants, &plan.Want{Object: normalised(rendered, r.req.Owner)})
	}
	kinds := r.cluster.ResolveAll(ctx, kindsOf(wants))
	seen := map[object.ID]bool{}
	for _, want := range wants {
		reach := r.reach(want.Object, kinds[want.Object.GroupVersionKind()])
		if reach.known && !reach.namespaced {
			want.Object.SetNamespace("")
		}
		want.ID = object.Of(want.Object)
		if seen[want.ID] {
			return fmt.Errorf("the set holds %s twice", want.ID)
		}
		seen[want.ID] = true
		var err error
		if want.Hash, err = plan.HashOf(want.Object); err != nil {
			return err
		}
		r.facts.Wants = append(r.facts.Wants, *want)
		r.refuse(want.ID, reach)
	}
	return ctx.Err()
}

func kindsOf(wants []*plan.Want) []schema.GroupVersionKind {
	found := map[schema.GroupVersionKind]bool{}
	for _, want := range wants {
		found[want.Object.GroupVersionKind()] = true
	}
	return slices.Collect(maps.Keys(found))
}

// reach is how an object's kind can be reached: now, later, or not at all.
type reach struct {
	known      bool // whether the kind lives in namespaces
	namespaced bool
	later      bool        // its definition comes with the set
	problem    cause.Cause // why it can't be applied
}

func (r *run) reach(u *unstructured.Unstructured, kind cluster.Resolution) reach {
	out := reach{known: kind.Err == nil, namespaced: kind.Namespaced}
	var missing *cluster.KindError
	if errors.As(kind.Err, &missing) {
		out.later, out.namespaced = definedBy(r.req.Objects, u.GroupVersionKind())
		out.known = out.later
	}
	switch {
	case kind.Err != nil && !out.later:
		out.problem = cluster.CauseOf(kind.Err)
	case u.GetName() == "":
		out.problem = cause.Cause{Code: cause.InvalidObject, Detail: "it has no name: set metadata.name"}
	case out.namespaced && u.GetNamespace() == "":
		out.problem = cause.Cause{
			Code:   cause.InvalidObject,
			Detail: "the kind lives in namespaces and the object names none: set metadata.namespace, or a target namespace",
		}
	}
	return out
}

// refuse records that an object can't be asked about now, or at all.
func (r *run) refuse(id object.ID, reach reach) {
	switch {
	case reach.problem.Code != "":
		r.facts.Rehearsals[id] = plan.Rehearsal{Failed: &reach.problem}
	case reach.later:
		r.facts.Rehearsals[id] = plan.Rehearsal{Deferred: true}
	}
}

// normalised returns an object as it is sent: with its owner's labels, and in the form in which
// the server stores it, so that what was sent can be found in what lives.
func normalised(u *unstructured.Unstructured, owner plan.Owner) *unstructured.Unstructured {
	out := u.DeepCopy()
	labels := out.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, owner.Labels())
	out.SetLabels(labels)
	if object.Of(out).GroupKind() == (schema.GroupKind{Kind: "Secret"}) {
		encodeStringData(out)
	}
	return out
}

// encodeStringData moves a Secret's stringData, which the server never shows, to data. What it
// can't encode stays, for the server to refuse.
func encodeStringData(u *unstructured.Unstructured) {
	plain, ok := u.Object["stringData"].(map[string]any)
	if !ok {
		return
	}
	data, ok := u.Object["data"].(map[string]any)
	if !ok && u.Object["data"] != nil {
		return
	}
	encoded := maps.Clone(data)
	if encoded == nil {
		encoded = map[string]any{}
	}
	for k, v := range plain {
		text, ok := v.(string)
		if !ok {
			return
		}
		encoded[k] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	delete(u.Object, "stringData")
	u.Object["data"] = encoded
}

// definedBy says whether a CustomResourceDefinition of the set defines a kind at a version, and
// whether the kind lives in namespaces.
func definedBy(objs []*unstructured.Unstructured, gvk schema.GroupVersionKind) (found, namespaced bool) {
	for _, u := range objs {
		if u.GetKind() != "CustomResourceDefinition" {
			continue
		}
		group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
		if group != gvk.Group || kind != gvk.Kind || !serves(u, gvk.Version) {
			continue
		}
		scope, _, _ := unstructured.NestedString(u.Object, "spec", "scope")
		return true, scope == "Namespaced"
	}
	return false, false
}

func serves(definition *unstructured.Unstructured, version string) bool {
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	return slices.ContainsFunc(versions, func(v any) bool {
		m, _ := v.(map[string]any)
		return m["name"] == version && m["served"] == true
	})
}
