// SPDX-License-Identifier: Apache-2.0

// Interop shows what others make of the artifacts that this project pushes: Flux's source-controller and
// oras read what is pushed by default, and source-controller fails on what is encrypted, rather than
// seeing a tree without manifests. It runs within `sandbox run`, with the real programs.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// programs are what takes part.
type programs struct {
	kustomizer, sourceController, oras string
	definitions                        string // directory of source-controller's CRDs
	kubectl, kubeconfig, registry      string // of the sandbox
	work                               string
}

func run(ctx context.Context) error {
	var p programs
	flag.StringVar(&p.kustomizer, "kustomizer", "", "program")
	flag.StringVar(&p.sourceController, "source-controller", "", "program")
	flag.StringVar(&p.oras, "oras", "", "program")
	flag.StringVar(&p.definitions, "definitions", "", "directory of source-controller's definitions")
	flag.Parse()
	if err := p.find(); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "interop-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	p.work = work
	stop, err := p.start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	return errors.Join(p.flux(ctx), p.orasPulls(ctx))
}

// find reads where the sandbox is.
func (p *programs) find() error {
	raw, err := os.ReadFile(filepath.Join(os.Getenv("KUSTOMIZER_SANDBOX"), "sandbox.json"))
	if err != nil {
		return fmt.Errorf("run it within `sandbox run`: %w", err)
	}
	var sandbox struct{ Kubectl, Kubeconfig, Registry string }
	if err := json.Unmarshal(raw, &sandbox); err != nil {
		return err
	}
	p.kubectl, p.kubeconfig, p.registry = sandbox.Kubectl, sandbox.Kubeconfig, sandbox.Registry
	return nil
}

// start runs source-controller outside of the cluster.
func (p *programs) start(ctx context.Context) (stop func(), err error) {
	if _, err := p.do(ctx, p.kubectl, "apply", "--server-side", "-f", p.definitions); err != nil {
		return nil, err
	}
	if _, err := p.do(ctx, p.kubectl, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"); err != nil {
		return nil, err
	}
	storage := filepath.Join(p.work, "storage")
	if err := os.Mkdir(storage, 0o700); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(p.work, "source-controller.log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, p.sourceController, "--storage-path="+storage, "--storage-addr=127.0.0.1:0",
		"--storage-adv-addr=127.0.0.1:9", "--events-addr=", "--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--watch-all-namespaces")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.kubeconfig, "RUNTIME_NAMESPACE=default")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		log.Close()
	}, nil
}

const manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\n  namespace: default\n"

// age's key pair; nothing but this is encrypted for it.
const recipient = "age1zwup6zp9dmxe5mykx2s0f9l6n4ev4wenrjj6ml78xs5p9nnyfvqs3wx6zx"

// flux pushes an artifact of each kind and lets source-controller fetch it.
func (p *programs) flux(ctx context.Context) error {
	tree := filepath.Join(p.work, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, "app.yaml"), []byte(manifest), 0o600); err != nil {
		return err
	}
	encrypt := "--age-recipients=" + recipient
	var problems []error
	for _, c := range []struct {
		name   string
		flags  []string
		ready  string
		reason string
		holds  string // file in what source-controller stores; empty for nothing stored
	}{
		{"rendered", []string{"-f", tree}, "True", "Succeeded", "all.yaml"},
		{"path", []string{"--path", tree}, "True", "Succeeded", "app.yaml"},
		{"flux-type", []string{"--path", tree, "--layer-media-type=application/vnd.cncf.flux.content.v1.tar+gzip"}, "True", "Succeeded", "app.yaml"},
		{"encrypted", []string{"-f", tree, encrypt}, "False", "OCIArtifactLayerOperationFailed", ""},
		{"encrypted-path", []string{"--path", tree, encrypt}, "False", "OCIArtifactLayerOperationFailed", ""},
	} {
		got, err := p.fetched(ctx, c.name, c.flags)
		if err == nil && (got.ready != c.ready || got.reason != c.reason || got.holds(c.holds) != (c.holds != "")) {
			err = fmt.Errorf("want Ready=%s %s", c.ready, c.reason)
		}
		fmt.Printf("source-controller, %-15s Ready=%s %s: %s; files: %s\n", c.name+":", got.ready, got.reason, got.message, strings.Join(got.files, " "))
		if err != nil {
			problems = append(problems, fmt.Errorf("source-controller, %s: %w", c.name, err))
		}
	}
	return errors.Join(problems...)
}

