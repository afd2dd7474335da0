// SPDX-License-Identifier: Apache-2.0

package health

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cause"
)

// Puzzle returns the object whose events may say what [Explain] could not find out: the newest of
// the pods that are on their way without a reason, else a workload that has none though it should.
// Nil means that events would say nothing more: a Deployment tells in its status why its pods are
// refused.
func Puzzle(workload *unstructured.Unstructured, pods []*unstructured.Unstructured) *unstructured.Unstructured {
	var newest *unstructured.Unstructured
	for _, p := range pods {
		if p.GetDeletionTimestamp() != nil || podCause(p).Code != cause.NotReadyYet {
			continue
		}
		if newest == nil || p.GetCreationTimestamp().After(newest.GetCreationTimestamp().Time) {
			newest = p
		}
	}
	if newest != nil {
		return newest
	}
	switch workload.GetKind() {
	case "StatefulSet", "DaemonSet", "Job":
		return workload
	default:
		return nil
	}
}

// FromEvents says what the warnings about a pod or workload mean, by the newest that is understood.
// It returns nothing where none is.
func FromEvents(events []*unstructured.Unstructured) cause.Cause {
	newestFirst := slices.SortedStableFunc(slices.Values(events), func(a, b *unstructured.Unstructured) int {
		return -strings.Compare(happened(a), happened(b))
	})
	var found cause.Cause
	for _, e := range newestFirst {
		c := fromEvent(e)
		// That something took too long is said after what it was that failed.
		if vague := strings.Contains(c.Detail, "timed out waiting for the condition"); c.Code != "" && !vague {
			return c
		}
		found = cmp.Or(found, c)
	}
	return found
}

// happened returns when an event was last seen. Times in UTC, as the API server writes them, sort
// as text.
func happened(e *unstructured.Unstructured) string {
	for _, field := range [][]string{{"series", "lastObservedTime"}, {"lastTimestamp"}, {"eventTime"}, {"metadata", "creationTimestamp"}} {
		if at, _, _ := unstructured.NestedString(e.Object, field...); at != "" {
			return at
		}
	}
	return ""
}

func fromEvent(e *unstructured.Unstructured) cause.Cause {
	reason, _, _ := unstructured.NestedString(e.Object, "reason")
	message, _, _ := unstructured.NestedString(e.Object, "message")
	switch reason {
	case "FailedMount", "FailedAttachVolume", "FailedMapVolume":
		return cause.Cause{Code: cause.VolumeMount, Detail: line(message)}
	case "FailedCreatePodSandBox", "NetworkNotReady":
		return cause.Cause{Code: cause.PodSandbox, Detail: line(message)}
	case "FailedCreate":
		for _, before := range []string{"failed error: ", "Error creating: "} {
			if _, text, is := strings.Cut(message, before); is {
				return admission(text)
			}
		}
		return admission(message)
	default:
		return cause.Cause{}
	}
}
