// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kustomizer/kustomizer/internal/cluster"
	"github.com/kustomizer/kustomizer/internal/object"
)

const (
	// fluxFinalizer is what holds Flux's resources until a controller has seen their deletion.
	fluxFinalizer = "finalizers.fluxcd.io"
	// operationsManager is the field manager of what commands write on resources.
	operationsManager = "kctl-ops"
	// removalPoll is how often it is looked whether something is gone.
	removalPoll = 500 * time.Millisecond
)

// What is done to an object that is taken out.
const (
	Removed  = "deleted"
	Released = "released" // its finalizer was removed
)

// Removal is one thing that was done to take an installation out.
type Removal struct {
	ID     object.ID
	Action string // [Removed] or [Released]
}

// Remove takes the installation out and reports each object as it goes. It stops at the first
// error; to call it again, after another [PrepareUninstall], goes on where it stopped.
func (u *Uninstallation) Remove(ctx context.Context, c *cluster.Cluster, report func(Removal)) error {
	if err := u.removeAll(ctx, c, u.Agent, report); err != nil {
		return err
	}
	if err := u.awaitAgent(ctx, c); err != nil {
		return err
	}
	if err := u.release(ctx, c, report); err != nil {
		return err
	}
	if err := u.removeAll(ctx, c, u.Definitions, report); err != nil {
		return err
	}
	// An agent outside the cluster may have put its finalizer back before it lost its rights.
	err := awaitGone(ctx, c, u.Definitions, func() error { return u.release(ctx, c, report) })
	if err != nil {
		return err
	}
	c.Forget()
	if err := u.removeAll(ctx, c, u.Records, report); err != nil {
		return err
	}
	return u.removeHome(ctx, c, report)
}

// removeHome deletes the namespace, unless something came into it since it was looked through.
func (u *Uninstallation) removeHome(ctx context.Context, c *cluster.Cluster, report func(Removal)) error {
	if u.Home == nil {
		return nil
	}
	if err := awaitGone(ctx, c, u.Agent, nil); err != nil {
		return err
	}
	reason, err := u.foreignContent(ctx, c)
	if err != nil {
		return err
	}
	if reason != "" {
		u.Kept = append(u.Kept, Kept{ID: object.Of(u.Home), Reason: reason})
		return nil
	}
	home := []*unstructured.Unstructured{u.Home}
	if err := u.removeAll(ctx, c, home, report); err != nil {
		return err
	}
	return awaitGone(ctx, c, home, nil)
}

func (u *Uninstallation) removeAll(ctx context.Context, c *cluster.Cluster, objs []*unstructured.Unstructured, report func(Removal)) error {
	for _, o := range objs {
		if err := u.remove(ctx, c, o); err != nil {
			return fmt.Errorf("deleting %s: %w", object.Of(o), err)
		}
		report(Removal{ID: object.Of(o), Action: Removed})
	}
	return nil
}

// remove deletes the object that was judged. Its status may have changed since, which is no reason
// to leave it: it is read again, and deleted if it is the same object with the same marks.
func (u *Uninstallation) remove(ctx context.Context, c *cluster.Cluster, judged *unstructured.Unstructured) error {
	id, live := object.Of(judged), judged
	for {
		opts := cluster.DeleteOptions{UID: live.GetUID(), ResourceVersion: live.GetResourceVersion(), Propagation: metav1.DeletePropagationForeground}
		err := c.Delete(ctx, id, live.GroupVersionKind().Version, opts)
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		live, err = c.Get(ctx, id, live.GroupVersionKind().Version)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if live.GetUID() != judged.GetUID() || u.owners(live) != u.owners(judged) {
			return fmt.Errorf("it changed since it was looked at: %w", apierrors.NewConflict(schema.GroupResource{Resource: id.Kind}, id.Name, nil))
		}
	}
}

// owners says whose an object is, for telling whether that changed.
func (u *Uninstallation) owners(o *unstructured.Unstructured) string {
	return foreignManager(o, u.self()) + ";" + definitionOwner(o, u.self())
}

// awaitAgent waits until no pod of the agent runs.
func (u *Uninstallation) awaitAgent(ctx context.Context, c *cluster.Cluster) error {
	return poll(ctx, "the agent's pods", func() (bool, error) {
		pods, err := list(ctx, c, schema.GroupKind{Kind: "Pod"}, cluster.Selection{
			Namespace: u.Namespace, LabelSelector: "app.kubernetes.io/name=" + AgentName + ",app.kubernetes.io/component=agent",
		})
		return len(pods) == 0, err
	})
}

// release removes the agent's finalizer from Flux's resources: nobody is left who would.
func (u *Uninstallation) release(ctx context.Context, c *cluster.Cluster, report func(Removal)) error {
	if len(u.engines) > 0 {
		return nil
	}
	for _, gk := range fluxKinds() {
		found, err := list(ctx, c, gk, cluster.Selection{})
		if apierrors.IsNotFound(err) {
			continue // the definition went meanwhile
		}
		if err != nil {
			return err
		}
		for _, r := range found {
			if err := releaseOne(ctx, c, r, report); err != nil {
				return err
			}
		}
	}
	return nil
}

func releaseOne(ctx context.Context, c *cluster.Cluster, r *unstructured.Unstructured, report func(Removal)) error {
	id, version := object.Of(r), r.GroupVersionKind().Version
	for {
		if !slices.Contains(r.GetFinalizers(), fluxFinalizer) {
			return nil
		}
		err := patchFinalizers(ctx, c, r)
		if err == nil {
			report(Removal{ID: id, Action: Released})
			return nil
		}
		if apierrors.IsConflict(err) { // it changed since it was read, and is read again
			r, err = c.Get(ctx, id, version)
		}
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("releasing %s: %w", id, err)
		}
	}
}

func patchFinalizers(ctx context.Context, c *cluster.Cluster, r *unstructured.Unstructured) error {
	rest := slices.DeleteFunc(slices.Clone(r.GetFinalizers()), func(f string) bool { return f == fluxFinalizer })
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"finalizers": rest, "uid": r.GetUID(), "resourceVersion": r.GetResourceVersion(),
	}})
	if err != nil {
		return err
	}
	ref := cluster.Ref{ID: object.Of(r), Version: r.GroupVersionKind().Version}
	_, err = c.Patch(ctx, ref, types.MergePatchType, body, operationsManager)
	return err
}

// awaitGone waits until none of the objects is there, doing what is to be done in between.
func awaitGone(ctx context.Context, c *cluster.Cluster, objs []*unstructured.Unstructured, between func() error) error {
	for _, o := range objs {
		err := poll(ctx, object.Of(o).String(), func() (bool, error) {
			live, err := c.Get(ctx, object.Of(o), o.GroupVersionKind().Version)
			if apierrors.IsNotFound(err) || err == nil && live.GetUID() != o.GetUID() {
				return true, nil
			}
			if err != nil || between == nil {
				return false, err
			}
			return false, between()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// poll asks until the answer is yes or the time is up.
func poll(ctx context.Context, what string, done func() (bool, error)) error {
	ticker := time.NewTicker(removalPoll)
	defer ticker.Stop()
	for {
		ok, err := done()
		if err != nil {
			return fmt.Errorf("waiting until %s is gone: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s is gone: %w", what, ctx.Err())
		case <-ticker.C:
		}
	}
}
