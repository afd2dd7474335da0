// SPDX-License-Identifier: Apache-2.0

package health

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/kustomizer/kustomizer/internal/cause"
)

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(body); err != nil {
		t.Fatal(err)
	}
	return u
}

func current(message string) Status { return Status{State: Current, Message: message} }

func TestAssess(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		object string
		want   Status
	}{
		"a ConfigMap is ready at once": {
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}`,
			current("Resource is always ready"),
		},
		"a kind without a status is ready at once": {
			`{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: a}}`,
			current("Resource is current"),
		},
		"a Deployment that nobody has looked at waits": {
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 1}, spec: {replicas: 0}}`,
			waiting(InProgress, cause.NotReadyYet, "Deployment has not been looked at by its controller yet"),
		},
		"a Deployment whose new generation is not observed waits": {
			deploymentWith(`generation: 2`, `observedGeneration: 1, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1`, okConditions),
			waiting(InProgress, cause.NotReadyYet, "Deployment generation is 2, but latest observed generation is 1"),
		},
		"a Deployment with all replicas is ready": {
			deploymentWith(`generation: 2`, `observedGeneration: 2, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1`, okConditions),
			current("Deployment is available. Replicas: 1"),
		},
		"a Deployment with too few replicas waits": {
			deploymentWith(`generation: 2`, `observedGeneration: 2, replicas: 1, updatedReplicas: 1`, okConditions),
			waiting(InProgress, cause.NotReadyYet, "Available: 0/1"),
		},
		"a Deployment past its progress deadline has failed": {
			deploymentWith(`generation: 2`, `observedGeneration: 2, replicas: 1, updatedReplicas: 1`,
				`{type: Progressing, status: "False", reason: ProgressDeadlineExceeded, message: 'ReplicaSet "a-1" has timed out progressing.'}`),
			waiting(Failed, cause.ProgressDeadline, "Progress deadline exceeded"),
		},
		"a Deployment past the deadline of an earlier generation waits": {
			deploymentWith(`generation: 3`, `observedGeneration: 2, replicas: 1, updatedReplicas: 1`,
				`{type: Progressing, status: "False", reason: ProgressDeadlineExceeded}`),
			waiting(InProgress, cause.NotReadyYet, "Deployment generation is 3, but latest observed generation is 2"),
		},
		"a Deployment whose pods exceed the quota says so": {
			deploymentWith(`generation: 1`, `observedGeneration: 1`,
				`{type: ReplicaFailure, status: "True", reason: FailedCreate, message: 'pods "a-5d-x7k2p" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2'}`),
			Status{InProgress, cause.Cause{Code: cause.QuotaExceeded, Detail: "exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2"}, "Replicas: 0/1"},
		},
		"a paused Deployment in a rollout says that it is paused": {
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 2}, spec: {paused: true, replicas: 1}, status: {observedGeneration: 2}}`,
			waiting(InProgress, cause.Suspended, "Deployment is paused, its rollout can't go on"),
		},
		"a StatefulSet of no replicas waits until its controller has seen it": {
			`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a, generation: 1}, spec: {replicas: 0}}`,
			waiting(InProgress, cause.NotReadyYet, "StatefulSet has not been looked at by its controller yet"),
		},
		"a StatefulSet in the middle waits": {
			`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a, generation: 1}, spec: {replicas: 3}, status: {observedGeneration: 1, replicas: 2}}`,
			waiting(InProgress, cause.NotReadyYet, "Replicas: 2/3"),
		},
		"a DaemonSet without nodes is ready": {
			`{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a, generation: 1}, status: {observedGeneration: 1, desiredNumberScheduled: 0}}`,
			current("All replicas scheduled as expected. Replicas: 0"),
		},
		"a Job that runs is not ready": {
			`{apiVersion: batch/v1, kind: Job, metadata: {name: a, generation: 1}, spec: {completions: 3, parallelism: 1}, status: {startTime: "2026-01-01T00:00:00Z", active: 1, succeeded: 1, failed: 2}}`,
			waiting(InProgress, cause.NotReadyYet, "Job runs: 1 of 3 pods succeeded, 2 failed"),
		},
		"a Job that has not started waits": {
			`{apiVersion: batch/v1, kind: Job, metadata: {name: a}}`,
			waiting(InProgress, cause.NotReadyYet, "Job has not started"),
		},
		"a suspended Job says so": {
			`{apiVersion: batch/v1, kind: Job, metadata: {name: a}, spec: {suspend: true}}`,
			waiting(InProgress, cause.Suspended, "Job is suspended"),
		},
		"a complete Job is ready": {
			`{apiVersion: batch/v1, kind: Job, metadata: {name: a}, status: {succeeded: 1, conditions: [{type: SuccessCriteriaMet, status: "True"}, {type: Complete, status: "True", reason: CompletionsReached}]}}`,
			current("Job is complete: CompletionsReached"),
		},
		"a failed Job has failed": {
			`{apiVersion: batch/v1, kind: Job, metadata: {name: a}, status: {failed: 7, conditions: [{type: Failed, status: "True", reason: BackoffLimitExceeded}]}}`,
			waiting(Failed, cause.JobFailed, "Job has failed: BackoffLimitExceeded"),
		},
		"an autoscaler without metrics is no reason to wait": {
			`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a, generation: 2}, status: {observedGeneration: 1, conditions: [{type: AbleToScale, status: "True"}, {type: ScalingActive, status: "False", reason: FailedGetResourceMetric}]}}`,
			current("HorizontalPodAutoscaler is there"),
		},
		"a disruption budget is ready": {
			`{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: a, generation: 1}, status: {observedGeneration: 1, conditions: [{type: DisruptionAllowed, status: "False"}]}}`,
			current("AllowedDisruptions has been computed."),
		},
		"a claim that waits for its first consumer is pending": {
			`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: a}, spec: {storageClassName: fast}, status: {phase: Pending}}`,
			waiting(InProgress, cause.VolumePending, "PersistentVolumeClaim is not bound (storage class fast): no volume, or no pod that uses it yet"),
		},
		"a bound claim is ready": {
			`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: a}, status: {phase: Bound}}`,
			current("PersistentVolumeClaim is bound"),
		},
		"a load balancer with a cluster address is ready, as with kstatus": {
			`{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: LoadBalancer, clusterIP: 10.0.0.1}}`,
			current("Service is ready"),
		},
		"an unschedulable Pod waits, however old it is": {
			`{apiVersion: v1, kind: Pod, metadata: {name: a, creationTimestamp: "2020-01-01T00:00:00Z"}, status: {phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available."}]}}`,
			Status{InProgress, cause.Cause{Code: cause.Unschedulable, Detail: "0/1 nodes are available: 1 Insufficient cpu."}, "Pod is pending"},
		},
		"a definition whose names are taken has failed": {
			`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a}, status: {conditions: [{type: NamesAccepted, status: "False", reason: ListKindConflict, message: '"AList" is already in use'}]}}`,
			waiting(Failed, cause.Conflict, `ListKindConflict: "AList" is already in use`),
		},
		"a definition that is being installed waits": {
			`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a}}`,
			waiting(InProgress, cause.NotReadyYet, "Install in progress"),
		},
		"an established definition is ready": {
			`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a}, status: {conditions: [{type: NamesAccepted, status: "True"}, {type: Established, status: "True"}]}}`,
			current("CRD is established"),
		},
		"a fresh Kustomization waits for its controller": {
			`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a, generation: 1}, status: {observedGeneration: -1}}`,
			waiting(InProgress, cause.NotReadyYet, "Kustomization generation is 1, but latest observed generation is -1"),
		},
		"a suspended Kustomization says so": {
			`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a, generation: 1}, spec: {suspend: true}, status: {observedGeneration: -1}}`,
			waiting(InProgress, cause.Suspended, "Kustomization is suspended"),
		},
		"an OCIRepository that is not ready says why": {
			`{apiVersion: source.toolkit.fluxcd.io/v1, kind: OCIRepository, metadata: {name: a, generation: 1}, status: {observedGeneration: 1, conditions: [{type: Ready, status: "False", reason: OCIArtifactPullFailed, message: "no such\n tag", observedGeneration: 1}]}}`,
			waiting(InProgress, cause.NotReadyYet, "OCIArtifactPullFailed: no such tag"),
		},
		"a stalled resource has failed": {
			`{apiVersion: source.toolkit.fluxcd.io/v1, kind: OCIRepository, metadata: {name: a, generation: 1}, status: {observedGeneration: 1, conditions: [{type: Stalled, status: "True", reason: URLInvalid, message: bad URL}]}}`,
			waiting(Failed, cause.Stalled, "URLInvalid: bad URL"),
		},
		"a ready custom resource is ready": {
			`{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, generation: 3}, status: {conditions: [{type: Ready, status: "True", observedGeneration: 3}]}}`,
			current("Resource is Ready"),
		},
		"a condition about an earlier generation doesn't count": {
			`{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, generation: 3}, status: {conditions: [{type: Ready, status: "True", observedGeneration: 2}]}}`,
			waiting(InProgress, cause.NotReadyYet, "Widget's condition Ready is about an earlier generation"),
		},
		"conditions of an odd shape are no reason to fall over": {
			`{apiVersion: example.com/v1, kind: Widget, metadata: {name: a}, status: {conditions: [oops]}}`,
			waiting(InProgress, cause.Unknown, "its status can't be understood: cannot restore struct from: string"),
		},
		"an object being deleted names its finalizers in order": {
			`{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: [z.example.com/a, a.example.com/b]}}`,
			waiting(Terminating, cause.FinalizerPending, "being deleted, held by a.example.com/b, z.example.com/a"),
		},
		"a namespace being deleted says what is left in it": {
			`{apiVersion: v1, kind: Namespace, metadata: {name: a, deletionTimestamp: "2026-01-01T00:00:00Z"}, status: {phase: Terminating, conditions: [{type: NamespaceContentRemaining, status: "True", message: "Some resources are remaining: widgets. has 1 resource instances"}]}}`,
			waiting(Terminating, cause.NamespaceGoing, "being deleted: Some resources are remaining: widgets. has 1 resource instances"),
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, Assess(parse(t, tc.object))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAssessOfNothingIsNotFound(t *testing.T) {
	t.Parallel()
	if got := Assess(nil); got.State != NotFound || got.Cause.Code != cause.NotReadyYet {
		t.Errorf("got %+v", got)
	}
}

const okConditions = `{type: Available, status: "True"}, {type: Progressing, status: "True", reason: NewReplicaSetAvailable}`

func deploymentWith(meta, status, conditions string) string {
	return `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, ` + meta + `}, spec: {replicas: 1, progressDeadlineSeconds: 600}, status: {` +
		status + `, conditions: [` + conditions + `]}}`
}
