// SPDX-License-Identifier: Apache-2.0

package health

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kustomizer/kustomizer/internal/cause"
)

const (
	unready = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 1}, spec: {replicas: 1}, status: {observedGeneration: 1, replicas: 1, updatedReplicas: 1}}`
	overdue = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 1}, spec: {replicas: 1}, status: {observedGeneration: 1, conditions: [{type: Progressing, status: "False", reason: ProgressDeadlineExceeded}]}}`
	badJob  = `{apiVersion: batch/v1, kind: Job, metadata: {name: a}, status: {conditions: [{type: Failed, status: "True", reason: BackoffLimitExceeded}]}}`
)

// podWith returns a pod of the newest revision with one container "app" in the given status.
func podWith(container string) string {
	return `{apiVersion: v1, kind: Pod, metadata: {name: a-1, creationTimestamp: "2026-01-02T00:00:00Z", labels: {pod-template-hash: new}},
		spec: {containers: [{name: app, readinessProbe: {}}]},
		status: {phase: Running, containerStatuses: [{name: app, image: "example.com/app:1", ready: false, ` + container + `}]}}`
}

func podUnscheduled(message string) string {
	return `{apiVersion: v1, kind: Pod, metadata: {name: a-1}, status: {phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: '` + message + `'}]}}`
}

