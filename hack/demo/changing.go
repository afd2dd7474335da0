// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// publishNext publishes a version with a changed and a removed object, and has it deployed.
func publishNext(ctx context.Context, s *story) error {
	dir, err := s.writeNext()
	if err != nil {
		return err
	}
	if err := s.push(ctx, "1.1.0", s.short(dir), objectsUpdated); err != nil {
		return err
	}
	return s.tag(ctx, "1.1.0", "latest")
}

func update(ctx context.Context, s *story) error {
	if err := s.remember(ctx); err != nil {
		return err
	}
	return s.reconcile(ctx)
}

// reconcile has the agent look now instead of within the interval.
func (s *story) reconcile(ctx context.Context) error {
	_, err := s.command(ctx, "flux", "reconcile", "kustomization", appName, "--with-source")
	return err
}

// prune switches the deletion of removed objects on or off.
func prune(on string) func(context.Context, *story) error {
	return func(ctx context.Context, s *story) error {
		return s.patch(ctx, `{"spec":{"prune":`+on+`}}`)
	}
}

func checkUpdated(ctx context.Context, s *story) error {
	if err := s.second().check(ctx, s); err != nil {
		return err
	}
	_, err := s.kube.AutoscalingV2().HorizontalPodAutoscalers(appNamespace).Get(ctx, "backend", metav1.GetOptions{})
	if err == nil {
		return &unmet{want: goneInUpdate + " to be pruned", got: "that it is there"}
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	// The autoscaler's number stays, although the manifest says 1.
	frontend, err := s.kube.AppsV1().Deployments(appNamespace).Get(ctx, "frontend", metav1.GetOptions{})
	if err != nil {
		return err
	}
	return errors.Join(
		expect("the frontend's replicas", 2, *frontend.Spec.Replicas),
		s.expectSame(ctx, goneInUpdate),
		s.expectEvent(ctx, "Progressing", goneInUpdate+" deleted"),
	)
}

// drift edits a Deployment by hand.
func drift(ctx context.Context, s *story) error {
	if err := s.remember(ctx); err != nil {
		return err
	}
	_, err := s.command(ctx, "kubectl", "-n", appNamespace, "set", "image", "deployment/backend", "podinfo=ghcr.io/stefanprodan/podinfo:0.0.1")
	return err
}

func checkCorrected(ctx context.Context, s *story) error {
	d, err := s.kube.AppsV1().Deployments(appNamespace).Get(ctx, "backend", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if image := d.Spec.Template.Spec.Containers[0].Image; strings.HasSuffix(image, ":0.0.1") {
		return &unmet{want: "the edited image to be put back", got: image}
	}
	return errors.Join(
		s.expectEvent(ctx, "DriftCorrected", "Deployment/"+appNamespace+"/backend"),
		s.expectSame(ctx),
		s.second().check(ctx, s),
	)
}

// emptyText is what the mistake holds: kustomizer refuses to publish it, other tools don't.
const emptyText = "# Nothing is left here.\n"

// deployEmpty publishes an empty artifact by mistake, and has it deployed.
func deployEmpty(ctx context.Context, s *story) error {
	if err := s.remember(ctx); err != nil {
		return err
	}
	text := emptyText
	if s.mistake != "" {
		text = s.mistake
	}
	s.shown = append(s.shown, "(another tool pushes an empty all.yaml as 1.2.0)")
	if err := s.pushRaw(ctx, "1.2.0", text); err != nil {
		return err
	}
	if err := s.tag(ctx, "1.2.0", "latest"); err != nil {
		return err
	}
	err := s.reconcile(ctx)
	s.code = 0
	var failed *commandError
	if errors.As(err, &failed) {
		s.code, err = failed.code, nil
	}
	return err
}

func copyMistake(ctx context.Context, s *story) (err error) {
	s.mistake, err = s.allYAML(ctx, "1.1.0")
	return err
}

func forgetMistake(_ context.Context, s *story) error {
	s.mistake = ""
	return nil
}

// refused is the exit code for what the brake holds.
const refused = 6

func checkHeld(ctx context.Context, s *story) error {
	var ks kustomizev1.Kustomization
	if err := s.read(ctx, kustomizationResource(), appName, &ks); err != nil {
		return err
	}
	ready := apimeta.FindStatusCondition(ks.Status.Conditions, "Ready")
	if ready == nil {
		return &unmet{want: "the Kustomization to say PruneHeld", got: "nothing"}
	}
	if ready.Status != metav1.ConditionFalse || ready.Reason != "PruneHeld" || !strings.Contains(ready.Message, "kustomizer approve prune") {
		return &unmet{want: "the Kustomization to say PruneHeld, and how to release it", got: fmt.Sprintf("Ready=%s, %s: %s", ready.Status, ready.Reason, ready.Message)}
	}
	return errors.Join(
		expect("the exit code of reconcile", refused, s.code),
		expect("the number of objects before", objectsUpdated, len(s.uids)),
		s.expectSame(ctx),
	)
}

func restore(ctx context.Context, s *story) error {
	if err := s.tag(ctx, "1.1.0", "latest"); err != nil {
		return err
	}
	return s.reconcile(ctx)
}

func checkRestored(ctx context.Context, s *story) error {
	return errors.Join(s.second().check(ctx, s), s.expectSame(ctx))
}

// emptyAgain has the empty artifact fetched again.
func emptyAgain(ctx context.Context, s *story) error {
	if err := s.moveTag(ctx, "1.2.0", "latest"); err != nil {
		return err
	}
	err := s.reconcile(ctx)
	var failed *commandError
	if errors.As(err, &failed) {
		return nil
	}
	return err
}

func promote(ctx context.Context, s *story) error { return s.tag(ctx, "1.0.0", "stable") }

func deployProduction(ctx context.Context, s *story) error {
	if _, err := s.command(ctx, "flux", "create", "source", "oci", production,
		"--secret-ref="+secretName, "--url=oci://"+s.repository(), "--tag=stable", interval); err != nil {
		return err
	}
	_, err := s.command(ctx, "flux", "create", "kustomization", production, "--source=OCIRepository/"+production,
		"--target-namespace=production", "--prune=true", "--wait=true", "--health-check-timeout=3m", interval)
	return err
}

// checkProduction asserts that each Kustomization has its own version.
func checkProduction(ctx context.Context, s *story) error {
	return errors.Join(s.first(production, "production", "stable").check(ctx, s), s.second().check(ctx, s))
}

// readEvents reads what happened, as the guide does and as its successor.
func readEvents(ctx context.Context, s *story) (err error) {
	if s.kubectlEvents, err = s.command(ctx, "kubectl", "events", "--for", "kustomization/"+appName, "-n", agentNamespace); err != nil {
		return err
	}
	s.events, err = s.command(ctx, "kustomizer", "events", "--for", "Kustomization/"+appName)
	return err
}

func checkEvents(_ context.Context, s *story) error {
	for _, text := range []string{
		"Deployment/" + appNamespace + "/frontend created",
		"Deployment/" + appNamespace + "/frontend configured",
		goneInUpdate + " deleted",
		"DriftCorrected",
		"PruneHeld",
	} {
		for command, said := range map[string]string{"kubectl events": s.kubectlEvents, "kustomizer events": s.events} {
			if !strings.Contains(said, text) {
				return &unmet{want: fmt.Sprintf("%s to tell of %q", command, text), got: said}
			}
		}
	}
	return nil
}

func deleteEvents(ctx context.Context, s *story) error {
	events := s.kube.CoreV1().Events(agentNamespace)
	list, err := events.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	s.deleted = list.Items
	return events.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
}

func recreateEvents(ctx context.Context, s *story) error {
	for i := range s.deleted {
		e := s.deleted[i].DeepCopy()
		e.ResourceVersion, e.UID = "", ""
		_, err := s.kube.CoreV1().Events(agentNamespace).Create(ctx, e, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	s.deleted = []corev1.Event{}
	return nil
}
