// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

const stopGrace = time.Second

// supervise owns all processes of a sandbox: it starts them, says in
// sandbox.json that they are ready, and ends them when it is told to, when one
// of them dies, or when the process it works for is gone.
func supervise(ctx context.Context, o options) error {
	// The children die with this thread: see childAttr.
	runtime.LockOSThread()
	unlock, err := lockFile(filepath.Join(o.dir, "lock"), false)
	if err != nil {
		return fmt.Errorf("another sandbox runs in %s", o.dir)
	}
	defer unlock()
	client := newProcess("client", o.whilePID)
	if o.whilePID != 0 && !client.alive() {
		return fmt.Errorf("process %d is gone", o.whilePID)
	}
	c := newChildren(ctx, o.dir)
	defer c.cancel(nil)
	defer os.Remove(pidsPath(o.dir))
	defer c.stop(stopGrace)
	defer os.Remove(statePath(o.dir))
	if o.whilePID != 0 {
		go c.watch(client)
	}
	if err := c.startAll(o); err != nil {
		return err
	}
	<-c.ctx.Done()
	if cause := context.Cause(c.ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// watch ends the sandbox when the process it works for is gone.
func (c *children) watch(client process) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for client.alive() {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
	}
	c.cancel(context.Canceled)
}

// startAll returns when everything is ready and sandbox.json is written.
func (c *children) startAll(o options) error {
	if err := clean(o.dir); err != nil {
		return err
	}
	l, err := newLayout(o.source, o.dir)
	if err != nil {
		return err
	}
	if err := l.write(); err != nil {
		return fmt.Errorf("writing the state directory: %w", err)
	}
	cl, err := newClient(l)
	if err != nil {
		return err
	}
	defer cl.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(c.ctx, o.timeout)
	defer cancel()
	if o.registries() {
		if err := c.startRegistries(l); err != nil {
			return err
		}
	}
	if o.controlPlane() {
		if err := c.startControlPlane(ctx, o, l, cl); err != nil {
			return err
		}
		if err := controlPlaneReady(ctx, o, l, cl); err != nil {
			return err
		}
	}
	if o.registries() {
		if err := registriesReady(ctx, l, cl); err != nil {
			return err
		}
	}
	pids := processes{Supervisor: newProcess("sandbox", os.Getpid()), Children: c.started}
	if err := writeJSON(pidsPath(o.dir), pids); err != nil {
		return err
	}
	return writeJSON(statePath(o.dir), l.state(o))
}

func (c *children) startRegistries(l layout) error {
	for _, name := range []string{"registry", "private-registry"} {
		if err := c.start(l.registryChild(name)); err != nil {
			return err
		}
	}
	return nil
}

func (c *children) startControlPlane(ctx context.Context, o options, l layout, cl *client) error {
	if err := c.start(l.etcdChild()); err != nil {
		return err
	}
	if err := cl.until(ctx, "etcd", "http://"+l.etcd+"/health", status(http.StatusOK)); err != nil {
		return err
	}
	if err := c.start(l.apiserverChild()); err != nil {
		return err
	}
	if err := cl.until(ctx, "the API server", l.server()+"/readyz", status(http.StatusOK)); err != nil {
		return err
	}
	if o.manager() {
		if err := c.start(l.managerChild(o.controllers)); err != nil {
			return err
		}
	}
	if !o.withNode() {
		return nil
	}
	if err := cl.createNode(ctx, l.server()); err != nil {
		return err
	}
	if err := c.start(l.kwokChild()); err != nil {
		return err
	}
	return c.start(l.schedulerChild())
}

// controlPlaneReady waits for what comes after the API server.
func controlPlaneReady(ctx context.Context, o options, l layout, cl *client) error {
	api := l.server() + "/api/v1"
	for _, namespace := range []string{"default", "kube-system"} {
		if err := cl.until(ctx, "namespace "+namespace, api+"/namespaces/"+namespace, status(http.StatusOK)); err != nil {
			return err
		}
	}
	if o.manager() {
		if err := cl.until(ctx, "the controller-manager", api+"/namespaces/default/serviceaccounts/default", status(http.StatusOK)); err != nil {
			return err
		}
	}
	if !o.withNode() {
		return nil
	}
	return cl.until(ctx, "the simulated node", api+"/nodes/"+nodeName, nodeReady)
}

func registriesReady(ctx context.Context, l layout, cl *client) error {
	if err := cl.until(ctx, "the registry", "http://"+l.registry+"/v2/", status(http.StatusOK)); err != nil {
		return err
	}
	return cl.until(ctx, "the private registry", "http://"+l.private+"/v2/", status(http.StatusUnauthorized))
}

// clean removes what an earlier sandbox left in the directory, and nothing else.
func clean(dir string) error {
	for _, name := range []string{
		"sandbox.json", "pids.json", "audit.log", "etcd", "home", "logs", "pki",
		"registry", "private-registry", "registry.log", "private-registry.log",
	} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
