// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

func kustomizationResource() schema.GroupVersionResource {
	return kustomizev1.GroupVersion.WithResource("kustomizations")
}

func ociRepositoryResource() schema.GroupVersionResource {
	return sourcev1.GroupVersion.WithResource("ocirepositories")
}

// appResources are the kinds that the demo app is made of.
func appResources() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{
		{Version: "v1", Resource: "namespaces"},
		{Version: "v1", Resource: "configmaps"},
		{Version: "v1", Resource: "services"},
		{Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
	}
}

// read gets a resource of the agent's namespace.
func (s *story) read(ctx context.Context, res schema.GroupVersionResource, name string, into any) error {
	u, err := s.dynamic.Resource(res).Namespace(agentNamespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into)
}

// patch changes the demo app's Kustomization as kubectl patch does.
func (s *story) patch(ctx context.Context, patch string) error {
	_, err := s.dynamic.Resource(kustomizationResource()).Namespace(agentNamespace).Patch(ctx, appName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// suspend keeps the agent from the demo app, or lets it go on.
func (s *story) suspend(ctx context.Context, on bool) error {
	return s.patch(ctx, fmt.Sprintf(`{"spec":{"suspend":%t}}`, on))
}

// appObjects lists what a Kustomization's labels are on, by Kind/namespace/name.
func (s *story) appObjects(ctx context.Context, kustomization string) (map[string]*unstructured.Unstructured, error) {
	found := map[string]*unstructured.Unstructured{}
	group := kustomizev1.GroupVersion.Group
	selector := fmt.Sprintf("%s/name=%s,%s/namespace=%s", group, kustomization, group, agentNamespace)
	for _, res := range appResources() {
		list, err := s.dynamic.Resource(res).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", res.Resource, err)
		}
		for i := range list.Items {
			u := &list.Items[i]
			parts := []string{u.GetKind(), u.GetNamespace(), u.GetName()}
			found[strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "/")] = u
		}
	}
	return found, nil
}

// remember notes the identities of the demo app's objects and the time, before something is done.
func (s *story) remember(ctx context.Context) error {
	objects, err := s.appObjects(ctx, appName)
	if err != nil {
		return err
	}
	s.uids = map[string]types.UID{}
	for id, u := range objects {
		s.uids[id] = u.GetUID()
	}
	s.since = time.Now().Truncate(time.Second)
	return nil
}

// expectSame asserts that all remembered objects but those named are still the same ones.
func (s *story) expectSame(ctx context.Context, but ...string) error {
	objects, err := s.appObjects(ctx, appName)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(s.uids)) {
		now, there := objects[id]
		switch {
		case slices.Contains(but, id):
		case !there:
			return &unmet{want: id + " to be left alone", got: "that it is gone"}
		case now.GetUID() != s.uids[id]:
			return &unmet{want: id + " to be left alone", got: "that it was deleted and made again"}
		case now.GetDeletionTimestamp() != nil:
			return &unmet{want: id + " to be left alone", got: "that it is being deleted"}
		}
	}
	return nil
}

// app is how the demo app should be, as deployed by one Kustomization.
type app struct {
	kustomization string
	namespace     string
	revision      string
	objects       int
	colour        string // of the frontend
}

func (a app) check(ctx context.Context, s *story) error {
	objects, err := s.appObjects(ctx, a.kustomization)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(objects))
	if len(objects) != a.objects {
		return &unmet{want: fmt.Sprintf("%d objects of %s", a.objects, a.kustomization), got: fmt.Sprintf("%d: %s", len(objects), strings.Join(names, ", "))}
	}
	for _, id := range names {
		u := objects[id]
		if u.GetDeletionTimestamp() != nil {
			return &unmet{want: id + " to live", got: "that it is being deleted"}
		}
		if u.GetNamespace() != a.namespace && id != "Namespace/"+a.namespace {
			return &unmet{want: id + " in the namespace " + a.namespace, got: "another"}
		}
	}
	return errors.Join(s.expectApplied(ctx, a), s.expectRolledOut(ctx, a), s.expectColour(ctx, a))
}

// expectApplied asserts what the agent says about a Kustomization.
func (s *story) expectApplied(ctx context.Context, a app) error {
	var ks kustomizev1.Kustomization
	if err := s.read(ctx, kustomizationResource(), a.kustomization, &ks); err != nil {
		return err
	}
	if err := expectReady("Kustomization "+a.kustomization, ks.Status.Conditions, ks.Generation); err != nil {
		return err
	}
	listed := 0
	if ks.Status.Inventory != nil {
		listed = len(ks.Status.Inventory.Entries)
	}
	return errors.Join(
		expect("the applied revision of "+a.kustomization, a.revision, ks.Status.LastAppliedRevision),
		expect("the length of the inventory of "+a.kustomization, a.objects, listed),
	)
}

func expectReady(what string, conditions []metav1.Condition, generation int64) error {
	ready := apimeta.FindStatusCondition(conditions, "Ready")
	switch {
	case ready == nil:
		return &unmet{want: what + " to be ready", got: "no word on that"}
	case ready.Status != metav1.ConditionTrue:
		return &unmet{want: what + " to be ready", got: fmt.Sprintf("%s: %s", ready.Reason, ready.Message)}
	case ready.ObservedGeneration != generation:
		return &unmet{want: what + " to be ready", got: "that the agent has not looked at it since it changed"}
	}
	return nil
}

// expectRolledOut asserts that the Deployments of an app are complete.
func (s *story) expectRolledOut(ctx context.Context, a app) error {
	list, err := s.kube.AppsV1().Deployments(a.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if err := expect("the number of Deployments in "+a.namespace, 3, len(list.Items)); err != nil {
		return err
	}
	for i := range list.Items {
		if err := expectComplete(&list.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func expectComplete(d *appsv1.Deployment) error {
	want, st := *d.Spec.Replicas, d.Status
	if st.ObservedGeneration >= d.Generation && st.UpdatedReplicas == want && st.AvailableReplicas == want && st.Replicas == want {
		return nil
	}
	return &unmet{
		want: fmt.Sprintf("Deployment/%s/%s with %d available replicas", d.Namespace, d.Name, want),
		got:  fmt.Sprintf("%d, of which %d are up to date and %d available", st.Replicas, st.UpdatedReplicas, st.AvailableReplicas),
	}
}

// expectColour asserts which version of the frontend's settings is live.
func (s *story) expectColour(ctx context.Context, a app) error {
	d, err := s.kube.AppsV1().Deployments(a.namespace).Get(ctx, "frontend", metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, env := range d.Spec.Template.Spec.Containers[0].Env {
		if env.Name == "PODINFO_UI_COLOR" {
			return expect("the frontend's colour in "+a.namespace, a.colour, env.Value)
		}
	}
	return &unmet{want: "a colour for the frontend", got: "none"}
}

// expectEvent asserts that the agent has told something about the demo app since the time that was
// remembered.
func (s *story) expectEvent(ctx context.Context, reason, text string) error {
	list, err := s.kube.CoreV1().Events(agentNamespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=Kustomization,involvedObject.name=" + appName,
	})
	if err != nil {
		return err
	}
	told := slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
		return e.Reason == reason && strings.Contains(e.Message, text) && !e.LastTimestamp.Time.Before(s.since)
	})
	if told {
		return nil
	}
	return &unmet{want: fmt.Sprintf("an event %s with %q", reason, text), got: "none"}
}
