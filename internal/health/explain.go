// SPDX-License-Identifier: Apache-2.0

package health

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kustomizer/kustomizer/internal/cause"
)

// Explain says why a workload is not ready, from its pods: what keeps an image from being pulled, a
// container from running, a pod from being scheduled. What the workload itself says about pods that
// were refused comes first. Where the pods tell nothing, the cause is that of [Assess]; a workload
// that is ready has none.
func Explain(workload *unstructured.Unstructured, pods []*unstructured.Unstructured) cause.Cause {
	s := Assess(workload)
	if workload == nil || s.State == Current || !Generic(s.Cause.Code) {
		return s.Cause
	}
	for _, generation := range byRevision(pods) {
		if c := worst(generation); c.Code != "" && c.Code != cause.NotReadyYet {
			return c
		}
	}
	return s.Cause
}

// Generic says whether a cause only says that an object is not ready, so that a look at its pods
// may say more.
func Generic(code cause.Code) bool {
	switch code {
	case "", cause.NotReadyYet, cause.ProgressDeadline, cause.JobFailed:
		return true
	default:
		return false
	}
}

// PodSelector returns the label selector of a workload's pods. It is empty for objects that have
// no pods, and for a selector that would match every pod.
func PodSelector(workload *unstructured.Unstructured) string {
	gk := workload.GroupVersionKind().GroupKind()
	switch gk.Group + "/" + gk.Kind {
	case "apps/Deployment", "apps/StatefulSet", "apps/DaemonSet", "apps/ReplicaSet", "batch/Job":
	default:
		return ""
	}
	raw, _, _ := unstructured.NestedMap(workload.Object, "spec", "selector")
	parsed := &metav1.LabelSelector{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, parsed); err != nil {
		return ""
	}
	selector, err := metav1.LabelSelectorAsSelector(parsed)
	if err != nil || selector.Empty() {
		return ""
	}
	return selector.String()
}

// byRevision groups pods by the revision of the template they were made from, the newest first, so
// that what is left of an earlier failure does not pass for the present one.
func byRevision(pods []*unstructured.Unstructured) [][]*unstructured.Unstructured {
	groups, newest := map[string][]*unstructured.Unstructured{}, map[string]int64{}
	for _, p := range pods {
		revision := cmp.Or(p.GetLabels()["pod-template-hash"], p.GetLabels()["controller-revision-hash"])
		groups[revision] = append(groups[revision], p)
		created := p.GetCreationTimestamp()
		newest[revision] = max(newest[revision], created.Unix())
	}
	revisions := make([]string, 0, len(groups))
	for r := range groups {
		revisions = append(revisions, r)
	}
	slices.SortFunc(revisions, func(a, b string) int {
		return cmp.Or(cmp.Compare(newest[b], newest[a]), strings.Compare(a, b))
	})
	out := make([][]*unstructured.Unstructured, len(revisions))
	for i, r := range revisions {
		out[i] = groups[r]
	}
	return out
}

// worst returns the most telling cause among pods, whatever their order.
func worst(pods []*unstructured.Unstructured) cause.Cause {
	var found []cause.Cause
	for _, p := range pods {
		if c := podCause(p); c.Code != "" {
			found = append(found, c)
		}
	}
	return mostTelling(found)
}

func mostTelling(causes []cause.Cause) cause.Cause {
	if len(causes) == 0 {
		return cause.Cause{}
	}
	return slices.MinFunc(causes, func(a, b cause.Cause) int {
		return cmp.Or(cmp.Compare(rank(a.Code), rank(b.Code)), strings.Compare(a.Detail, b.Detail))
	})
}

// rank orders causes by how much they tell: those that a person must act on first.
func rank(code cause.Code) int {
	order := []cause.Code{
		cause.ContainerConfig, cause.ImagePull, cause.OutOfMemory, cause.CrashLoop, cause.ContainerFailed, cause.VolumePending,
		cause.Unschedulable, cause.PodRefused, cause.Evicted, cause.ReadinessProbe, cause.NotReadyYet,
	}
	if i := slices.Index(order, code); i >= 0 {
		return i
	}
	return len(order)
}

// forbiddenPod is how the API server begins when it refuses a pod; the name is different each time.
var forbiddenPod = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(pods "[^"]*" is forbidden|Pod "[^"]*" is invalid): `)
})

// admission classifies what the API server said when it refused a pod.
func admission(message string) cause.Cause {
	text := forbiddenPod().ReplaceAllString(line(message), "")
	code := cause.PodRefused
	switch {
	case strings.Contains(text, "exceeded quota"), strings.Contains(text, "failed quota"):
		code = cause.QuotaExceeded
	case strings.Contains(text, "error looking up service account"):
		code = cause.ServiceAccountMissing
	case strings.Contains(text, "violates PodSecurity"):
		code = cause.PodSecurity
	case strings.Contains(text, "failed calling webhook"):
		code = cause.WebhookUnavailable
	case strings.Contains(text, "admission webhook") && strings.Contains(text, "denied"):
		code = cause.WebhookDenied
	case strings.Contains(text, "ValidatingAdmissionPolicy") && strings.Contains(text, "denied request"):
		code = cause.PolicyDenied
	case strings.Contains(text, "because it is being terminated"):
		code = cause.NamespaceGoing
	}
	return cause.Cause{Code: code, Detail: text}
}