func TestExplain(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		workload string
		pods     []string
		want     cause.Cause
	}{
		"an image that is not there": {unready, []string{
			podWith(`state: {waiting: {reason: ErrImagePull, message: 'rpc error: code = NotFound desc = failed to pull and unpack image "example.com/app:1": not found'}}`)},
			cause.Cause{Code: cause.ImagePull, Detail: `image "example.com/app:1" of container "app": not found`}},
		"the same image while the kubelet backs off": {unready, []string{
			podWith(`state: {waiting: {reason: ImagePullBackOff, message: 'Back-off pulling image "example.com/app:1": ErrImagePull: example.com/app:1: not found'}}`)},
			cause.Cause{Code: cause.ImagePull, Detail: `image "example.com/app:1" of container "app": not found`}},
		"an image without a pull secret": {unready, []string{
			podWith(`state: {waiting: {reason: ErrImagePull, message: 'pull access denied, repository does not exist or may require authorization: 401 Unauthorized'}}`)},
			cause.Cause{Code: cause.ImagePull, Detail: `image "example.com/app:1" of container "app": access denied`}},
		"an image whose failure is in no words we know": {unready, []string{
			podWith(`state: {waiting: {reason: ImagePullBackOff, message: Back-off pulling image}}`)},
			cause.Cause{Code: cause.ImagePull, Detail: `image "example.com/app:1" of container "app"`}},
		"an image name that is not one": {unready, []string{podWith(`state: {waiting: {reason: InvalidImageName}}`)},
			cause.Cause{Code: cause.ImagePull, Detail: `image "example.com/app:1" of container "app": the name is not valid`}},
		"a crash loop": {unready, []string{
			podWith(`restartCount: 3, state: {waiting: {reason: CrashLoopBackOff, message: back-off 40s restarting}}, lastState: {terminated: {exitCode: 2, reason: Error, message: "password=hunter2"}}`)},
			cause.Cause{Code: cause.CrashLoop, Detail: `container "app" exited with code 2`}},
		"a crash loop between two crashes": {unready, []string{
			podWith(`restartCount: 3, state: {running: {}}, lastState: {terminated: {exitCode: 2, reason: Error}}`)},
			cause.Cause{Code: cause.CrashLoop, Detail: `container "app" exited with code 2`}},
		"a crash loop at the first crash": {unready, []string{podWith(`state: {terminated: {exitCode: 2, reason: Error}}`)},
			cause.Cause{Code: cause.CrashLoop, Detail: `container "app" exited with code 2`}},
		"a container out of memory": {unready, []string{
			podWith(`state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}`)},
			cause.Cause{Code: cause.OutOfMemory, Detail: `container "app" was killed at its memory limit (exit code 137)`}},
		"a command that does not exist": {unready, []string{
			podWith(`state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 128, reason: StartError, message: 'exec: "nope": executable file not found in $PATH'}}`)},
			cause.Cause{Code: cause.ContainerConfig, Detail: `container "app" can't be started: exec: "nope": executable file not found in $PATH`}},
		"a Secret that is missing": {unready, []string{
			podWith(`state: {waiting: {reason: CreateContainerConfigError, message: secret "db" not found}}`)},
			cause.Cause{Code: cause.ContainerConfig, Detail: `container "app": secret "db" not found`}},
		"an init container that fails": {unready, []string{
			`{apiVersion: v1, kind: Pod, metadata: {name: a-1}, status: {phase: Pending,
				initContainerStatuses: [{name: migrate, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1}}}],
				containerStatuses: [{name: app, state: {waiting: {reason: PodInitializing}}}]}}`},
			cause.Cause{Code: cause.CrashLoop, Detail: `init container "migrate" exited with code 1`}},
		"a probe that does not pass": {unready, []string{podWith(`state: {running: {}}`)},
			cause.Cause{Code: cause.ReadinessProbe, Detail: `container "app" runs, but its readiness probe has not passed`}},
		"no room on the nodes": {unready, []string{
			podUnscheduled("0/2 nodes are available: 2 Insufficient memory. preemption: 0/2 nodes are available: 2 No preemption victims found.")},
			cause.Cause{Code: cause.Unschedulable, Detail: "0/2 nodes are available: 2 Insufficient memory."}},
		"a claim without a volume": {unready, []string{
			podUnscheduled("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: none")},
			cause.Cause{Code: cause.VolumePending, Detail: "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."}},
		"a claim that is not there": {unready, []string{podUnscheduled(`persistentvolumeclaim "data" not found`)},
			cause.Cause{Code: cause.VolumePending, Detail: `persistentvolumeclaim "data" not found`}},
		"a scheduling gate": {unready, []string{
			`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {schedulingGates: [{name: example.com/hold}]}, status: {phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: SchedulingGated}]}}`},
			cause.Cause{Code: cause.Unschedulable, Detail: "scheduling is gated by example.com/hold"}},
		"an evicted pod": {unready, []string{
			`{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {phase: Failed, reason: Evicted, message: "The node was low on resource: memory."}}`},
			cause.Cause{Code: cause.Evicted, Detail: "Evicted: The node was low on resource: memory."}},
		"pods past the deadline": {overdue, []string{podWith(`state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1}}`)},
			cause.Cause{Code: cause.CrashLoop, Detail: `container "app" exited with code 1`}},
		"a Job whose container fails": {badJob, []string{
			`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {restartPolicy: Never}, status: {phase: Failed, containerStatuses: [{name: run, state: {terminated: {exitCode: 3, reason: Error}}}]}}`},
			cause.Cause{Code: cause.ContainerFailed, Detail: `container "run" exited with code 3`}},
		"a Job past its deadline, without pods": {badJob, nil,
			cause.Cause{Code: cause.JobFailed, Detail: "Job has failed: BackoffLimitExceeded"}},
		"no pods and nothing said": {unready, nil, cause.Cause{Code: cause.NotReadyYet, Detail: "Available: 0/1"}},
		"containers that are being created": {unready, []string{podWith(`state: {waiting: {reason: ContainerCreating}}`)},
			cause.Cause{Code: cause.NotReadyYet, Detail: "Available: 0/1"}},
		"pods that are on their way out don't count": {unready, []string{
			`{apiVersion: v1, kind: Pod, metadata: {name: a, deletionTimestamp: "2026-01-01T00:00:00Z"}, status: {phase: Failed, reason: Evicted}}`},
			cause.Cause{Code: cause.NotReadyYet, Detail: "Available: 0/1"}},
		"the newest revision counts, not what is left of an earlier failure": {unready, []string{
			podWith(`state: {running: {}}`),
			`{apiVersion: v1, kind: Pod, metadata: {name: a-0, creationTimestamp: "2026-01-01T00:00:00Z", labels: {pod-template-hash: old}}, status: {phase: Running, containerStatuses: [{name: app, image: "old:1", state: {waiting: {reason: ErrImagePull}}}]}}`},
			cause.Cause{Code: cause.ReadinessProbe, Detail: `container "app" runs, but its readiness probe has not passed`}},
		"the more telling of two pods": {unready, []string{
			podWith(`state: {running: {}}`), podWith(`state: {waiting: {reason: CreateContainerConfigError, message: configmap "c" not found}}`)},
			cause.Cause{Code: cause.ContainerConfig, Detail: `container "app": configmap "c" not found`}},
		"a ready workload has no cause": {
			`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a, generation: 1}, spec: {replicas: 0}, status: {observedGeneration: 1}}`,
			[]string{podWith(`state: {waiting: {reason: ErrImagePull}}`)}, cause.Cause{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var pods []*unstructured.Unstructured
			for _, p := range tc.pods {
				pods = append(pods, parse(t, p))
			}
			for range 2 {
				if diff := cmp.Diff(tc.want, Explain(parse(t, tc.workload), pods)); diff != "" {
					t.Error(diff)
				}
				slices.Reverse(pods)
			}
		})
	}
}

func TestExplainPodsThatTheServerRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		message string
		want    cause.Cause
	}{
		"quota":          {`pods "a-x" is forbidden: exceeded quota: q, requested: pods=1`, cause.Cause{Code: cause.QuotaExceeded, Detail: "exceeded quota: q, requested: pods=1"}},
		"quota unstated": {`pods "a-x" is forbidden: failed quota: q: must specify limits.cpu`, cause.Cause{Code: cause.QuotaExceeded, Detail: "failed quota: q: must specify limits.cpu"}},
		"pod security":   {`pods "a-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true`, cause.Cause{Code: cause.PodSecurity, Detail: `violates PodSecurity "restricted:latest": runAsNonRoot != true`}},
		"webhook denial": {`admission webhook "v.example.com" denied the request: no`, cause.Cause{Code: cause.WebhookDenied, Detail: `admission webhook "v.example.com" denied the request: no`}},
		"webhook away":   {`Internal error occurred: failed calling webhook "v.example.com": no endpoints`, cause.Cause{Code: cause.WebhookUnavailable, Detail: `Internal error occurred: failed calling webhook "v.example.com": no endpoints`}},
		"account":        {`pods "a-" is forbidden: error looking up service account ns/sa: serviceaccount "sa" not found`, cause.Cause{Code: cause.ServiceAccountMissing, Detail: `error looking up service account ns/sa: serviceaccount "sa" not found`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := parse(t, unready)
			condition := map[string]any{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": tc.message}
			if err := unstructured.SetNestedSlice(u.Object, []any{condition}, "status", "conditions"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, Explain(u, nil)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryCauseThatHealthNamesHasAHint(t *testing.T) {
	t.Parallel()
	for _, code := range []cause.Code{
		cause.ContainerConfig, cause.ContainerFailed, cause.Evicted, cause.JobFailed, cause.PodRefused, cause.PodSecurity,
		cause.ProgressDeadline, cause.ReadinessProbe, cause.Stalled, cause.Suspended, cause.VolumePending,
		cause.ImagePull, cause.CrashLoop, cause.Unschedulable, cause.QuotaExceeded, cause.FinalizerPending,
		cause.OutOfMemory, cause.PodSandbox, cause.PolicyDenied, cause.ServiceAccountMissing, cause.VolumeMount,
	} {
		if code.Hint() == "" {
			t.Errorf("%s has no hint", code)
		}
	}
}

func TestPodSelector(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ object, want string }{
		"labels and expressions": {
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {app: a}, matchExpressions: [{key: tier, operator: In, values: [front, back]}]}}}`,
			"app=a,tier in (back,front)"},
		"an empty selector would match all pods": {`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {}}}`, ""},
		"no selector":                            {`{apiVersion: batch/v1, kind: Job, metadata: {name: a}}`, ""},
		"a kind without pods":                    {`{apiVersion: example.com/v1, kind: Widget, metadata: {name: a}, spec: {selector: {matchLabels: {app: a}}}}`, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := PodSelector(parse(t, tc.object)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
