// SPDX-License-Identifier: Apache-2.0

// Package cause is the closed vocabulary of reasons for which something is not as wished. Status,
// events and the command line use the same words for the same cause.
package cause

// Code names a cause. It is stable: scripts and dashboards may match on it.
type Code string

// The causes. Each has a hint in [Code.Hint].
const (
	Unknown               Code = "Unknown"
	ImagePull             Code = "ImagePull"
	CrashLoop             Code = "CrashLoop"
	ContainerConfig       Code = "ContainerConfigError"
	ContainerFailed       Code = "ContainerFailed"
	Evicted               Code = "Evicted"
	JobFailed             Code = "JobFailed"
	PodRefused            Code = "PodRefused"
	OutOfMemory           Code = "OutOfMemory"
	PodSandbox            Code = "PodSandboxFailed"
	PodSecurity           Code = "PodSecurityViolation"
	PolicyDenied          Code = "PolicyDenied"
	ReadinessProbe        Code = "ReadinessProbe"
	Stalled               Code = "Stalled"
	Suspended             Code = "Suspended"
	Unschedulable         Code = "Unschedulable"
	VolumeMount           Code = "VolumeMountFailed"
	VolumePending         Code = "VolumePending"
	QuotaExceeded         Code = "QuotaExceeded"
	NotReadyYet           Code = "NotReadyYet"
	ProgressDeadline      Code = "ProgressDeadlineExceeded"
	PermissionDenied      Code = "PermissionDenied"
	Unauthorized          Code = "Unauthorized"
	WebhookDenied         Code = "WebhookDenied"
	WebhookUnavailable    Code = "WebhookUnavailable"
	DryRunUnsupported     Code = "DryRunUnsupported"
	ImmutableField        Code = "ImmutableField"
	InvalidObject         Code = "InvalidObject"
	KindMissing           Code = "KindMissing"
	DiscoveryFailed       Code = "DiscoveryFailed"
	NamespaceMissing      Code = "NamespaceMissing"
	NamespaceGoing        Code = "NamespaceTerminating"
	BeingDeleted          Code = "BeingDeleted"
	FinalizerPending      Code = "FinalizerPending"
	Conflict              Code = "Conflict"
	OwnedByOther          Code = "OwnedByOther"
	ServiceAccountMissing Code = "ServiceAccountMissing"
	ServerUnavailable     Code = "ServerUnavailable"
	Throttled             Code = "Throttled"
)

// Cause is one reason together with what it is about.
type Cause struct {
	Code   Code
	Detail string // what the server or the object said, on one line; without secrets
}

// String returns the cause on one line: the code, then the detail.
func (c Cause) String() string {
	if c.Detail == "" {
		return string(c.Code)
	}
	return string(c.Code) + ": " + c.Detail
}

// Hint says what a person can do about a cause, or nothing where there is no general advice.
func (c Code) Hint() string { //nolint:gocyclo,funlen // a table, in the form that the compiler checks for duplicates
	switch c {
	case ImagePull:
		return "check the image's name and tag, and the namespace's pull secret"
	case CrashLoop:
		return "read the container's log: kubectl logs --previous"
	case ContainerConfig:
		return "create what the container refers to, or correct its command: kubectl describe pod"
	case ContainerFailed, JobFailed:
		return "read the container's log: kubectl logs"
	case OutOfMemory:
		return "raise the container's memory limit, or have it use less"
	case PodSandbox:
		return "the node's network or runtime can't start pods: kubectl describe pod"
	case VolumeMount:
		return "create what the volume refers to, or see why it can't be mounted: kubectl describe pod"
	case ServiceAccountMissing:
		return "create the service account, or correct serviceAccountName"
	case PolicyDenied:
		return "change the object so that the admission policy accepts it"
	case Evicted:
		return "the node ran short of a resource: lower what the pods use, or add nodes"
	case PodRefused:
		return "correct the pod template so that the API server and the nodes accept its pods"
	case PodSecurity:
		return "tighten the pod's securityContext, or change the namespace's pod-security label"
	case ProgressDeadline:
		return "see why its pods are not ready: kubectl describe pod"
	case ReadinessProbe:
		return "read the container's log, and compare the probe's path and port with the container's"
	case Stalled:
		return "its controller has given up on it: read the object's status"
	case Suspended:
		return "resume it, or leave it out of what is waited for"
	case VolumePending:
		return "see why the claim has no volume: kubectl describe pvc"
	case Unschedulable:
		return "compare the pod's requests, selectors and tolerations with the nodes"
	case QuotaExceeded:
		return "raise the ResourceQuota or lower what is requested"
	case PermissionDenied:
		return "grant the verb to the account named in the message"
	case Unauthorized:
		return "renew the credentials of the kubeconfig"
	case WebhookDenied:
		return "change the object so that the admission webhook accepts it"
	case WebhookUnavailable:
		return "the admission webhook's backend does not answer: see that it runs"
	case DryRunUnsupported:
		return "have the webhook declare sideEffects as None or NoneOnDryRun"
	case ImmutableField:
		return "the field can't be changed in place: set force to have the object replaced"
	case InvalidObject:
		return "correct the manifest: the API server refuses it"
	case KindMissing:
		return "install the CustomResourceDefinition, or add it to the same artifact"
	case DiscoveryFailed:
		return "an aggregated API does not answer: kubectl get apiservices"
	case NamespaceMissing:
		return "create the namespace, or add it to the same artifact"
	case NamespaceGoing, BeingDeleted, FinalizerPending:
		return "wait until the deletion has finished; see which finalizer holds it"
	case OwnedByOther:
		return "remove the object from one of the two sets"
	case ServerUnavailable, Throttled:
		return "the API server is busy or away: see that it runs and is not overloaded"
	default:
		return ""
	}
}
