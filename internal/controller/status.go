// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Reasons beside those that Flux has.
const (
	reasonUnsupported = "UnsupportedField"
	reasonPruneHeld   = "PruneHeld"
	reasonOwnership   = "OwnershipConflict"
	reasonSuspended   = "Suspended"
)

// maxMessage bounds a condition's message.
const maxMessage = 16 << 10

// conditions is the list of conditions of one object, for one generation.
type conditions struct {
	list       *[]metav1.Condition
	generation int64
}

func (c conditions) set(kind string, status metav1.ConditionStatus, reason, message string) {
	apimeta.SetStatusCondition(c.list, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: truncate(message), ObservedGeneration: c.generation,
	})
}

func (c conditions) remove(kinds ...string) {
	for _, kind := range kinds {
		apimeta.RemoveStatusCondition(c.list, kind)
	}
}

// ready, failing, stalled and working are the four states an object can be in. The conditions
// Reconciling and Stalled exist only while they are true, as kstatus wants it.
func (c conditions) ready(reason, message string) {
	c.set(meta.ReadyCondition, metav1.ConditionTrue, reason, message)
	c.remove(meta.ReconcilingCondition, meta.StalledCondition)
}

func (c conditions) failing(reason, message string) {
	c.set(meta.ReadyCondition, metav1.ConditionFalse, reason, message)
	c.set(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingWithRetryReason, message)
	c.remove(meta.StalledCondition)
}

func (c conditions) stalled(reason, message string) {
	c.set(meta.ReadyCondition, metav1.ConditionFalse, reason, message)
	c.set(meta.StalledCondition, metav1.ConditionTrue, reason, message)
	c.remove(meta.ReconcilingCondition)
}

func (c conditions) working(message string) {
	c.set(meta.ReadyCondition, metav1.ConditionUnknown, meta.ProgressingReason, message)
	c.set(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingReason, message)
	c.remove(meta.StalledCondition)
}

func (c conditions) isReady() bool {
	return apimeta.IsStatusConditionTrue(*c.list, meta.ReadyCondition)
}

// readiness returns the Ready condition, or a zero one where there is none yet.
func (c conditions) readiness() metav1.Condition { return c.of(meta.ReadyCondition) }

func (c conditions) of(kind string) metav1.Condition {
	if found := apimeta.FindStatusCondition(*c.list, kind); found != nil {
		return *found
	}
	return metav1.Condition{}
}

func truncate(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	const note = " … (cut)"
	cut := maxMessage - len(note)
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut] + note
}

// patchStatus writes an object's status if it differs from what was read. The write names the
// resource version of the read, so that what somebody else wrote meanwhile is not lost.
func patchStatus(ctx context.Context, c client.Client, before, after client.Object, manager string) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := c.Status().Patch(ctx, after, patch, client.FieldOwner(manager)); err != nil {
		return fmt.Errorf("writing the status of %s: %w", client.ObjectKeyFromObject(after), err)
	}
	return nil
}

// setFinalizers writes an object's finalizers, and nothing else.
func setFinalizers(ctx context.Context, c client.Client, obj client.Object, finalizers []string, manager string) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"finalizers": finalizers, "resourceVersion": obj.GetResourceVersion(),
	}})
	if err != nil {
		return err
	}
	return c.Patch(ctx, obj, client.RawPatch(types.MergePatchType, body), client.FieldOwner(manager))
}
