// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// fluxLeases are those by which Flux's controllers elect their leaders: who holds them is the only
// engine on the cluster.
func fluxLeases() []string {
	return []string{"kustomize-controller-leader-election", "source-controller-leader-election"}
}

func checkAgent(ctx context.Context, s *story) error {
	if err := s.expectAgentUser(ctx); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.agent.health+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if err := expect("the answer of the agent's /readyz", http.StatusOK, resp.StatusCode); err != nil {
		return err
	}
	var holders []string
	for _, name := range fluxLeases() {
		holder, err := s.leaseHolder(ctx, name)
		if err != nil {
			return err
		}
		holders = append(holders, holder)
	}
	return expect("the holder of both Leases", holders[0], holders[1])
}

// expectAgentUser asserts as whom the API server knows the agent.
func (s *story) expectAgentUser(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.agent.kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return expect("the agent's user", "system:serviceaccount:"+agentNamespace+":"+agentName, review.Status.UserInfo.Username)
}

// leaseHolder returns who holds a Lease, if that is a process on this machine which got it after the
// agent was started.
func (s *story) leaseHolder(ctx context.Context, name string) (string, error) {
	lease, err := s.kube.CoordinationV1().Leases(agentNamespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	spec := lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" {
		return "", &unmet{want: "the agent to hold the Lease " + name, got: "that nobody does"}
	}
	if !strings.HasPrefix(*spec.HolderIdentity, host+"_") || spec.AcquireTime == nil || spec.AcquireTime.Before(&metav1.MicroTime{Time: s.agent.started}) {
		return "", &unmet{want: "the agent to hold the Lease " + name, got: "that " + *spec.HolderIdentity + " does"}
	}
	return *spec.HolderIdentity, nil
}

// holdLease makes a Lease that looks like that of a running kustomize-controller.
func holdLease(ctx context.Context, s *story) error {
	holder, seconds, now := "kustomize-controller-6d5f8_0b1c", int32(3600), metav1.NewMicroTime(time.Now())
	_, err := s.kube.CoordinationV1().Leases(agentNamespace).Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: fluxLeases()[0]},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now},
	}, metav1.CreateOptions{})
	return err
}

func dropLease(ctx context.Context, s *story) error {
	err := s.kube.CoordinationV1().Leases(agentNamespace).Delete(ctx, fluxLeases()[0], metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func createSecret(ctx context.Context, s *story) error {
	_, err := s.commandWithInput(ctx, registryPassword, "flux", "create", "secret", "oci", secretName,
		"--url="+s.sandbox.PrivateRegistry, "--username="+registryUser, "--password-stdin")
	return err
}

// checkSecret asserts that what the Secret holds opens the registry.
func checkSecret(ctx context.Context, s *story) error {
	secret, err := s.kube.CoreV1().Secrets(agentNamespace).Get(ctx, secretName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := expect("the Secret's type", "kubernetes.io/dockerconfigjson", string(secret.Type)); err != nil {
		return err
	}
	user, password, err := s.credentials(secret.Data[".dockerconfigjson"])
	if err != nil {
		return err
	}
	return s.admits(ctx, user, password)
}

func spoilSecret(ctx context.Context, s *story) error {
	secrets := s.kube.CoreV1().Secrets(agentNamespace)
	secret, err := secrets.Get(ctx, secretName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	secret.Data[".dockerconfigjson"] = []byte(`{"auths":{"` + s.sandbox.PrivateRegistry + `":{"username":"flux","password":"another"}}}`)
	_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	return err
}

func createSource(ctx context.Context, s *story) error {
	_, err := s.command(ctx, "flux", "create", "source", "oci", appName,
		"--secret-ref="+secretName, "--url=oci://"+s.repository(), "--tag=latest", interval)
	return err
}

func checkSource(ctx context.Context, s *story) error {
	return s.expectFetched(ctx, appName, "latest@"+s.digests["1.0.0"])
}

func (s *story) expectFetched(ctx context.Context, name, revision string) error {
	var repo sourcev1.OCIRepository
	if err := s.read(ctx, ociRepositoryResource(), name, &repo); err != nil {
		return err
	}
	if err := expectReady("OCIRepository "+name, repo.Status.Conditions, repo.Generation); err != nil {
		return err
	}
	if repo.Status.Artifact == nil {
		return &unmet{want: "an artifact of OCIRepository " + name, got: "none"}
	}
	return expect("the revision of OCIRepository "+name, revision, repo.Status.Artifact.Revision)
}

func createKustomization(ctx context.Context, s *story) error {
	_, err := s.command(ctx, "flux", "create", "kustomization", appName, "--source=OCIRepository/"+appName,
		"--prune=true", "--wait=true", "--health-check-timeout=3m", interval)
	return err
}

func checkDeployed(ctx context.Context, s *story) error {
	return s.first(appName, appNamespace, "latest").check(ctx, s)
}

// first is the demo app as version 1.0.0 has it.
func (s *story) first(kustomization, namespace, tag string) app {
	return app{kustomization, namespace, tag + "@" + s.digests["1.0.0"], objectsAtFirst, firstColour}
}

// second is the demo app as version 1.1.0 has it.
func (s *story) second() app {
	return app{appName, appNamespace, "latest@" + s.digests["1.1.0"], objectsUpdated, secondColour}
}

// deleteService deletes one of the app's objects where the agent can't put it back.
func deleteService(ctx context.Context, s *story) error {
	return errors.Join(
		s.suspend(ctx, true),
		s.kube.CoreV1().Services(appNamespace).Delete(ctx, "backend", metav1.DeleteOptions{}),
	)
}
