// SPDX-License-Identifier: Apache-2.0

package health

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kustomizer/kustomizer/internal/cause"
)

// podCause says why a pod is not ready, or nothing if it is, has done its work, or is on its way
// out. The text names containers and images, never the pod: its name changes with each attempt.
func podCause(u *unstructured.Unstructured) cause.Cause {
	p := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, p); err != nil {
		return cause.Cause{}
	}
	if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || podIs(p, corev1.PodReady) == corev1.ConditionTrue {
		return cause.Cause{}
	}
	causes := append(containerCauses(p), scheduling(p)...)
	if p.Status.Phase == corev1.PodFailed && len(causes) == 0 {
		causes = append(causes, rejected(p))
	}
	return mostTelling(causes)
}

func podIs(p *corev1.Pod, kind corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

// rejected explains a pod that failed though none of its containers did.
func rejected(p *corev1.Pod) cause.Cause {
	code := cause.PodRefused
	if p.Status.Reason == "Evicted" {
		code = cause.Evicted
	}
	detail := strings.Trim(p.Status.Reason+": "+p.Status.Message, ": ")
	if detail == "" {
		detail = "the pod failed without a reason"
	}
	return cause.Cause{Code: code, Detail: line(detail)}
}

// scheduling explains a pod that has no node.
func scheduling(p *corev1.Pod) []cause.Cause {
	for _, c := range p.Status.Conditions {
		if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse {
			continue
		}
		if c.Reason == corev1.PodReasonSchedulingGated {
			return []cause.Cause{{Code: cause.Unschedulable, Detail: "scheduling is gated by " + gates(p)}}
		}
		// What follows is about pods that could be evicted, and differs from one attempt to the next.
		text, _, _ := strings.Cut(line(c.Message), " preemption:")
		lower := strings.ToLower(text)
		if strings.Contains(lower, "persistentvolumeclaim") || strings.Contains(lower, "binding volumes") {
			return []cause.Cause{{Code: cause.VolumePending, Detail: text}}
		}
		return []cause.Cause{{Code: cause.Unschedulable, Detail: text}}
	}
	return nil
}

func gates(p *corev1.Pod) string {
	var names []string
	for _, g := range p.Spec.SchedulingGates {
		names = append(names, g.Name)
	}
	return strings.Join(names, ", ")
}

func containerCauses(p *corev1.Pod) []cause.Cause {
	var out []cause.Cause
	for _, cs := range p.Status.InitContainerStatuses {
		out = append(out, containerCause(p, cs, "init container")...)
	}
	for _, cs := range p.Status.ContainerStatuses {
		out = append(out, containerCause(p, cs, "container")...)
		if cs.State.Running != nil && !cs.Ready && hasReadinessProbe(p, cs.Name) {
			out = append(out, cause.Cause{Code: cause.ReadinessProbe, Detail: fmt.Sprintf("container %q runs, but its readiness probe has not passed", cs.Name)})
		}
	}
	return out
}

func containerCause(p *corev1.Pod, cs corev1.ContainerStatus, what string) []cause.Cause {
	name := fmt.Sprintf("%s %q", what, cs.Name)
	last := cs.LastTerminationState.Terminated
	switch {
	case cs.State.Waiting != nil:
		return waitingContainer(cs, name)
	case cs.State.Terminated != nil:
		return endedContainer(p, cs.State.Terminated, name)
	case cs.State.Running != nil && !cs.Ready && last != nil && last.ExitCode != 0:
		// It was started again and may well end again: the same text as while it waits for that.
		return []cause.Cause{exited(last, name, cause.CrashLoop)}
	default:
		return nil
	}
}

func waitingContainer(cs corev1.ContainerStatus, name string) []cause.Cause {
	w, last := cs.State.Waiting, cs.LastTerminationState.Terminated
	switch w.Reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError",
		"RegistryUnavailable", "SignatureValidationFailed":
		return []cause.Cause{{Code: cause.ImagePull, Detail: strings.TrimSuffix(fmt.Sprintf("image %q of %s: %s", cs.Image, name, pullProblem(w)), ": ")}}
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PostStartHookError", "PreStartHookError":
		return []cause.Cause{{Code: cause.ContainerConfig, Detail: strings.TrimSuffix(line(name+": "+w.Message), ":")}}
	case "CrashLoopBackOff":
		if last == nil {
			return []cause.Cause{{Code: cause.CrashLoop, Detail: name + " keeps ending"}}
		}
		return []cause.Cause{exited(last, name, cause.CrashLoop)}
	}
	if last != nil && last.ExitCode != 0 {
		return []cause.Cause{exited(last, name, cause.CrashLoop)}
	}
	return []cause.Cause{{Code: cause.NotReadyYet, Detail: name + " is being created"}}
}

// endedContainer explains a container that has ended: one that is started again is on its way into
// a crash loop.
func endedContainer(p *corev1.Pod, t *corev1.ContainerStateTerminated, name string) []cause.Cause {
	if t.ExitCode == 0 {
		return nil
	}
	code := cause.CrashLoop
	if p.Spec.RestartPolicy == corev1.RestartPolicyNever || p.Status.Phase == corev1.PodFailed {
		code = cause.ContainerFailed
	}
	return []cause.Cause{exited(t, name, code)}
}

// exited describes how a container ended. Its termination message is left out: the program wrote
// it, and it may hold anything.
func exited(t *corev1.ContainerStateTerminated, name string, code cause.Code) cause.Cause {
	switch t.Reason {
	case "StartError", "ContainerCannotRun":
		return cause.Cause{Code: cause.ContainerConfig, Detail: strings.TrimSuffix(line(name+" can't be started: "+t.Message), ":")}
	case "OOMKilled":
		return cause.Cause{Code: cause.OutOfMemory, Detail: fmt.Sprintf("%s was killed at its memory limit (exit code %d)", name, t.ExitCode)}
	case "", "Error", "Completed":
		return cause.Cause{Code: code, Detail: fmt.Sprintf("%s exited with code %d", name, t.ExitCode)}
	default:
		return cause.Cause{Code: code, Detail: fmt.Sprintf("%s exited with code %d (%s)", name, t.ExitCode, t.Reason)}
	}
}

// pullProblem puts the many texts of container runtimes into few words that stay the same from one
// attempt to the next.
func pullProblem(w *corev1.ContainerStateWaiting) string {
	text := strings.ToLower(w.Message)
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case w.Reason == "InvalidImageName":
		return "the name is not valid"
	case w.Reason == "ErrImageNeverPull":
		return "not on the node, and the pull policy is Never"
	case w.Reason == "SignatureValidationFailed":
		return "its signature is not accepted"
	case has("toomanyrequests", "too many requests", "429"):
		return "the registry limits the rate of pulls"
	case has("unauthorized", "authorization failed", "authentication required", "access denied", "denied:", "forbidden", "no basic auth"):
		return "access denied"
	case has("not found", "manifest unknown", "notfound"):
		return "not found"
	case has("no such host", "connection refused", "i/o timeout", "no route to host", "tls handshake", "deadline exceeded"):
		return "the registry can't be reached"
	case has("x509", "http response to https"):
		return "the registry's certificate or protocol is not accepted"
	case has("no match for platform", "no matching manifest"):
		return "not built for the node's platform"
	case has("no space left"):
		return "no space left on the node"
	default:
		return ""
	}
}

func hasReadinessProbe(p *corev1.Pod, container string) bool {
	for _, c := range p.Spec.Containers {
		if c.Name == container {
			return c.ReadinessProbe != nil || c.StartupProbe != nil
		}
	}
	return false
}
