// SPDX-License-Identifier: Apache-2.0

package object

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Stage is a step of an apply: all objects of a stage are in the cluster, and definitions among
// them are established, before the next one begins.
type Stage int

// The stages, in the order in which they are applied.
const (
	StageDefinitions Stage = iota // CustomResourceDefinition, Namespace, ClusterRole: what others need to exist
	StageFirst                    // the kinds that an [Order] puts first
	StageClasses                  // kinds that end in Class: what others name
	StageRest                     // everything else
	StageWebhooks                 // admission webhooks: their backends are in the rest
)

// StageOf says in which stage an object of that identity is applied.
func StageOf(id ID) Stage {
	switch {
	case isDefinition(id), id.Group == "" && id.Kind == "Namespace", id.Group == rbacGroup && id.Kind == "ClusterRole":
		return StageDefinitions
	case strings.HasSuffix(id.Kind, "Class"):
		return StageClasses
	case id.Group == "admissionregistration.k8s.io" && strings.HasSuffix(id.Kind, "WebhookConfiguration"):
		return StageWebhooks
	default:
		return StageRest
	}
}

const rbacGroup = "rbac.authorization.k8s.io"

func isDefinition(id ID) bool {
	return id.Group == "apiextensions.k8s.io" && id.Kind == "CustomResourceDefinition"
}

// DefaultOrder returns the lists that the order of [Sort] comes from, which is Kustomizer's: the kinds
// that come before all others, and those that come after.
func DefaultOrder() Order {
	return Order{First: kindOrder(), Last: []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}}
}

// Order is an order of application by kinds. The zero value is the default: in it kinds that don't
// need each other are applied side by side. In any other one each listed kind has its own place, and
// the kinds before it are applied when it comes: those of First before all that is not listed, those
// of Last after it. Definitions come first in any order, and admission webhooks that are not listed
// last: nothing else could work.
type Order struct{ First, Last []string }

// Normal returns the order, or the zero value where it is the default.
func (o Order) Normal() Order {
	d := DefaultOrder()
	if slices.Equal(o.First, d.First) && slices.Equal(o.Last, d.Last) {
		return Order{}
	}
	return o
}

func (o Order) isDefault() bool { return o.First == nil && o.Last == nil }

// StageOf says in which stage an object of that identity is applied.
func (o Order) StageOf(id ID) Stage {
	stage := StageOf(id)
	switch {
	case o.isDefault() || stage == StageDefinitions:
		return stage
	case slices.Contains(o.First, id.Kind):
		return StageFirst
	case slices.Contains(o.Last, id.Kind):
		return StageWebhooks
	default:
		return stage
	}
}

// WaveOf says when within its stage an object is applied: see [WaveOf].
func (o Order) WaveOf(id ID) int {
	if o.isDefault() {
		return WaveOf(id)
	}
	switch o.StageOf(id) {
	case StageFirst:
		return slices.Index(o.First, id.Kind)
	case StageWebhooks:
		return slices.Index(o.Last, id.Kind) + 1
	default:
		return WaveOf(id)
	}
}

// Compare compares two identities by the order.
func (o Order) Compare(a, b ID) int {
	if o.isDefault() {
		return CompareApplyOrder(a, b)
	}
	stages := cmp.Compare(o.StageOf(a), o.StageOf(b))
	if o.StageOf(a) == StageFirst || o.StageOf(a) == StageWebhooks {
		return cmp.Or(stages, cmp.Compare(o.WaveOf(a), o.WaveOf(b)), a.Compare(b))
	}
	return cmp.Or(stages, CompareApplyOrder(a, b))
}

// Sort puts objects into the order.
func (o Order) Sort(objs []*unstructured.Unstructured) {
	slices.SortStableFunc(objs, func(a, b *unstructured.Unstructured) int { return o.Compare(Of(a), Of(b)) })
}

// kindOrder lists the kinds that come before all others, in the order of Kustomizer's
// applyOrder.first. Its position is an object's weight.
func kindOrder() []string {
	return []string{
		"CustomResourceDefinition", "Namespace", "ClusterClass", "RuntimeClass", "PriorityClass", "StorageClass",
		"VolumeSnapshotClass", "IngressClass", "GatewayClass", "ResourceQuota", "ServiceAccount", "Role", "ClusterRole",
		"RoleBinding", "ClusterRoleBinding", "ConfigMap", "Secret", "Service", "LimitRange", "Deployment",
		"StatefulSet", "CronJob", "PodDisruptionBudget",
	}
}

// Sort puts objects into the order in which they are shown and applied: by stage, by the kind's
// weight, then by group, kind, namespace and name. The order doesn't depend on the input's.
func Sort(objs []*unstructured.Unstructured) {
	slices.SortStableFunc(objs, func(a, b *unstructured.Unstructured) int { return CompareApplyOrder(Of(a), Of(b)) })
}

// SortIDs puts identities into the order of [Sort].
func SortIDs(ids []ID) { slices.SortFunc(ids, CompareApplyOrder) }

// CompareApplyOrder compares two identities by the order of [Sort].
func CompareApplyOrder(a, b ID) int {
	return cmp.Or(cmp.Compare(StageOf(a), StageOf(b)), cmp.Compare(weight(a), weight(b)), a.Compare(b))
}

func weight(id ID) int {
	order := kindOrder()
	if i := slices.Index(order, id.Kind); i >= 0 {
		return i
	}
	if id.Group == "admissionregistration.k8s.io" && strings.HasSuffix(id.Kind, "WebhookConfiguration") {
		return len(order) + 1
	}
	return len(order)
}

// WaveOf says when within its stage an object is applied. Objects of one wave are applied at the
// same time; accounts and roles come before what binds them, and all of these and what workloads
// mount before the workloads, so that no controller has to try twice.
func WaveOf(id ID) int {
	switch id.Kind {
	case "ResourceQuota", "ServiceAccount", "Role":
		return 0
	case "RoleBinding", "ClusterRoleBinding":
		return 1
	case "ConfigMap", "Secret", "Service", "LimitRange", "PodDisruptionBudget", "PersistentVolume", "PersistentVolumeClaim":
		return 2
	default:
		return 3
	}
}

// Phase is a part of a deletion: all objects of a phase are gone before the next one begins, so that
// nothing is deleted that others still need for their end.
type Phase int

// The phases, in the order in which they are deleted.
const (
	// PhaseCustom: admission webhooks, and what needs a controller to clean up after it, which the next
	// phase may delete.
	PhaseCustom Phase = iota
	PhaseRest
	// PhaseDefinitions: what others need to exist.
	PhaseDefinitions
)

// PhaseOf says in which phase an object is deleted.
func PhaseOf(id ID) Phase {
	switch stage := StageOf(id); {
	case stage == StageWebhooks:
		return PhaseCustom
	case stage < StageRest, id.Group == "apiregistration.k8s.io":
		return PhaseDefinitions
	case !builtIn(id.Group):
		return PhaseCustom
	default:
		return PhaseRest
	}
}

// builtIn says whether Kubernetes itself serves a group.
func builtIn(group string) bool {
	switch group {
	case "", "apps", "batch", "autoscaling", "policy", "extensions", rbacGroup, "networking.k8s.io", "storage.k8s.io", "scheduling.k8s.io",
		"node.k8s.io", "discovery.k8s.io", "coordination.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io",
		"apiregistration.k8s.io", "certificates.k8s.io", "flowcontrol.apiserver.k8s.io", "events.k8s.io", "resource.k8s.io":
		return true
	}
	return false
}