// verdict is what source-controller says.
type verdict struct {
	ready, reason, message string
	files                  []string // in what it stored
}

func (v verdict) holds(name string) bool {
	for _, f := range v.files {
		if f == name {
			return true
		}
	}
	return false
}

// fetched pushes an artifact and waits for what source-controller says of it.
func (p *programs) fetched(ctx context.Context, name string, flags []string) (verdict, error) {
	at := p.registry + "/interop/" + name + ":1.0.0"
	if _, err := p.do(ctx, p.kustomizer, append([]string{"push", "artifact", "oci://" + at}, flags...)...); err != nil {
		return verdict{}, err
	}
	resource := fmt.Sprintf("apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {name: %s, namespace: default}\n"+
		"spec: {url: oci://%s/interop/%s, ref: {tag: 1.0.0}, interval: 1h, insecure: true}\n", name, p.registry, name)
	file := filepath.Join(p.work, name+".yaml")
	if err := os.WriteFile(file, []byte(resource), 0o600); err != nil {
		return verdict{}, err
	}
	if _, err := p.do(ctx, p.kubectl, "apply", "-f", file); err != nil {
		return verdict{}, err
	}
	for {
		out, err := p.do(ctx, p.kubectl, "get", "ocirepository", name, "-n", "default", "-o", "json")
		if err != nil {
			return verdict{}, err
		}
		if v, done, err := p.verdictOf(ctx, out); done || err != nil {
			return v, err
		}
		select {
		case <-ctx.Done():
			return verdict{}, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// verdictOf reads a resource's status; done is false while there is no verdict.
func (p *programs) verdictOf(ctx context.Context, resource []byte) (v verdict, done bool, err error) {
	var u struct {
		Status struct {
			Artifact   *struct{ Path string }
			Conditions []struct{ Type, Status, Reason, Message string }
		}
	}
	if err := json.Unmarshal(resource, &u); err != nil {
		return v, false, err
	}
	for _, c := range u.Status.Conditions {
		if c.Type == "Ready" && c.Status != "Unknown" {
			v, done = verdict{ready: c.Status, reason: c.Reason, message: c.Message}, true
		}
	}
	if u.Status.Artifact == nil || !done {
		return v, done, nil
	}
	list, err := p.do(ctx, "tar", "-tzf", filepath.Join(p.work, "storage", u.Status.Artifact.Path))
	for _, name := range strings.Fields(string(list)) {
		v.files = append(v.files, strings.TrimPrefix(name, "./"))
	}
	return v, true, err
}

// orasPulls pulls with oras what was pushed for source-controller.
func (p *programs) orasPulls(ctx context.Context) error {
	var problems []error
	for _, c := range []struct{ name, file string }{
		{"rendered", "artifact.tar.gz"}, {"path", "artifact.tar.gz"}, {"encrypted", "artifact.tar.gz.age"},
	} {
		dir := filepath.Join(p.work, "oras-"+c.name)
		_, err := p.do(ctx, p.oras, "pull", "--plain-http", "-o", dir, p.registry+"/interop/"+c.name+":1.0.0")
		found, _ := filepath.Glob(filepath.Join(dir, "*"))
		if err == nil && (len(found) != 1 || filepath.Base(found[0]) != c.file) {
			err = fmt.Errorf("want %s", c.file)
		}
		fmt.Printf("oras pull, %-23s %s\n", c.name+":", strings.Join(names(found), " "))
		if err != nil {
			problems = append(problems, fmt.Errorf("oras pull, %s: %w", c.name, err))
		}
	}
	return errors.Join(problems...)
}

func names(paths []string) []string {
	var out []string
	for _, path := range paths {
		out = append(out, filepath.Base(path))
	}
	return out
}

// do runs a program and returns what it prints.
func (p *programs) do(ctx context.Context, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.kubeconfig)
	var failed bytes.Buffer
	cmd.Stderr = &failed
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(failed.String()))
	}
	return out, nil
}
