// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// client is just enough of a client to see that a sandbox is ready.
type client struct{ http *http.Client }

func newClient(l layout) (*client, error) {
	pair, err := tls.LoadX509KeyPair(l.cert("admin.crt"), l.cert("admin.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(l.cert("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}
	return &client{http: &http.Client{Transport: transport, Timeout: 10 * time.Second}}, nil
}

// do returns the status and the start of the body.
func (c *client) do(ctx context.Context, method, url, body string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, data, err
}

// until repeats a GET until the answer is as wanted. When ctx ends first, the
// error says what was waited for and why it ended.
func (c *client) until(ctx context.Context, what, url string, ok func(status int, body []byte) bool) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		status, body, err := c.do(ctx, http.MethodGet, url, "")
		if err == nil && ok(status, body) {
			return nil
		}
		select {
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if errors.Is(cause, context.DeadlineExceeded) {
				return fmt.Errorf("waiting for %s: %w (last answer: status %d, %v)", what, cause, status, err)
			}
			return fmt.Errorf("waiting for %s: %w", what, cause)
		case <-tick.C:
		}
	}
}

func status(want int) func(int, []byte) bool {
	return func(got int, _ []byte) bool { return got == want }
}

// createNode registers the simulated node.
func (c *client) createNode(ctx context.Context, server string) error {
	node := map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{
			"name":        nodeName,
			"annotations": map[string]string{"kwok.x-k8s.io/node": "fake"},
			"labels": map[string]string{
				"kubernetes.io/hostname": nodeName, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
			},
		},
	}
	body, err := json.Marshal(node)
	if err != nil {
		return err
	}
	code, answer, err := c.do(ctx, http.MethodPost, server+"/api/v1/nodes", string(body))
	if err == nil && code != http.StatusCreated {
		err = fmt.Errorf("status %d: %s", code, answer)
	}
	if err != nil {
		return fmt.Errorf("creating the simulated node: %w", err)
	}
	return nil
}

// nodeReady tells whether a node is Ready and open to pods.
func nodeReady(code int, body []byte) bool {
	var node struct {
		Spec   struct{ Taints []any }
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	if code != http.StatusOK || json.Unmarshal(body, &node) != nil || len(node.Spec.Taints) > 0 {
		return false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}
