// SPDX-License-Identifier: Apache-2.0

package health

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cause"
)

// condition is what the conditions of all kinds have in common.
type condition struct {
	Type, Status, Reason, Message string
	ObservedGeneration            int64
}

func conditionsOf(u *unstructured.Unstructured) []condition {
	raw, _, _ := unstructured.NestedFieldNoCopy(u.Object, "status", "conditions")
	list, _ := raw.([]any)
	var out []condition
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			continue
		}
		c := condition{}
		c.Type, _ = m["type"].(string)
		c.Status, _ = m["status"].(string)
		c.Reason, _ = m["reason"].(string)
		c.Message, _ = m["message"].(string)
		c.ObservedGeneration, _ = m["observedGeneration"].(int64)
		out = append(out, c)
	}
	return out
}

// conditionTrue returns the condition of a type if its status is True.
func conditionTrue(u *unstructured.Unstructured, kind string) (condition, bool) {
	for _, c := range conditionsOf(u) {
		if c.Type == kind && c.Status == "True" {
			return c, true
		}
	}
	return condition{}, false
}

// controlled judges the workloads of the group apps. Their controllers always set
// observedGeneration: without it, nobody has looked at the object yet, and kstatus would take a
// StatefulSet of no replicas for ready.
func controlled(u *unstructured.Unstructured) Status {
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if observed == 0 && u.GetGeneration() != 0 {
		return waiting(InProgress, cause.NotReadyYet, u.GetKind()+" has not been looked at by its controller yet")
	}
	s := compute(u, cause.ProgressDeadline)
	if s.State == Current {
		return s
	}
	if refused := podsRefused(u); refused.Code != "" {
		s.Cause = refused
	}
	return s
}

// podsRefused says why a Deployment or ReplicaSet can't create pods, from its own conditions.
func podsRefused(u *unstructured.Unstructured) cause.Cause {
	if c, ok := conditionTrue(u, "ReplicaFailure"); ok {
		return admission(c.Message)
	}
	return cause.Cause{}
}

func deployment(u *unstructured.Unstructured) Status {
	s := controlled(u)
	paused, _, _ := unstructured.NestedBool(u.Object, "spec", "paused")
	if paused && s.State == InProgress {
		return waiting(InProgress, cause.Suspended, "Deployment is paused, its rollout can't go on")
	}
	return s
}

// job judges a Job: unlike with kstatus, one that runs is not ready yet.
func job(u *unstructured.Unstructured) Status {
	if c, ok := conditionTrue(u, "Complete"); ok {
		return Status{State: Current, Message: strings.TrimSuffix("Job is complete: "+line(c.Reason), ": ")}
	}
	if c, ok := conditionTrue(u, "Failed"); ok {
		return waiting(Failed, cause.JobFailed, strings.TrimSuffix("Job has failed: "+c.Reason, ": "))
	}
	if suspended(u) {
		return waiting(InProgress, cause.Suspended, "Job is suspended")
	}
	if started, _, _ := unstructured.NestedString(u.Object, "status", "startTime"); started == "" {
		return waiting(InProgress, cause.NotReadyYet, "Job has not started")
	}
	succeeded, _, _ := unstructured.NestedInt64(u.Object, "status", "succeeded")
	failed, _, _ := unstructured.NestedInt64(u.Object, "status", "failed")
	return waiting(InProgress, cause.NotReadyYet, fmt.Sprintf("Job runs: %d of %d pods succeeded, %d failed", succeeded, completions(u), failed))
}

func completions(u *unstructured.Unstructured) int64 {
	for _, field := range []string{"completions", "parallelism"} {
		if n, found, _ := unstructured.NestedInt64(u.Object, "spec", field); found {
			return n
		}
	}
	return 1
}

// autoscaler judges a HorizontalPodAutoscaler: it works from its creation on, and whether the
// cluster has metrics for it is no reason to hold up a deployment.
func autoscaler(*unstructured.Unstructured) Status {
	return Status{State: Current, Message: "HorizontalPodAutoscaler is there"}
}

func claim(u *unstructured.Unstructured) Status {
	phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
	switch phase {
	case "Bound":
		return Status{State: Current, Message: "PersistentVolumeClaim is bound"}
	case "Lost":
		return waiting(InProgress, cause.VolumePending, "PersistentVolumeClaim has lost its volume")
	default:
		return waiting(InProgress, cause.VolumePending, "PersistentVolumeClaim is not bound"+ofClass(u)+": no volume, or no pod that uses it yet")
	}
}

func ofClass(u *unstructured.Unstructured) string {
	if class, _, _ := unstructured.NestedString(u.Object, "spec", "storageClassName"); class != "" {
		return " (storage class " + class + ")"
	}
	return ""
}

// pod judges a Pod that is part of what was applied. kstatus calls an unschedulable pod failed when
// it is 15 seconds old; here it waits, since a node may yet come and no event would tell the age. One
// that has failed kstatus calls current, since it won't change any more; here it has failed.
func pod(u *unstructured.Unstructured) Status {
	switch phase, _, _ := unstructured.NestedString(u.Object, "status", "phase"); phase {
	case "Pending", "":
		return podWaiting(u, InProgress, "Pod is pending")
	case "Failed":
		return podWaiting(u, Failed, "Pod has failed")
	}
	s := compute(u, cause.CrashLoop)
	if s.State == Current {
		return s
	}
	return podWaiting(u, s.State, s.Message)
}

func podWaiting(u *unstructured.Unstructured, state State, message string) Status {
	s := waiting(state, cause.NotReadyYet, message)
	if c := podCause(u); c.Code != "" {
		s.Cause = c
	}
	return s
}

func definition(u *unstructured.Unstructured) Status {
	return compute(u, cause.Conflict)
}

// terminating says what a deletion waits for.
func terminating(u *unstructured.Unstructured) Status {
	if u.GroupVersionKind().Group == "" && u.GetKind() == "Namespace" {
		return waiting(Terminating, cause.NamespaceGoing, strings.TrimSuffix("being deleted: "+namespaceContent(u), ": "))
	}
	finalizers := slices.Sorted(slices.Values(u.GetFinalizers()))
	if len(finalizers) == 0 {
		return waiting(Terminating, cause.BeingDeleted, "being deleted")
	}
	return waiting(Terminating, cause.FinalizerPending, "being deleted, held by "+strings.Join(finalizers, ", "))
}

// namespaceContent returns what the namespace controller says about a deletion that takes long,
// the most telling condition first.
func namespaceContent(u *unstructured.Unstructured) string {
	for _, kind := range []string{
		"NamespaceDeletionDiscoveryFailure", "NamespaceDeletionGroupVersionParsingFailure",
		"NamespaceDeletionContentFailure", "NamespaceFinalizersRemaining", "NamespaceContentRemaining",
	} {
		if c, ok := conditionTrue(u, kind); ok {
			return c.Message
		}
	}
	return ""
}
