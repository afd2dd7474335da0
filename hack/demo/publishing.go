// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func login(ctx context.Context, s *story) error {
	_, err := s.commandWithInput(ctx, registryPassword, "kustomizer", "login", s.sandbox.PrivateRegistry, "--username="+registryUser, "--password-stdin")
	return err
}

func checkLogin(ctx context.Context, s *story) error {
	data, err := os.ReadFile(s.dockerFile())
	if err != nil {
		return err
	}
	user, password, err := s.credentials(data)
	if err != nil {
		return err
	}
	return s.admits(ctx, user, password)
}

func loseCredentials(_ context.Context, s *story) error {
	return os.WriteFile(s.dockerFile(), []byte("{}"), 0o600)
}

func publish(ctx context.Context, s *story) error {
	return s.push(ctx, "1.0.0", "./examples/demo-app", objectsAtFirst)
}

// push publishes a version and takes the digest from what the command says.
func (s *story) push(ctx context.Context, version, dir string, objects int) error {
	listed, err := s.command(ctx, "kustomizer", "push", "artifact", s.appURL(version), "-k", dir,
		"--source="+s.source, "--revision="+s.revision)
	if err != nil {
		return err
	}
	if err := expect("the number of objects that push lists", objects, strings.Count(listed, "\n")); err != nil {
		return err
	}
	_, digest, found := strings.Cut(s.printed, "published digest "+s.repository()+"@")
	if !found {
		return &unmet{want: "push to print the published digest", got: s.printed}
	}
	s.digests[version], _, _ = strings.Cut(digest, "\n")
	return nil
}

func checkPublished(ctx context.Context, s *story) error {
	if err := checkTag("1.0.0", "1.0.0")(ctx, s); err != nil {
		return err
	}
	got, err := s.annotations(ctx, "1.0.0")
	if err != nil {
		return err
	}
	return errors.Join(
		expect("the artifact's source", s.source, got["org.opencontainers.image.source"]),
		expect("the artifact's revision", s.revision, got["org.opencontainers.image.revision"]),
	)
}

func tagLatest(ctx context.Context, s *story) error { return s.tag(ctx, "1.0.0", "latest") }

func (s *story) tag(ctx context.Context, version, tag string) error {
	_, err := s.command(ctx, "kustomizer", "tag", "artifact", s.appURL(version), tag)
	return err
}

// checkTag asserts that the registry has, under a tag, what was published as a version.
func checkTag(tag, version string) func(context.Context, *story) error {
	return func(ctx context.Context, s *story) error {
		digest, err := s.digest(ctx, tag)
		if err != nil {
			return err
		}
		return expect("the digest of "+s.appURL(tag), s.digests[version], digest)
	}
}

const demoVersion = "0.0.0-demo"

func platform() v1.Platform { return v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH} }

func (s *story) imageTag() string { return s.sandbox.Registry + "/kustomizer:" + demoVersion }

// pushImage builds the agent's image for this machine. It is pushed to the registry that wants no
// password, as most clusters have it.
func pushImage(ctx context.Context, s *story) error {
	p := platform()
	printed, err := s.toolOutput(ctx, s.opts.root, "go", "run", "-trimpath", "./hack/image", "--push", s.imageTag(),
		"--platform", p.String(), "--version", demoVersion)
	s.image = strings.TrimSpace(printed)
	return err
}

func checkImage(ctx context.Context, s *story) error {
	img, err := s.agentImage(ctx, s.imageTag())
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	if err := errors.Join(
		expect("the image's user", "65532:65532", config.Config.User),
		expect("the image's entrypoint", "/usr/local/bin/kustomizer", strings.Join(config.Config.Entrypoint, " ")),
	); err != nil {
		return err
	}
	bin := filepath.Join(s.path("tmp"), "from-image")
	if err := s.extractBinary(ctx, s.imageTag(), bin); err != nil {
		return err
	}
	said, err := exec.CommandContext(ctx, bin, "version", "--client").CombinedOutput()
	if err != nil || !strings.Contains(string(said), demoVersion) {
		return &unmet{want: "the image's program to say version " + demoVersion, got: strings.TrimSpace(fmt.Sprint(string(said), err))}
	}
	ref, err := name.ParseReference(s.imageTag())
	if err != nil {
		return err
	}
	pushed, err := remote.Head(ref, remoteOptions(ctx)...)
	if err != nil {
		return err
	}
	return expect("the pushed image", s.image, ref.Context().Digest(pushed.Digest.String()).String())
}

