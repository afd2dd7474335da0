// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// A story is one run of the demo: where everything lies, and what the steps have found out so far.
type story struct {
	out     io.Writer
	opts    options
	dir     string // all that this run writes, but for what is built
	bin     string // the kustomizer binary
	sandbox sandboxState
	kube    kubernetes.Interface
	dynamic dynamic.Interface

	shown   []string // the commands of the current step, as a user would type them
	printed string   // what the last command printed

	source, revision string            // what is published says where it comes from
	digests          map[string]string // of the demo app's versions, as push printed them
	image            string            // of the agent, by digest
	agent            *agentProcess
	since            time.Time            // when the current change began, by the cluster's clock
	uids             map[string]types.UID // of the demo app's objects, before something happens to them
	code             int                  // exit code of a command that may fail
	mistake          string               // what is published by mistake, if not nothing
	events           string               // as kustomizer shows them
	kubectlEvents    string               // and as kubectl does
	deleted          []corev1.Event
}

func newStory(opts options, out io.Writer) (*story, error) {
	dir := filepath.Join(opts.root, ".sandbox", "demo-"+strconv.Itoa(os.Getpid()))
	s := &story{out: out, opts: opts, dir: dir, digests: map[string]string{}}
	for _, name := range []string{"bin", "home", "docker", "tmp", "agent"} {
		if err := os.MkdirAll(s.path(name), 0o700); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *story) path(name string) string { return filepath.Join(s.dir, name) }

// prepare builds what is needed and starts the sandbox.
func (s *story) prepare(ctx context.Context) error {
	if err := s.prepared(ctx, "build", s.build); err != nil {
		return err
	}
	if err := s.prepared(ctx, "sandbox", s.startSandbox); err != nil {
		return err
	}
	return s.connect(ctx)
}

// prepared does something before the first step, with a line like a step's.
func (s *story) prepared(ctx context.Context, name string, do func(context.Context) error) error {
	s.shown, s.printed = nil, ""
	start := time.Now()
	err := do(ctx)
	if err != nil {
		s.line("✗", name, time.Since(start))
		return fmt.Errorf("%s: %w", name, err)
	}
	s.line("✔", name, time.Since(start))
	return nil
}

// build makes the kustomizer binary, unless one was given, and gives it its names.
func (s *story) build(ctx context.Context) (err error) {
	if s.opts.bin == "" {
		s.bin = filepath.Join(s.opts.root, "bin", ".demo", "kustomizer")
		if _, missing := os.Stat(s.bin); missing != nil {
			fmt.Fprintln(s.out, "  building kustomizer and the sandbox, which takes minutes the first time")
		}
		err = s.compile(ctx, s.bin)
	} else {
		s.shown = append(s.shown, "(uses "+s.opts.bin+")")
		s.bin, err = filepath.Abs(s.opts.bin)
	}
	if err != nil {
		return err
	}
	for _, name := range []string{"kustomizer", "flux"} {
		if err := os.Symlink(s.bin, filepath.Join(s.path("bin"), name)); err != nil {
			return err
		}
	}
	return nil
}

// compile builds kustomizer as hack/image does, so that one compiles for both.
func (s *story) compile(ctx context.Context, to string) error {
	return s.tool(ctx, s.opts.root, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+demoVersion,
		"-o", s.short(to), "./cmd/kustomizer")
}

// connect makes the clients with which steps are asserted, and finds out what is published.
func (s *story) connect(ctx context.Context) error {
	if err := os.Symlink(s.sandbox.Kubectl, filepath.Join(s.path("bin"), "kubectl")); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.sandbox.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	if s.kube, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if s.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	s.source = s.git(ctx, "https://github.com/kustomizer/kustomizer", "config", "--get", "remote.origin.url")
	s.revision = s.git(ctx, "main", "branch", "--show-current") + "/" + s.git(ctx, "unknown", "rev-parse", "HEAD")
	return nil
}

// stop ends the agent and the sandbox, and removes what was written unless something failed.
func (s *story) stop(ctx context.Context, remove bool) error {
	var errs []error
	if s.agent != nil {
		errs = append(errs, s.agent.stop())
	}
	if s.sandbox.Launcher != "" {
		errs = append(errs, s.stopSandbox(ctx))
	}
	err := errors.Join(errs...)
	if err == nil && (remove || s.sandbox.Launcher == "") {
		return os.RemoveAll(s.dir)
	}
	fmt.Fprintf(s.out, "  logs are in %s\n", s.dir)
	return err
}

func (s *story) sayHowToLook() {
	b := s.sandbox
	fmt.Fprintf(s.out, `
✔ the guide works, and everything is left running:
  export KUBECONFIG=%s
  export DOCKER_CONFIG=%s
  export PATH=%s:$PATH      # kustomizer, flux, kubectl
  registry          %s
  private registry  %s (user %s, password %s)
  agent             %s, its log %s
  try               kustomizer get kustomization, kubectl get deployments -A, kustomizer events --watch
  stop it all with  %s down --dir %s
`, b.Kubeconfig, s.path("docker"), s.path("bin"), b.Registry, b.PrivateRegistry, registryUser, registryPassword,
		s.agent.bin, s.agent.log, b.Launcher, b.Dir)
}
