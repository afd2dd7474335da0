// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/kustomizer/kustomizer/bench/internal/measure"
)

// sandbox is the part of a running sandbox's state file that is needed here.
type sandbox struct {
	Server     string `json:"server"`
	Kubeconfig string `json:"kubeconfig"`
	AuditLog   string `json:"auditLog"`
	Kubectl    string `json:"kubectl"`
	// Controllers are those that run beside the API server.
	Controllers string `json:"controllers"`
}

// bench runs tools on a sandbox.
type bench struct {
	options
	sandbox sandbox
	dir     string // temporary files, and the home of all tools
	audit   auditLog
	count   int // of the namespaces
}

func newBench(o options) (*bench, error) {
	state := os.Getenv("KUSTOMIZER_SANDBOX")
	if state == "" {
		return nil, errors.New("KUSTOMIZER_SANDBOX is not set: run `make bench-engine`")
	}
	b := &bench{options: o}
	data, err := os.ReadFile(filepath.Join(state, "sandbox.json"))
	if err == nil {
		err = json.Unmarshal(data, &b.sandbox)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the sandbox's state: %w", err)
	}
	b.audit = auditLog{path: b.sandbox.AuditLog}
	b.dir, err = os.MkdirTemp("", "bench-engine-")
	return b, err
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) } // temporary files at worst

// series lets each tool have its turn as often as was asked for, in another order each time.
func (b *bench) series(ctx context.Context, added time.Duration) (*figures, error) {
	tools, err := b.tools()
	if err != nil {
		return nil, err
	}
	config, stop, err := b.connect(ctx, added)
	if err != nil {
		return nil, err
	}
	defer stop()
	out := newFigures()
	for i := range b.runs {
		took, err := b.bare(ctx, config)
		if err != nil {
			return nil, fmt.Errorf("measuring the bare client: %w", err)
		}
		fmt.Fprintf(os.Stderr, "%-11s %-12s %7.2f s\n", "bare", first, took.Seconds())
		out.bare = append(out.bare, took)
		for j := range tools {
			t := tools[(i+j)%len(tools)]
			if t.slow && i >= b.slow {
				continue
			}
			if err := b.turn(ctx, t, config, out); err != nil {
				return nil, fmt.Errorf("measuring %s: %w", t.name, err)
			}
		}
	}
	return out, nil
}

// connect writes a kubeconfig whose requests take longer by what is added.
func (b *bench) connect(ctx context.Context, added time.Duration) (config string, stop func(), err error) {
	if added == 0 {
		return b.sandbox.Kubeconfig, func() {}, nil
	}
	server, err := url.Parse(b.sandbox.Server)
	if err != nil {
		return "", nil, err
	}
	p, err := startProxy(ctx, server.Host, added)
	if err != nil {
		return "", nil, err
	}
	kubeconfig, err := clientcmd.LoadFromFile(b.sandbox.Kubeconfig)
	if err != nil {
		p.close()
		return "", nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	for _, cluster := range kubeconfig.Clusters {
		cluster.Server = "https://" + p.address()
	}
	config = filepath.Join(b.dir, "slow.kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, config); err != nil {
		p.close()
		return "", nil, fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return config, p.close, nil
}

// turn runs all phases of a tool, in a namespace of its own that is gone when it returns.
func (b *bench) turn(ctx context.Context, t tool, config string, out *figures) (err error) {
	b.count++
	namespace := fmt.Sprintf("bench-%d", b.count)
	base, other := filepath.Join(b.dir, "base.yaml"), filepath.Join(b.dir, "changed.yaml")
	if err := errors.Join(writeManifests(base, namespace, b.objects, false), writeManifests(other, namespace, b.objects, true)); err != nil {
		return err
	}
	if err := b.kubectl(ctx, "create", "namespace", namespace); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, b.kubectl(context.WithoutCancel(ctx), "delete", "namespace", namespace, "--wait"))
	}()
	for _, p := range phases() {
		args, accept := t.apply(namespace, base), []int(nil)
		switch p {
		case changed:
			args = t.apply(namespace, other)
		case diff:
			args, accept = t.diff(namespace, base), t.accept
		}
		if err := b.audit.settle(ctx); err != nil {
			return err
		}
		requests := b.audit.mark()
		sample, err := measure.Run(ctx, measure.Command{Args: args, Env: b.environment(config), Dir: b.dir, Accept: accept})
		if err != nil {
			return err
		}
		n, err := requests.count(userAgent(args[0]))
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%-11s %-12s %7.2f s, %6.2f s CPU, %4d MiB, %5d requests\n",
			t.name, p, sample.Wall.Seconds(), sample.CPU.Seconds(), sample.PeakMiB, n)
		out.add(t.name, p, sample, n)
	}
	return nil
}

// userAgent returns how a program's requests begin to name it: client-go takes the file's name.
func userAgent(program string) string { return filepath.Base(program) }

func (b *bench) environment(config string) []string {
	env := []string{"KUBECONFIG=" + config, "HOME=" + b.dir, "TMPDIR=" + b.dir, "KUBECACHEDIR=" + filepath.Join(b.dir, "kube")}
	for _, kept := range os.Environ() {
		name, _, _ := strings.Cut(kept, "=")
		switch name {
		case "KUBECONFIG", "HOME", "TMPDIR", "KUBECACHEDIR":
		default:
			env = append(env, kept)
		}
	}
	return env
}

func (b *bench) kubectl(ctx context.Context, args ...string) error {
	_, err := measure.Run(ctx, measure.Command{Args: append([]string{b.sandbox.Kubectl}, args...), Env: b.environment(b.sandbox.Kubeconfig), Dir: b.dir})
	return err
}