// spoilImage pushes an image of the same form in which the program is a text.
func spoilImage(ctx context.Context, s *story) error {
	good, err := s.agentImage(ctx, s.imageTag())
	if err != nil {
		return err
	}
	config, err := good.ConfigFile()
	if err != nil {
		return err
	}
	layer, err := tarOf("usr/local/bin/kustomizer", "not a program")
	if err != nil {
		return err
	}
	img, err := mutate.Config(empty.Image, config.Config)
	if err != nil {
		return err
	}
	if img, err = mutate.AppendLayers(img, static.NewLayer(layer, "application/vnd.oci.image.layer.v1.tar+gzip")); err != nil {
		return err
	}
	ref, err := name.ParseReference(s.imageTag())
	if err != nil {
		return err
	}
	return remote.Write(ref, img, remoteOptions(ctx)...)
}

func install(ctx context.Context, s *story) error {
	_, err := s.command(ctx, "flux", "install", "--image="+s.image)
	return err
}

func checkInstalled(ctx context.Context, s *story) error {
	return errors.Join(s.expectDefinitions(ctx), s.expectAgentDeployment(ctx), s.expectAgentRights(ctx), s.expectAgentGuards(ctx))
}

// expectDefinitions asserts that the API server serves the agent's resources.
func (s *story) expectDefinitions(ctx context.Context) error {
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	for _, res := range []schema.GroupVersionResource{kustomizationResource(), ociRepositoryResource()} {
		name := res.Resource + "." + res.Group
		crd, err := s.dynamic.Resource(crds).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !established(crd) {
			return &unmet{want: "the definition " + name + " to be established", got: "that it isn't"}
		}
	}
	return nil
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == "Established" && condition["status"] == "True"
	})
}

func (s *story) expectAgentDeployment(ctx context.Context) error {
	d, err := s.kube.AppsV1().Deployments(agentNamespace).Get(ctx, agentName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	pod := d.Spec.Template.Spec
	container := pod.Containers[0]
	hardened := container.SecurityContext != nil && container.SecurityContext.ReadOnlyRootFilesystem != nil && *container.SecurityContext.ReadOnlyRootFilesystem &&
		container.SecurityContext.RunAsNonRoot != nil && *container.SecurityContext.RunAsNonRoot
	return errors.Join(
		expect("the agent's image", s.image, container.Image),
		expect("the agent to run as non-root with a read-only root", true, hardened),
		expect("the agent's ServiceAccount", agentName, pod.ServiceAccountName),
		expect("a request for memory", false, container.Resources.Requests[corev1.ResourceMemory].Equal(corev1.ResourceList{}[corev1.ResourceMemory])),
		expectComplete(d),
	)
}

func (s *story) expectAgentRights(ctx context.Context) error {
	if _, err := s.kube.CoreV1().ServiceAccounts(agentNamespace).Get(ctx, agentName, metav1.GetOptions{}); err != nil {
		return err
	}
	bindings, err := s.kube.RbacV1().ClusterRoleBindings().List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + agentName})
	if err != nil {
		return err
	}
	for _, b := range bindings.Items {
		for _, subject := range b.Subjects {
			if subject.Kind == "ServiceAccount" && subject.Namespace == agentNamespace && subject.Name == agentName {
				return nil
			}
		}
	}
	return &unmet{want: "a ClusterRoleBinding for the agent's ServiceAccount", got: "none"}
}

func (s *story) expectAgentGuards(ctx context.Context) error {
	for _, policy := range agentPolicies() {
		if _, err := s.kube.NetworkingV1().NetworkPolicies(agentNamespace).Get(ctx, policy, metav1.GetOptions{}); err != nil {
			return err
		}
	}
	_, err := s.kube.PolicyV1().PodDisruptionBudgets(agentNamespace).Get(ctx, agentName, metav1.GetOptions{})
	return err
}

func agentPolicies() []string {
	return []string{"kustomizer-allow-artifacts", "kustomizer-allow-egress", "kustomizer-allow-scraping"}
}

func deletePolicy(ctx context.Context, s *story) error {
	return s.kube.NetworkingV1().NetworkPolicies(agentNamespace).Delete(ctx, agentPolicies()[0], metav1.DeleteOptions{})
}

// writeNext copies the demo app and makes 1.1.0 of it: the frontend has another colour, and the
// backend no autoscaler any more.
func (s *story) writeNext() (dir string, err error) {
	dir = s.path("demo-app-1.1.0")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(s.opts.root, "examples", "demo-app"))); err != nil {
		return "", err
	}
	err = errors.Join(
		edit(filepath.Join(dir, "frontend", "deployment.yaml"), firstColour, secondColour),
		edit(filepath.Join(dir, "backend", "kustomization.yaml"), "  - hpa.yaml\n", ""),
		os.Remove(filepath.Join(dir, "backend", "hpa.yaml")),
	)
	return dir, err
}

func edit(path, from, to string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), from) {
		return &fs.PathError{Op: "editing", Path: path, Err: fmt.Errorf("it doesn't hold %q", from)}
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(string(data), from, to)), 0o600)
}
