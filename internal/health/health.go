// SPDX-License-Identifier: Apache-2.0

// Package health says whether a Kubernetes object is ready, has failed, or is waiting, and for
// what. It is pure: it judges the objects it is given and asks nobody.
//
// The rules are those of kstatus, as Flux uses it, with these differences: a Job is ready when it
// has finished, a Pod that has failed is not, an autoscaler is as soon as it exists, a controller's
// status counts only once it is about the current generation, and no verdict depends on the time of
// day.
package health

import (
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cause"
)

// State is how far an object is.
type State string

// The states.
const (
	Current     State = "Current"     // as wished: nothing to wait for
	InProgress  State = "InProgress"  // on its way
	Failed      State = "Failed"      // its controller has given up
	Terminating State = "Terminating" // being deleted
	NotFound    State = "NotFound"    // not there
	Unknown     State = "Unknown"     // could not be looked at, which says nothing about it
)

// Status is a verdict on one object.
type Status struct {
	State   State
	Cause   cause.Cause // why it is not [Current]; zero where it is
	Message string      // one line, without durations
}

// Assess judges an object by its status. A nil object is [NotFound].
func Assess(u *unstructured.Unstructured) Status {
	if u == nil {
		return waiting(NotFound, cause.NotReadyYet, "not found yet")
	}
	if u.GetDeletionTimestamp() != nil {
		return terminating(u)
	}
	if rule := ruleFor(u.GroupVersionKind().GroupKind()); rule != nil {
		return rule(u)
	}
	return byConventions(u)
}

// rule judges the objects of a kind that are not being deleted.
type rule func(u *unstructured.Unstructured) Status

// ruleFor returns the rule of a kind for which kstatus alone is not enough, or nil.
func ruleFor(gk schema.GroupKind) rule {
	switch gk {
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}:
		return deployment
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"},
		schema.GroupKind{Group: "apps", Kind: "DaemonSet"},
		schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}:
		return controlled
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		return job
	case schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:
		return autoscaler
	case schema.GroupKind{Kind: "PersistentVolumeClaim"}:
		return claim
	case schema.GroupKind{Kind: "Pod"}:
		return pod
	case schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		return definition
	default:
		return nil
	}
}

// compute runs kstatus and translates its answer, with the given code for an object that has failed.
func compute(u *unstructured.Unstructured, failed cause.Code) Status {
	res, err := status.Compute(u)
	if err != nil {
		return waiting(InProgress, cause.Unknown, "its status can't be understood: "+err.Error())
	}
	switch res.Status {
	case status.CurrentStatus:
		return Status{State: Current, Message: line(res.Message)}
	case status.FailedStatus:
		return waiting(Failed, failed, withReason(res))
	default:
		return waiting(InProgress, cause.NotReadyYet, withReason(res))
	}
}

// withReason prepends the reason of a condition that the object's own controller has set. kstatus
// makes up reasons for the built-in kinds: those say less than its messages.
func withReason(res *status.Result) string {
	if len(res.Conditions) == 0 || res.Conditions[0].Message != res.Message || madeUp(res.Conditions[0].Reason) {
		return res.Message
	}
	return strings.TrimSuffix(res.Conditions[0].Reason+": "+res.Message, ": ")
}

func madeUp(reason string) bool {
	switch reason {
	case "", "LessReady", "LessAvailable", "LessUpdated", "LessReplicas", "LessCurrent", "LessLabelled", "ExtraPods",
		"PartitionRollout", "RevisionMismatch", "ReplicaSetNotAvailable", "DeploymentNotAvailable", "NotBound",
		"LatestGenerationNotObserved", "NoGeneration", "NoObservedGeneration", "NoDesiredNumber", "NoIPAssigned",
		"ContainerCrashLooping", "PodRunningNotReady", "PodNotScheduled", "PodUnschedulable", "PodPending",
		"PodNotObserved", "Installing":
		return true
	default:
		return false
	}
}

// byConventions judges objects of any other kind, custom resources among them: by the conditions
// Reconciling, Stalled and Ready. A kind without a status is current at once.
func byConventions(u *unstructured.Unstructured) Status {
	if stale := staleCondition(u); stale != "" {
		return waiting(InProgress, cause.NotReadyYet, stale)
	}
	s := compute(u, cause.Stalled)
	if s.State == InProgress && suspended(u) {
		return waiting(InProgress, cause.Suspended, u.GetKind()+" is suspended")
	}
	return s
}

// staleCondition finds a condition that decides about readiness, but was set for an earlier
// generation of the object. kstatus looks at status.observedGeneration only, which many kinds lack.
func staleCondition(u *unstructured.Unstructured) string {
	generation := u.GetGeneration()
	for _, c := range conditionsOf(u) {
		switch c.Type {
		case "Ready", string(status.ConditionReconciling), string(status.ConditionStalled):
			if c.ObservedGeneration != 0 && c.ObservedGeneration < generation {
				return u.GetKind() + "'s condition " + c.Type + " is about an earlier generation"
			}
		}
	}
	return ""
}

func suspended(u *unstructured.Unstructured) bool {
	suspend, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend")
	return suspend
}

func waiting(state State, code cause.Code, message string) Status {
	message = line(message)
	return Status{State: state, Cause: cause.Cause{Code: code, Detail: message}, Message: message}
}

// maxLine bounds messages: a condition may hold up to 32 KiB.
const maxLine = 400

// line puts text on one line of bounded length.
func line(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > maxLine {
		return string(runes[:maxLine-1]) + "…"
	}
	return s
}
